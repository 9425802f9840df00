"""Images as inputs: what `cardinal run` makes of them."""

import numpy
import pytest

import cardinal_ml
from conftest import DIGITS, IMAGES, ROOT, command


def test_pixels_are_those_of_the_command(digits, tmp_path):
    images = cardinal_ml.Images(digits)
    for path in IMAGES[:3]:
        command('run', DIGITS, path, '--dump-input', tmp_path / 'x.npy', '--quiet')
        assert numpy.array_equal(images.decode(path), numpy.load(tmp_path / 'x.npy'))
        assert numpy.array_equal(images.decode(path.read_bytes()), numpy.load(tmp_path / 'x.npy'))
    assert images.decode_all(IMAGES[:3]).shape == (3, 1, 28, 28)


def test_what_is_done_is_described(digits):
    assert 'centre crop 28x28, grey' in cardinal_ml.Images(digits).describe()
    images = cardinal_ml.Images(digits, mean=[0.25], std=[0.5], resize=32, interpolation='bilinear')
    assert images.describe().startswith('shorter side to 32 (flag), bilinear (flag)')
    assert images.warnings() == []


def test_what_is_no_image_is_refused(digits):
    images = cardinal_ml.Images(digits)
    with pytest.raises(cardinal_ml.FileError, match='cannot read `<bytes>`'):
        images.decode(b'no image')
    with pytest.raises(OSError, match='no/such.png'):
        images.decode('no/such.png')
    with pytest.raises(cardinal_ml.OptionError, match='`bilinear` or `bicubic`'):
        cardinal_ml.Images(digits, interpolation='nearest')
    with pytest.raises(cardinal_ml.OptionError, match='none of imagenet'):
        cardinal_ml.Images(digits, preprocess='somehow')
    no_images = cardinal_ml.compile(ROOT / 'cli' / 'tests' / 'models' / 'names.onnx')
    with pytest.raises(cardinal_ml.OptionError, match='no image'):
        cardinal_ml.Images(no_images)
