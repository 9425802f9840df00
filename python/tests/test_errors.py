"""Errors say what is wrong, where, and what to do about it."""

import pickle

import numpy
import onnx
import pytest

import cardinal_ml
from conftest import DIGITS, MODELS, digit


def test_an_unsupported_model_names_its_node():
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Det', ['x'], ['y'], name='the determinant')], 'g',
        [onnx.helper.make_tensor_value_info('x', 1, [2, 2])], [onnx.helper.make_tensor_value_info('y', 1, [])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)])
    with pytest.raises(cardinal_ml.ModelError) as caught:
        cardinal_ml.compile(model)
    error = caught.value
    assert (error.node, error.operator) == ('the determinant', 'Det')
    assert 'unsupported' in error.message and error.remedy
    assert str(error) == f'{error.message}\nhelp: {error.remedy}'
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.node, str(again)) == (type(error), error.node, str(error))


def test_all_errors_have_one_base_and_are_caught_as_usual():
    for error, usual in [('ModelError', Exception), ('OptionError', ValueError), ('InputError', ValueError),
                         ('ArtifactError', Exception), ('FileError', OSError), ('ResourceError', RuntimeError)]:
        assert issubclass(getattr(cardinal_ml, error), (cardinal_ml.Error, usual))
        assert issubclass(getattr(cardinal_ml, error), usual)


IMAGE = digit(0)


@pytest.mark.parametrize('inputs, said', [
    ({}, 'input "input" is missing\nhelp: give one array for each input: "input"'),
    ({'image': IMAGE}, 'input "input" is missing'),
    ({'input': IMAGE, 'mask': IMAGE}, 'the model has no input "mask"'),
    ({'input': IMAGE.astype('f8')}, 'is float32[1, 1, 28, 28], and float64[1, 1, 28, 28] is given\n'
                                    'help: convert it first: x.astype(numpy.float32)'),
    ({'input': IMAGE.astype('f2')}, 'and float16[1, 1, 28, 28] is given'),
    ({'input': IMAGE.astype('>f4')}, 'and >f4[1, 1, 28, 28] is given'),
    ({'input': IMAGE.view('i4')}, 'and int32[1, 1, 28, 28] is given'),
    ({'input': IMAGE[0]}, 'and float32[1, 28, 28] is given\nhelp: give an array of this shape, or compile'),
    ({'input': numpy.zeros((2, 1, 28, 28), 'f4')}, 'and float32[2, 1, 28, 28] is given'),
    ({'input': IMAGE[..., :0]}, 'and float32[1, 1, 28, 0] is given'),
    ({'input': None}, 'object'),
    ({'input': IMAGE.tolist()}, 'and float64[1, 1, 28, 28] is given'),
    ([IMAGE], 'a dict of arrays is expected, not list'),
], ids=str)
def test_inputs_that_are_not_the_models_are_refused(digits, inputs, said):
    with pytest.raises(cardinal_ml.InputError) as caught:
        digits.run(inputs)
    assert said in str(caught.value)


def test_outputs_that_cannot_be_written_are_refused(digits):
    place = numpy.empty((1, 10), numpy.float32)
    read_only = place.copy()
    read_only.flags.writeable = False
    shared = numpy.zeros((1, 1, 28, 28), numpy.float32)
    for output, said in [(place.T, 'output "output" is float32[1, 10]'), (place.astype('f8'), 'float64'),
                         (read_only, 'writeable'), (place.tolist(), 'no NumPy array'),
                         (numpy.empty((1, 20), numpy.float32)[:, ::2], 'not dense'),
                         (shared.reshape(-1)[:10].reshape(1, 10), 'overlaps')]:
        with pytest.raises(cardinal_ml.InputError) as caught:
            digits.run({'input': shared}, {'output': output})
        assert said in str(caught.value)
    with pytest.raises(cardinal_ml.InputError, match='output "output" is missing'):
        digits.run({'input': shared}, {})


def test_options_that_cannot_be_are_refused(digits):
    for options, said in [({'shapes': {'image': (1, 1, 28, 28)}}, 'image'), ({'cpu': 'i386'}, 'i386'),
                          ({'weights': 'f8'}, 'one of f32, f16 and bf16'), ({'threads': 0}, '0 threads'),
                          ({'threads': 100_000}, '100000 threads'), ({'preprocess': 'somehow'}, 'imagenet'),
                          ({'int8_winograd': True, 'portable_bits': True}, 'goes neither with'),
                          ({'precision': 'f8'}, 'one of f32, bf16 and auto'),
                          ({'precision': 'auto', 'portable_bits': True}, 'does not go with'),
                          ({'int8_winograd': True, 'winograd': False}, 'goes neither with')]:
        with pytest.raises(cardinal_ml.OptionError) as caught:
            cardinal_ml.compile(DIGITS, **options)
        assert said in str(caught.value)
    with pytest.raises(cardinal_ml.Error, match='memory'):
        cardinal_ml.compile(DIGITS, max_memory=1000)
    with pytest.raises(cardinal_ml.OptionError, match='the stages are import, fused'):
        digits.inspect('final')
    with pytest.raises(cardinal_ml.OptionError, match="no argument 'tune'"):
        cardinal_ml.quantize(DIGITS, 'x.onnx', DIGITS.parent / 'images', tune=True)


def test_files_that_are_not_what_they_should_be_are_refused(digits, tmp_path):
    with pytest.raises(OSError, match='no/such.onnx'):
        cardinal_ml.compile('no/such.onnx')
    with pytest.raises(cardinal_ml.FileError, match='no/such.cardinal'):
        cardinal_ml.load('no/such.cardinal')
    with pytest.raises(cardinal_ml.FileError, match='cannot write'):
        digits.save(tmp_path / 'no' / 'such.cardinal')
    with pytest.raises(cardinal_ml.ArtifactError, match='not a Cardinal artifact but an ONNX model'):
        cardinal_ml.load(DIGITS)
    with pytest.raises(cardinal_ml.ModelError, match='not a valid ONNX file'):
        cardinal_ml.compile(b'\x08\x09 no model')
    path = tmp_path / 'digits.cardinal'
    digits.save(path)
    with pytest.raises(cardinal_ml.OptionError, match='compiled already'):
        cardinal_ml.compile(path)
    with pytest.raises(cardinal_ml.OptionError, match='has no stages'):
        cardinal_ml.load(path).inspect('plan')
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / 'damaged.cardinal').write_bytes(damaged)
    with pytest.raises(cardinal_ml.ArtifactError, match='damaged'):
        cardinal_ml.load(tmp_path / 'damaged.cardinal')


def test_names_from_files_do_not_drive_terminals():
    model = onnx.load(MODELS / 'classifier.onnx')
    model.graph.node[0].op_type = 'No\x1b[2Jsuch'
    with pytest.raises(cardinal_ml.ModelError) as caught:
        cardinal_ml.compile(model)
    assert '\x1b' not in str(caught.value) and '\x1b' not in caught.value.operator
