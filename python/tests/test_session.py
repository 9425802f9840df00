"""Client code of ONNX Runtime with another import, beside ONNX Runtime itself."""

import types

import numpy
import pytest

import cardinal_ml
from conftest import DIGITS, FIXTURES, MODELS, ROOT

CLIENT = (ROOT / 'python' / 'tests' / 'client.py').read_text()


def client(of):
    """The client with this import."""
    module = types.ModuleType('client')
    text = CLIENT.replace('\nimport onnxruntime\n', f'\nimport {of} as onnxruntime\n')
    exec(compile(text, 'client.py', 'exec'), module.__dict__)
    return module


OURS, THEIRS = client('cardinal_ml'), client('onnxruntime')


def assert_near(actual, expected, tolerance=1e-4):
    """Equal within a part of the largest magnitude of each output."""
    assert actual.keys() == expected.keys()
    for name, right in expected.items():
        assert actual[name].shape == right.shape and actual[name].dtype == right.dtype
        difference = numpy.abs(actual[name] - right).max()
        assert difference <= tolerance * numpy.abs(right).max(), f'{name} differs by {difference}'


def test_the_client_has_one_import_to_replace():
    assert CLIENT.count('onnxruntime\n') == 1
    assert len(FIXTURES) > 20


@pytest.mark.parametrize('path', FIXTURES + [DIGITS], ids=lambda path: path.stem)
def test_results_are_those_of_onnx_runtime(path):
    assert_near(OURS.predict(str(path), 7), THEIRS.predict(str(path), 7))


@pytest.mark.parametrize('path', [DIGITS, MODELS / 'names.onnx', FIXTURES[0]], ids=lambda path: path.stem)
def test_a_session_describes_its_model_as_onnx_runtime_does(path):
    assert OURS.describe(str(path)) == THEIRS.describe(str(path))


@pytest.mark.parametrize('way', ['bind', 'fix', 'values'])
def test_bound_memory_and_fixed_dimensions_have_the_results(way):
    assert_near(getattr(OURS, way)(str(DIGITS), 3), getattr(THEIRS, way)(str(DIGITS), 3))


def test_missing_inputs_are_value_errors_in_both():
    assert OURS.refuse(str(DIGITS)) and THEIRS.refuse(str(DIGITS))


def test_any_batch_runs_where_the_model_leaves_it_open():
    session = cardinal_ml.InferenceSession(DIGITS)
    random = numpy.random.default_rng(11)
    images = random.standard_normal((5, 1, 28, 28), numpy.float32)
    one_by_one = [session.run(None, {'input': image[None]})[0] for image in images]
    for count in [1, 2, 5]:
        together = session.run(['output'], {'input': images[:count]})[0]
        numpy.testing.assert_allclose(together, numpy.concatenate(one_by_one[:count]), rtol=1e-4, atol=1e-5)


def test_a_session_of_a_compiled_file_says_the_same(tmp_path):
    cardinal_ml.compile(DIGITS).save(tmp_path / 'digits.cardinal')
    session = cardinal_ml.InferenceSession(tmp_path / 'digits.cardinal')
    assert [(each.name, each.type, each.shape) for each in session.get_inputs()] == [
        ('input', 'tensor(float)', [1, 1, 28, 28])]
    image = numpy.zeros((1, 1, 28, 28), numpy.float32)
    whole = cardinal_ml.InferenceSession(DIGITS).run(None, {'input': image})
    assert numpy.array_equal(session.run(None, {'input': image}), whole)


def test_what_does_not_fit_is_refused():
    session = cardinal_ml.InferenceSession(DIGITS)
    image = numpy.zeros((1, 1, 28, 28), numpy.float32)
    with pytest.raises(cardinal_ml.InputError, match='no output .logits.*\nhelp: its outputs are .output'):
        session.run(['logits'], {'input': image})
    with pytest.raises(cardinal_ml.InputError, match=r"'batch', 1, 28, 28\], and \[1, 1, 28, 27\] is given"):
        session.run(None, {'input': image[..., 1:]})
    with pytest.raises(cardinal_ml.OptionError, match='no device'):
        session.io_binding().bind_output('output', 'cuda')
    with pytest.warns(UserWarning, match='CUDAExecutionProvider is not in the available providers'):
        cardinal_ml.InferenceSession(DIGITS, providers=['CUDAExecutionProvider', 'CPUExecutionProvider'])
