"""What Ray's workers do with batches, without Ray: scripts/python_ray.py tries it with Ray."""

import numpy
import pytest

import cardinal_ml
from cardinal_ml.ray import Scorer, default_cache
from conftest import DIGITS, IMAGES, digit


@pytest.fixture
def scorer(tmp_path):
    return lambda **options: Scorer(options.pop('model', DIGITS), threads=1, cache_dir=tmp_path, **options)


def test_images_are_scored_as_they_are_alone(scorer, digits):
    images = cardinal_ml.Images(digits)
    photos = numpy.array([path.read_bytes() for path in IMAGES[:5]], object)
    batch = {'path': numpy.array([str(path) for path in IMAGES[:5]]), 'bytes': photos}
    result = scorer(batch=2)(batch)
    assert list(result) == ['path', 'output', 'error'] and list(result['error']) == [''] * 5
    for row, image in zip(result['output'], photos):
        alone = digits.run({'input': images.decode(image)})['output'][0]
        numpy.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-5)


def test_a_bad_image_leaves_the_others_alone(scorer):
    photos = [path.read_bytes() for path in IMAGES[:3]]
    right = scorer()({'bytes': numpy.array(photos, object)})
    photos[1] = photos[1][:50]
    result = scorer(keep=True)({'bytes': numpy.array(photos, object)})
    assert 'bytes' in result
    assert 'cannot read' in result['error'][1] and result['error'][0] == ''
    assert numpy.isnan(result['output'][1]).all()
    assert numpy.array_equal(result['output'][[0, 2]], right['output'][[0, 2]])


def test_arrays_are_scored(scorer, digits):
    rows = numpy.concatenate([digit(seed) for seed in range(4)])
    spread = numpy.empty(4, object)
    spread[:] = list(rows)
    for values in [rows, spread]:
        result = scorer(column='pixels')({'pixels': values})
        for index, row in enumerate(rows):
            assert numpy.array_equal(result['output'][index], digits.run({'input': row[None]})['output'][0])
    with pytest.raises(cardinal_ml.InputError, match='float64'):
        scorer(column='pixels')({'pixels': rows.astype('f8')})


def test_no_rows_are_no_rows(scorer):
    assert scorer(column='pixels')({'pixels': numpy.empty((0, 1, 28, 28), 'f4')})['output'].shape == (0, 10)


def test_compiled_models_are_taken_and_columns_checked(scorer, tmp_path, digits):
    digits.save(tmp_path / 'digits.cardinal')
    result = scorer(model=tmp_path / 'digits.cardinal', column='pixels')({'pixels': digit(1)})
    assert numpy.array_equal(result['output'], digits.run({'input': digit(1)})['output'])
    with pytest.raises(cardinal_ml.OptionError, match='compiled already'):
        scorer(model=tmp_path / 'digits.cardinal', batch=2)
    with pytest.raises(cardinal_ml.OptionError, match='give one for each input: input'):
        scorer(column={'image': 'bytes'})


def test_the_cache_is_in_the_users_folder(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert default_cache() == '/somewhere/cardinal/compiled'
