#!/usr/bin/env python3
"""Exports segmentation networks with ResNeSt and SE-ResNeXt encoders, and runs them beside ONNX Runtime and PyTorch.

    scripts/segmentation.py [target/release/cardinal] [--quick] [--only SUBSTRING]... [--keep FOLDER]

PyTorch, timm, segmentation_models_pytorch, ONNX and ONNX Runtime are installed with pip on first use
(scripts/common.py). Every architecture of segmentation_models_pytorch is made with each encoder, with random weights that
rounding errors do not grow through, and exported by both exporters of PyTorch. A row is what came of one export: how far
Cardinal, Cardinal without Winograd's transform, ONNX Runtime and PyTorch, all in f32, are from PyTorch in f64, as the
largest difference relative to the largest magnitude of the output. `torch` in its place means that PyTorch could not
export the network. A network is right where Cardinal is no further from f64 than 1e-5, or than four times as far as ONNX
Runtime is where that is more, and in no case further than 1e-4. --quick takes the smallest encoder and four of the
architectures. Fails where Cardinal refuses a network or is wrong.
"""
import argparse
import collections
import os
import sys
import tempfile

import common
from exporting import EXPORTERS, apart, cardinal, export

PACKAGES = ['numpy', 'onnx', 'onnxruntime', 'onnxscript', 'segmentation_models_pytorch', 'timm', 'torch', 'torchvision']
ENCODERS = ['timm-resnest14d', 'timm-resnest50d', 'se_resnext50_32x4d']
ARCHITECTURES = ['Unet', 'UnetPlusPlus', 'MAnet', 'Linknet', 'FPN', 'PSPNet', 'DeepLabV3', 'DeepLabV3Plus', 'PAN',
                 'UPerNet', 'Segformer']
QUICK = ['Unet', 'PSPNet', 'DeepLabV3Plus', 'UPerNet']
# Pixels of a side. The pyramid of PAN takes a multiple of 128; those of the others are exported where 2 and 3 divide what
# an encoder leaves, an eighth or a thirty-second of them.
SIZE, SIZES = 128, {'PSPNet': 192, 'UPerNet': 192}
CLASSES, SEED = 4, 2026
COLUMNS = ['Cardinal', 'no Winograd', 'ONNX Runtime', 'PyTorch']
FLOOR, TIMES, MOST = 1e-5, 4, 1e-4


# ---- networks -----------------------------------------------------------------------------------

def pictures(n, size):
    """Images f32[n, 3, size, size] that differ as photographs do: noise of every scale, in contrast of each one's own.
    Noise of single pixels would do badly: an encoder's averages over all of an image would be nearly the same for each,
    and normalization over these would magnify rounding errors."""
    import torch
    scales = [torch.nn.functional.interpolate(torch.randn(n, 3, side, side), size=(size, size), mode='bilinear')
              for side in (1, 2, 4, 8, 16, 32)]
    return (torch.rand(n, 1, 1, 1) + 0.5) * sum(scales) / len(scales) ** 0.5


def network(architecture, encoder, size):
    """A network in eval mode that is normalized over pictures. Branches beside residuals add a quarter, for rounding
    errors of one block grow in all that follow if they add as much as they are given."""
    import segmentation_models_pytorch as smp
    import torch
    torch.manual_seed(SEED)
    model = getattr(smp, architecture)(encoder_name=encoder, encoder_weights=None, classes=CLASSES).train()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
            if name.startswith('encoder.') and name.endswith('.bn3'):
                module.weight.data.mul_(0.25)
        elif isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.no_grad():
        model(pictures(8, size))
    return model.eval()


# ---- running ------------------------------------------------------------------------------------

def compare(binary, path, model, x):
    """Errors by name, in the order of COLUMNS, or what Cardinal says instead."""
    import torch
    outputs = [cardinal(binary, path, x.numpy()), cardinal(binary, path, x.numpy(), '--no-winograd')]
    said = next((y for y in outputs if isinstance(y, str)), None)
    if said is not None:
        return said
    session = common.onnxruntime_session(path)
    outputs.append(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    with torch.no_grad():
        outputs.append(model(x).numpy())
        truth = model.double()(x.double()).numpy()
        model.float()
    return dict(zip(COLUMNS, (apart(y, truth) for y in outputs)))


def check(options, architecture, encoder, folder):
    """Prints a row for each exporter; what each is: right, wrong or not exported."""
    import torch
    size = SIZES.get(architecture, SIZE)
    model = network(architecture, encoder, size)
    x = pictures(1, size)
    for exporter, settings in EXPORTERS.items():
        path = os.path.join(folder, f'{architecture}.{encoder}.{exporter}.onnx')
        said = export(model, x, path, settings) or compare(options.cardinal, path, model, x)
        print(f'{architecture:14} {encoder:20} {exporter:12} {row(said)}', flush=True)
        yield kind(said)


def kind(said):
    if isinstance(said, str):
        return 'not exported' if said.startswith('torch: ') else 'wrong'
    limit = min(max(FLOOR, TIMES * said['ONNX Runtime']), MOST)
    return 'right' if max(said['Cardinal'], said['no Winograd']) <= limit else 'wrong'


def row(said):
    if isinstance(said, str):
        return said
    mark = '' if kind(said) == 'right' else '  WRONG'
    return ' '.join(f'{error:12.1e}' for error in said.values()) + mark


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--keep', metavar='FOLDER', help='where the models are left')
    options = parser.parse_args()
    common.enter(*PACKAGES)
    print(f'{"architecture":14} {"encoder":20} {"exporter":12}', *(f'{name:>12}' for name in COLUMNS))
    total = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for encoder in ENCODERS[:1] if options.quick else ENCODERS:
            for architecture in QUICK if options.quick else ARCHITECTURES:
                if not options.only or any(part in f'{architecture}.{encoder}' for part in options.only):
                    total.update(check(options, architecture, encoder, options.keep or folder))
    print(', '.join(f'{n} {what}' for what, n in total.items()))
    sys.exit(1 if total['wrong'] or not total['right'] else 0)


if __name__ == '__main__':
    main()
