"""What all tests need: where models are, and the command whose results are the right ones."""

import os
import pathlib
import subprocess

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / 'examples' / 'digits' / 'mnist_resnest.onnx'
IMAGES = sorted((ROOT / 'examples' / 'digits' / 'images').glob('*.png'))
FIXTURES = sorted(path for folder in ['branches', 'tiny'] for path in (ROOT / 'compiler/tests/fixtures' / folder).rglob('*.onnx'))
MODELS = ROOT / 'cli' / 'tests' / 'models'


def command(*arguments, folder='.'):
    """Runs the command, and returns its standard output."""
    command = os.environ.get('CARDINAL', str(ROOT / 'target' / 'debug' / 'cardinal'))
    return subprocess.run([command, *map(str, arguments)], cwd=folder, check=True, stdout=subprocess.PIPE).stdout


def digit(seed):
    """The input of the model of digits that belongs to a seed."""
    return numpy.random.default_rng(seed).standard_normal((1, 1, 28, 28), numpy.float32)


@pytest.fixture(scope='session')
def digits():
    """The model of digits, compiled."""
    import cardinal_ml
    return cardinal_ml.compile(DIGITS)
