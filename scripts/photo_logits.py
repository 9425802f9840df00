#!/usr/bin/env python3
"""Whether `cardinal run` gives a photograph the logits that timm's own transform and PyTorch give it.

    scripts/photo_logits.py PHOTOS [--models 'resnest*,seresnet50'] [--cardinal target/release/cardinal]

PHOTOS is a folder of JPEG photographs; each is tried as it is, and as a PNG of the same pixels. Models are timm's ResNeSts
and SE- and SK-ResNets with random weights, exported to ONNX. How images are prepared is found out in three ways: by the
file's name, by timm's config.json beside a file of another name, and by the model's metadata. Largest differences are
printed in standard deviations of the logits; more than 0.02 is a failure, of JPEG as of PNG: both are decoded to the pixels
that Pillow sees. Needs PyTorch and timm, which pip installs into target/python; takes a minute for every four models or so.
"""
import argparse
import collections
import fnmatch
import glob
import json
import os
import subprocess
import sys
import tempfile

import common

common.enter('numpy', 'onnx', 'onnxruntime', 'pillow', 'timm', 'torch', 'torchvision')

import numpy
import onnx
import timm
import torch
from PIL import Image

FAMILIES = 'resnest*,seresne*,skresne*'
ALLOWED = 0.02


def build(name, paths):
    """A model with random weights, the same every time, and how timm prepares its images. It is normalized over these
    photographs, so that its logits tell them apart as those of a trained one do; branches beside residuals, which timm
    begins with zeros, add a quarter."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, drop_rate=0).train()
    config = timm.data.resolve_data_config(model=model)
    prepare = timm.data.create_transform(**config, is_training=False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight[module.weight == 0] = 0.25
            module.momentum = 1
    model(torch.stack([prepare(opened(path)) for path in paths]))
    return model.eval(), config, prepare


def opened(path):
    return Image.open(path).convert('RGB')


def ways(exported, name, config, folder):
    """The paths of files with the same model, each of which says in another way how images are prepared."""
    said = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    yield 'name', exported
    beside = os.path.join(folder, 'beside')
    os.mkdir(beside)
    os.symlink(exported, os.path.join(beside, 'model.onnx'))
    with open(os.path.join(beside, 'config.json'), 'w', encoding='utf-8') as file:
        json.dump({'architecture': name, 'pretrained_cfg': said}, file)
    yield 'config', os.path.join(beside, 'model.onnx')
    model = onnx.load(exported)
    keys = ('mean', 'std', 'crop_pct', 'interpolation')
    onnx.helper.set_model_props(model, {key: json.dumps(said[key]).strip('"') for key in keys})
    onnx.save(model, os.path.join(folder, 'model.onnx'))
    yield 'metadata', os.path.join(folder, 'model.onnx')


def logits(cardinal, model, photos, folder):
    """What `cardinal run` makes of photographs: float32[N, classes]."""
    output = os.path.join(folder, 'logits.npy')
    subprocess.run([cardinal, 'run', model, *photos, '--output', output], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return numpy.load(output)


def try_model(cardinal, name, photos):
    """The largest differences of each way, by kinds of files."""
    worst = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model, config, prepare = build(name, photos['png'])
        exported = os.path.join(folder, f'{name}.onnx')
        torch.onnx.export(model, torch.zeros(1, *config['input_size']), exported, opset_version=17, dynamo=False)
        right = {kind: numpy.concatenate([model(prepare(opened(path))[None]).numpy()
                                          for path in paths]) for kind, paths in photos.items()}
        for way, path in ways(exported, name, config, folder):
            for kind, paths in photos.items():
                got = logits(cardinal, path, paths, folder)
                worst[way, kind] = abs((got - right[kind]) / right[kind].std(axis=1, keepdims=True)).max()
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photos')
    parser.add_argument('--models', default=FAMILIES)
    parser.add_argument('--cardinal', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    options = parser.parse_args()
    names = [name for name in timm.list_models()
             if any(fnmatch.fnmatch(name, pattern) for pattern in options.models.split(','))]
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        photos = {'jpg': sorted(glob.glob(os.path.join(options.photos, '*.jpg'))), 'png': []}
        for path in photos['jpg']:
            photos['png'].append(os.path.join(folder, os.path.basename(path)[:-3] + 'png'))
            opened(path).save(photos['png'][-1])
        for name in names:
            worst = try_model(options.cardinal, name, photos)
            beyond = {kind for (_, kind), value in worst.items() if value > ALLOWED}
            counts.update(beyond)
            print(f'{name:25}', *(f'{way} {kind} {value:.4f}' for (way, kind), value in worst.items()),
                  'WRONG' if beyond else '', flush=True)
    print(f'{len(names)} models: {counts["png"]} wrong for PNG, {counts["jpg"]} for JPEG')
    return 1 if counts or not names else 0


sys.exit(main())
