#!/usr/bin/env python3
"""Exports segmentation networks with ResNeSt and SE-ResNeXt encoders, and runs them beside ONNX Runtime and PyTorch.

    scripts/segmentation.py [target/release/cardinal] [--quick] [--size 64] [--only SUBSTRING]...

PyTorch, timm, segmentation_models_pytorch, ONNX and ONNX Runtime are installed with pip on first use
(scripts/common.py). Every architecture of segmentation_models_pytorch is made with each encoder, with random weights and
with statistics of normalization that are those of random images, and exported by both exporters of PyTorch. A row is
what came of one export: the largest difference from PyTorch in f64, of Cardinal and of ONNX Runtime, and from ONNX
Runtime, relative to the largest magnitude of the output. `torch` in its place means that PyTorch could not export
the network. --quick takes the smallest encoder and four of the architectures. Fails where Cardinal refuses a network, or
differs from either by more than 1e-4.
"""
import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import warnings

import common

PACKAGES = ['numpy', 'onnx', 'onnxruntime', 'onnxscript', 'segmentation_models_pytorch', 'timm', 'torch', 'torchvision']
ENCODERS = ['timm-resnest14d', 'timm-resnest50d', 'se_resnext50_32x4d']
ARCHITECTURES = ['Unet', 'UnetPlusPlus', 'MAnet', 'Linknet', 'FPN', 'PSPNet', 'DeepLabV3', 'DeepLabV3Plus', 'PAN',
                 'UPerNet', 'Segformer']
QUICK = ['Unet', 'PSPNet', 'DeepLabV3Plus', 'UPerNet']
EXPORTERS = {'torchscript': {'dynamo': False, 'opset_version': 17}, 'dynamo': {'dynamo': True, 'opset_version': 20}}
CLASSES, SEED, LIMIT = 4, 2026, 1e-4


# ---- networks -----------------------------------------------------------------------------------

def network(architecture, encoder, size):
    """A network in eval mode whose normalizations have the statistics of random images."""
    import segmentation_models_pytorch as smp
    import torch
    torch.manual_seed(SEED)
    model = getattr(smp, architecture)(encoder_name=encoder, encoder_weights=None, classes=CLASSES)
    normalizations = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in normalizations:
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.5, 1.0)
        torch.nn.init.uniform_(norm.bias, -0.2, 0.2)
    model.train()
    for other in model.modules():
        if isinstance(other, torch.nn.modules.dropout._DropoutNd):
            other.eval()
    with torch.no_grad():
        model(torch.randn(8, 3, size, size))
    return model.eval()


def export(model, x, path, settings):
    """Writes a model, or returns what PyTorch says instead."""
    import torch
    try:
        with silent(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.onnx.export(model, (x,), path, verbose=False, **settings)
    except Exception as error:  # whatever an exporter raises: the row says it
        return f'torch: {first_line(error)}'
    return None


@contextlib.contextmanager
def silent():
    """Drops what is printed, by native code too: exporters print whole graphs."""
    sys.stdout.flush()
    kept = [(fd, os.dup(fd)) for fd in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd, _ in kept:
            os.dup2(nothing, fd)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, copy in kept:
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nothing)


def first_line(error):
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0][:110] if lines else ""}'


# ---- running ------------------------------------------------------------------------------------

def cardinal(binary, path, x):
    """The output, or what was said instead."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'x.npy'), os.path.join(folder, 'y.npy')
        np.save(source, x)
        done = subprocess.run([binary, 'run', path, '--input', source, '--output', target], capture_output=True,
                              text=True)
        return np.load(target) if done.returncode == 0 else done.stderr.strip()


def compare(binary, path, x, truth):
    """Errors by name, or what Cardinal says instead."""
    y = cardinal(binary, path, x)
    if isinstance(y, str):
        return y
    session = common.onnxruntime_session(path)
    peer = session.run(None, {session.get_inputs()[0].name: x})[0]
    return {'torch': apart(y, truth), 'onnxruntime': apart(y, peer), 'itself': apart(peer, truth)}


def apart(y, truth):
    """The largest difference relative to the largest magnitude; infinite where shapes differ or numbers end."""
    import numpy as np
    if y.shape != truth.shape:
        return float('inf')
    found = float(np.abs(y.astype(np.float64) - truth).max() / np.abs(truth).max())
    return found if np.isfinite(found) else float('inf')


def check(options, architecture, encoder, folder):
    """Prints a row for each exporter; counts of rows that are right, wrong, and not exported."""
    import torch
    counts = {'right': 0, 'wrong': 0, 'not exported': 0}
    size = options.size
    try:
        model = network(architecture, encoder, size)
    except Exception as error:  # an encoder that the architecture does not take
        print(f'{architecture:14} {encoder:20} torch: {first_line(error)}', flush=True)
        return counts
    x = torch.randn(1, 3, size, size)
    for exporter, settings in EXPORTERS.items():
        path = os.path.join(folder, f'{architecture}.{encoder}.{exporter}.onnx')
        said = export(model, x, path, settings)
        if said is None:
            with torch.no_grad():
                truth = model.double()(x.double()).numpy()
                model.float()
            said = compare(options.cardinal, path, x.numpy(), truth)
        counts[kind(said)] += 1
        print(f'{architecture:14} {encoder:20} {exporter:12} {row(said)}', flush=True)
    return counts


def kind(said):
    if isinstance(said, str):
        return 'not exported' if said.startswith('torch: ') else 'wrong'
    return 'right' if max(said['torch'], said['onnxruntime']) <= LIMIT else 'wrong'


def row(said):
    if isinstance(said, str):
        return said
    mark = '' if kind(said) == 'right' else '  WRONG'
    return f'{said["torch"]:12.1e} {said["itself"]:12.1e} {said["onnxruntime"]:12.1e}{mark}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--size', type=int, default=64, help='pixels of a side, a multiple of 32')
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--keep', metavar='FOLDER', help='where the models are left')
    options = parser.parse_args()
    common.enter(*PACKAGES)
    print(f'{"architecture":14} {"encoder":20} {"exporter":12} {"from f64":>12} {"ORT, f64":>12} {"from ORT":>12}')
    total = {'right': 0, 'wrong': 0, 'not exported': 0}
    with tempfile.TemporaryDirectory() as folder:
        for encoder in ENCODERS[:1] if options.quick else ENCODERS:
            for architecture in QUICK if options.quick else ARCHITECTURES:
                name = f'{architecture}.{encoder}'
                if options.only and not any(part in name for part in options.only):
                    continue
                for what, n in check(options, architecture, encoder, options.keep or folder).items():
                    total[what] += n
    print(', '.join(f'{n} {what}' for what, n in total.items()))
    sys.exit(1 if total['wrong'] or not total['right'] else 0)


if __name__ == '__main__':
    main()
