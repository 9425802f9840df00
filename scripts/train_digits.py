#!/usr/bin/env python3
"""Trains a ResNeSt on distorted digits of MNIST and writes it as ONNX, for scripts/quantize_accuracy.py.

    scripts/train_digits.py OUTPUT.onnx [--epochs 4] [--seed 2026]

The network is timm's, with two blocks a stage and some ten times the parameters of examples/digits. Every image of
a batch is turned, scaled, sheared, moved and bent elastically, each by chance, before the network sees it: so it
has to learn more than the small one, and its test images are unlike all that it was trained on. It prints the loss
as it falls, and fails if no more than 99 % of the 10,000 test images, which are not distorted, are right.

PyTorch is installed with pip on first use: some gigabytes, as its wheels bring what GPUs need. Training takes a few
minutes on two cores.
"""
import argparse
import math
import os
import sys
import time

import common

BATCH = 128
RATE = 4e-3
CHANNELS = (32, 64, 96, 128)
# The most that an image is turned (in radians), scaled, sheared, and moved (in halves of its width).
TURN, SCALE, SHEAR, MOVE = 0.35, 0.2, 0.3, 0.15
# An elastic distortion moves pixels by so much (in halves of the width), the same for those within some pixels.
BEND, SMOOTH = 0.25, 7


def network():
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import ResNet
    return ResNet(ResNestBottleneck, layers=(2, 2, 2, 2), channels=CHANNELS, num_classes=10, in_chans=1,
                  stem_type='deep', stem_width=16, avg_down=True, base_width=64, cardinality=1,
                  block_args={'radix': 2, 'avd': True, 'avd_first': False})


# ---- distortions --------------------------------------------------------------------------------

def distorted(images):
    """A batch of normalized images, each distorted by chance."""
    import torch
    from torch.nn import functional
    grid = functional.affine_grid(affine(len(images)), images.shape, align_corners=False)
    black = images.min()
    # What comes in from beyond the border is black, which is not 0 once images are normalized.
    return functional.grid_sample(images - black, grid + elastic(len(images)), align_corners=False) + black


def affine(count):
    """Random matrices [count, 2, 3]."""
    import torch
    turn, shear = uniform(count, TURN), uniform(count, SHEAR)
    wide, high = 1 + uniform(count, SCALE), 1 + uniform(count, SCALE)
    rows = [wide * torch.cos(turn), shear - torch.sin(turn), uniform(count, MOVE),
            torch.sin(turn), high * torch.cos(turn), uniform(count, MOVE)]
    return torch.stack(rows, 1).reshape(count, 2, 3)


def elastic(count):
    """Random smooth fields [count, 28, 28, 2] of how far each pixel moves."""
    import torch
    from torch.nn import functional
    field = torch.rand(count, 2, 28, 28) * 2 - 1
    for _ in range(2):
        field = functional.avg_pool2d(field, SMOOTH, 1, SMOOTH // 2)
    largest = field.abs().amax((1, 2, 3), keepdim=True)
    return (field / largest * BEND * torch.rand(count, 1, 1, 1)).permute(0, 2, 3, 1)


def uniform(count, most):
    import torch
    return (torch.rand(count) * 2 - 1) * most


# ---- training -----------------------------------------------------------------------------------

def train(model, images, labels, epochs):
    import torch
    from torch.nn import functional
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    steps = len(images) // BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps, pct_start=0.15)
    begin, smoothed = time.time(), math.log(10)
    model.train()
    for epoch in range(epochs):
        for step, batch in enumerate(torch.randperm(len(images))[:steps * BATCH].reshape(steps, BATCH)):
            logits = model(distorted(images[batch]))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            smoothed += 0.02 * (loss.item() - smoothed)
            if step % 100 == 99:
                print(f'epoch {epoch + 1}, step {step + 1} of {steps}: loss {smoothed:.4f}, '
                      f'{time.time() - begin:.0f} s', flush=True)
    model.eval()


def right(model, images, labels):
    """The share of images whose class is right."""
    import torch
    with torch.no_grad():
        found = torch.cat([model(part).argmax(1) for part in images.split(500)])
    return (found == labels).float().mean().item()


def tensors(part):
    import torch
    images, labels = common.mnist(part)
    return torch.from_numpy(common.normalized(images)), torch.from_numpy(labels.astype('int64'))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('output')
    parser.add_argument('--epochs', type=int, default=4)
    parser.add_argument('--seed', type=int, default=2026)
    options = parser.parse_args()
    common.enter('numpy', 'onnx', 'timm', 'torch', 'torchvision')
    # Threads that wait by spinning cost much on a machine that does something else too.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    import torch
    torch.manual_seed(options.seed)
    torch.set_num_threads(os.cpu_count())
    model = network()
    print(f'{sum(p.numel() for p in model.parameters())} parameters, seed {options.seed}', flush=True)
    train(model, *tensors('train'), options.epochs)
    accuracy = right(model, *tensors('t10k'))
    print(f'{100 * accuracy:.2f} % of the test images are right', flush=True)
    torch.onnx.export(model, torch.zeros(1, 1, 28, 28), options.output, opset_version=17, dynamo=False,
                      dynamic_axes={'images': {0: 'batch'}, 'logits': {0: 'batch'}},
                      input_names=['images'], output_names=['logits'])
    return 0 if accuracy > 0.99 else 1


if __name__ == '__main__':
    sys.exit(main())
