"""Compiling, running, saving and loading: the bits of the command, without copies."""

import json
import pathlib
import pickle
import shutil

import numpy
import onnx
import pytest

import cardinal_ml
from conftest import DIGITS, FIXTURES, MODELS, command, digit


def random_inputs(model, seed):
    random = numpy.random.default_rng(seed)
    return {info.name: random.standard_normal(info.shape, info.dtype) for info in model.inputs}


def of_command(model, inputs, folder):
    """What `cardinal run` gives for these inputs."""
    numpy.savez(folder / 'x.npz', **inputs)
    command('run', model, '--input', folder / 'x.npz', '--output', folder / 'y.npz', '--quiet')
    with numpy.load(folder / 'y.npz') as outputs:
        return dict(outputs)


def assert_same_bits(actual, expected):
    assert list(actual) == list(expected)
    for name in expected:
        assert actual[name].dtype == expected[name].dtype and actual[name].shape == expected[name].shape
        assert actual[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize('path', [DIGITS, *FIXTURES[::4]], ids=lambda path: path.stem)
def test_results_have_the_bits_of_the_command(path, tmp_path):
    model = cardinal_ml.compile(path, threads=2)
    inputs = random_inputs(model, 5)
    assert_same_bits(model.run(inputs), of_command(path, inputs, tmp_path))


def test_a_model_may_be_a_path_bytes_or_a_proto(digits):
    right = digits.run({'input': digit(1)})
    for model in [str(DIGITS), DIGITS.read_bytes(), bytearray(DIGITS.read_bytes()), onnx.load(DIGITS)]:
        assert_same_bits(cardinal_ml.compile(model).run({'input': digit(1)}), right)


def test_weights_may_lie_in_another_file(tmp_path):
    shutil.copy(MODELS / 'external.onnx', tmp_path)
    with pytest.raises(cardinal_ml.ModelError, match='No such file.*\nhelp: keep the weights file beside the model'):
        cardinal_ml.compile(tmp_path / 'external.onnx')
    shutil.copy(MODELS / 'external.weights', tmp_path / 'weights')
    model = cardinal_ml.compile(tmp_path / 'external.onnx')
    inputs = random_inputs(model, 2)
    assert_same_bits(model.run(inputs), of_command(tmp_path / 'external.onnx', inputs, tmp_path))
    with pytest.raises(cardinal_ml.ModelError, match='given without a folder'):
        cardinal_ml.compile((MODELS / 'external.onnx').read_bytes())


def test_a_saved_model_loads_in_python_and_in_the_command(digits, tmp_path):
    inputs = {'input': digit(2)}
    right = digits.run(inputs)
    path = tmp_path / 'digits.cardinal'
    digits.save(path)
    assert path.read_bytes() == digits.to_bytes()
    assert list(tmp_path.iterdir()) == [path]
    assert_same_bits(cardinal_ml.load(path).run(inputs), right)
    assert_same_bits(cardinal_ml.load(path, variant=digits.cpu, threads=1).run(inputs), right)
    assert_same_bits(of_command(path, inputs, tmp_path), right)
    command('compile', DIGITS, '-o', tmp_path / 'theirs.cardinal')
    assert (tmp_path / 'theirs.cardinal').read_bytes() == path.read_bytes()
    assert_same_bits(pickle.loads(pickle.dumps(digits)).run(inputs), right)


def test_inputs_and_outputs_are_described(digits):
    info, = digits.inputs
    assert (info.name, info.shape, info.dtype) == ('input', (1, 1, 28, 28), numpy.float32)
    info, = digits.outputs
    assert (info.name, info.shape, info.dtype) == ('output', (1, 10), numpy.float32)
    assert repr(digits) == '<cardinal_ml.Model (input: f32[1, 1, 28, 28]) -> (output: f32[1, 10])>'
    assert digits.metadata == {entry.key: entry.value for entry in onnx.load(DIGITS).metadata_props}


def test_options_change_what_is_compiled(digits):
    plan = digits.inspect('plan')
    assert cardinal_ml.compile(DIGITS, batch=3).inputs[0].shape == (3, 1, 28, 28)
    assert cardinal_ml.compile(DIGITS, shapes={'input': [2, 1, 28, 28]}).outputs[0].shape == (2, 10)
    cardinal_ml.compile(DIGITS, precision='auto')
    assert cardinal_ml.compile(DIGITS, winograd=False).inspect('plan') != plan
    assert cardinal_ml.compile(DIGITS, cpu='x86-64-v2').cpu == 'x86-64-v2'
    for weights in ['f16', 'bf16']:
        assert len(cardinal_ml.compile(DIGITS, weights=weights).to_bytes()) < len(digits.to_bytes())
    assert cardinal_ml.compile(DIGITS, preprocess='imagenet').metadata['cardinal.preprocess'] == 'imagenet'
    cardinal_ml.compile(DIGITS, check_rewrites=True)


def test_stages_are_those_of_the_command(digits):
    for stage in ['import', 'fused', 'schedule', 'plan']:
        assert digits.inspect(stage) == command('inspect', DIGITS, '--stage', stage).decode()
    assert digits.inspect().startswith('model            main_graph\n')


def test_the_way_of_a_thing_is_that_of_the_command(digits, tmp_path):
    for name in ['split_attention', '#0', digits.outputs[0].name]:
        assert digits.explain(name) == json.loads(command('explain', DIGITS, name, '--json'))
    assembly = digits.explain('split_attention', assembly=True)
    assert assembly == json.loads(command('explain', DIGITS, 'split_attention', '--asm', '--json'))
    assert any(function['assembly'] for function in assembly['functions'])
    digits.save(tmp_path / 'digits.cardinal')
    loaded = cardinal_ml.load(tmp_path / 'digits.cardinal')
    theirs = command('explain', tmp_path / 'digits.cardinal', 'split_attention', '--json')
    assert loaded.explain('split_attention') == json.loads(theirs)
    assert loaded.explain('split_attention')['rewrites'] is None
    several = cardinal_ml.compile(DIGITS, cpu=['x86-64-v2', digits.cpu])
    assert several.explain('split_attention')['schema'] == 'cardinal.explain/v1'
    for model in [digits, loaded]:
        with pytest.raises(cardinal_ml.OptionError, match='nothing'):
            model.explain('nothing')


def test_what_tuning_chose_is_in_the_stages_and_ways(digits, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cardinal_ml.compile(DIGITS, tune=True)
    # Whatever was fastest: something else than what is estimated.
    convs = [node['conv'] for node in json.loads(command('inspect', DIGITS, '--stage', 'schedule', '--json'))['nodes']]
    others = {conv['by']: conv['candidates'][-1] for conv in convs if conv and conv['candidates'][-1] != conv['by']}
    cache = tmp_path / 'cardinal' / 'tune.json'
    known = json.loads(cache.read_text())
    layers = [layer for machine in known['machines'].values() for layer in machine.values()]
    for layer in layers:
        layer['choice'] = others.get(layer['estimate'], layer['estimate'])
    cache.write_text(json.dumps(known))
    tuned = cardinal_ml.compile(DIGITS, tune=True)
    plan = tuned.inspect('plan')
    assert plan != digits.inspect('plan') and 'tuned: ' in plan and 'tuned: ' in tuned.inspect('schedule')
    tuned.save(tmp_path / 'tuned.cardinal')
    loaded = cardinal_ml.load(tmp_path / 'tuned.cardinal')

    def way(model, name):
        story = model.explain(name)
        lines = [line for node in story['fused'] for line in node['schedule'].splitlines()]
        return [line for line in lines if line.startswith('    by ')], [step['function'] for step in story['steps']]

    names = [step['name'] for step in tuned.profile(threads=1, iterations=1, warmup=0)['steps']]
    assert all(way(tuned, name) == way(loaded, name) for name in names)
    assert any(way(tuned, name) != way(digits, name) for name in names)


def test_a_profile_is_that_of_the_command_but_for_times(digits, tmp_path):
    theirs = json.loads(command('profile', DIGITS, '--json', '--threads', '1', '--iterations', '2', '--warmup', '0'))
    profile = digits.profile(threads=1, iterations=2, warmup=0)
    assert list(profile) == list(theirs)
    for key in ['schema', 'cpu', 'precision', 'batch', 'threads', 'iterations', 'model']:
        assert profile[key] == theirs[key], key
    what = ['name', 'kernel', 'algorithm', 'stage', 'multiply_adds', 'bytes', 'element', 'calls']
    assert [[step[key] for key in what] for step in profile['steps']] == \
        [[step[key] for key in what] for step in theirs['steps']]
    assert all(step['ms'] >= 0 for step in profile['steps'])
    loaded = pickle.loads(pickle.dumps(digits))
    assert len(loaded.profile(threads=1, iterations=1)['steps']) == len(profile['steps'])
    for numbers in [{'threads': 0}, {'iterations': 0}]:
        with pytest.raises(cardinal_ml.OptionError, match='expected at least 1'):
            digits.profile(**numbers)


def test_tensors_that_are_no_arrays_are_read_where_they_lie(digits):
    array = digit(3)
    right = digits.run({'input': array})
    memory = memoryview(array)
    assert numpy.shares_memory(numpy.asarray(memory), array)

    class Tensor:
        """Has DLPack and nothing else."""
        __dlpack__ = lambda self, **options: array.__dlpack__(**options)
        __dlpack_device__ = lambda self: array.__dlpack_device__()

    for tensor in [memory, Tensor()]:
        assert_same_bits(digits.run({'input': tensor}), right)
    assert numpy.array_equal(numpy.from_dlpack(right['output']), right['output'])


def test_what_does_not_lie_densely_is_copied(digits):
    array = digit(4)
    right = digits.run({'input': array})
    odd = numpy.empty(array.nbytes + 1, numpy.uint8)[1:].view(numpy.float32).reshape(array.shape)
    odd[...] = array
    for spread in [numpy.repeat(array, 2, axis=3)[..., ::2], numpy.asfortranarray(array), odd,
                   numpy.flip(numpy.flip(array, 2).copy(), 2)]:
        assert_same_bits(digits.run({'input': spread}), right)


def test_outputs_may_be_the_callers(digits):
    array, place = digit(5), numpy.full((1, 10), numpy.nan, numpy.float32)
    results = digits.run({'input': array}, {'output': place})
    assert results['output'] is place
    assert_same_bits(digits.run({'input': array}), {'output': place})


def test_quantizing_gives_the_commands_model(tmp_path):
    images = DIGITS.parent / 'images'
    report = cardinal_ml.quantize(DIGITS, tmp_path / 'ours.onnx', images)
    command('quantize', DIGITS, '--calibrate', images, '-o', tmp_path / 'theirs.onnx')
    assert (tmp_path / 'ours.onnx').read_bytes() == (tmp_path / 'theirs.onnx').read_bytes()
    assert report['schema'] == 'cardinal.quantize/v1' and report['calibration']['samples'] == 100
    assert report['agreement']['top1_same'] > 90


def test_quantizing_takes_arrays(tmp_path):
    samples = numpy.concatenate([digit(seed) for seed in range(20)])
    numpy.save(tmp_path / 'samples.npy', samples)
    for name, calibrate in [('array', samples), ('dict', {'input': samples}), ('path', [tmp_path / 'samples.npy'])]:
        report = cardinal_ml.quantize(DIGITS.read_bytes(), tmp_path / name, calibrate, test=samples[:5], threads=1)
        assert (report['calibration']['samples'], report['test']['samples']) == (20, 5)
    quantized = [onnx.load(tmp_path / name).graph for name in ['array', 'dict', 'path']]
    assert quantized[0] == quantized[1] == quantized[2]
    assert cardinal_ml.compile(tmp_path / 'array').run({'input': samples[:1]})


def test_any_number_of_images_gives_the_rows_of_each_alone():
    model = cardinal_ml.compile(DIGITS, batch=5, threads=2)
    assert model.takes_fewer and model.inputs[0].shape[0] == 5
    images = numpy.concatenate([digit(seed) for seed in range(5)])
    alone = [model.run({'input': image[None]})['output'] for image in images]
    for count in range(1, 6):
        found = model.run({'input': images[:count]})['output']
        assert found.tobytes() == numpy.concatenate(alone[:count]).tobytes()
        place = numpy.empty_like(found)
        assert model.run({'input': images[:count]}, {'output': place})['output'] is place
        assert place.tobytes() == found.tobytes()
    for count, said in (6, 'has 6 images, and the model takes 1 to 5'), (0, 'has 0 images'):
        with pytest.raises(cardinal_ml.InputError, match=said):
            model.run({'input': numpy.zeros((count, 1, 28, 28), 'float32')})
    with pytest.raises(cardinal_ml.InputError, match='2'):
        model.run({'input': images[:2]}, {'output': numpy.empty((3, 10), 'float32')})
    assert not cardinal_ml.compile(DIGITS).takes_fewer


def test_a_session_of_a_batch_takes_fewer():
    session = cardinal_ml.InferenceSession(DIGITS, batch=5)
    images = numpy.concatenate([digit(seed) for seed in range(3)])
    expected, = session.run(None, {'input': images})
    assert expected.shape == (3, 10)
    binding = session.io_binding()
    binding.bind_cpu_input('input', images)
    binding.bind_output('output')
    session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize('weights', ['f16', 'bf16'])
def test_processes_share_weights_in_16_bits(tmp_path, weights):
    path, cache = tmp_path / 'narrow.cardinal', tmp_path / 'cache'
    cardinal_ml.compile(DIGITS, weights=weights).save(path)
    model = cardinal_ml.load(path)
    inputs = random_inputs(model, 1)
    right = model.run(inputs)
    for _ in range(2):
        assert_same_bits(cardinal_ml.load(path, cache_dir=cache).run(inputs), right)
        kept, = cache.glob('*.weights')
    maps = pathlib.Path('/proc/self/maps')
    if maps.exists():
        model = cardinal_ml.load(path, cache_dir=cache)
        assert str(kept) in maps.read_text()
        del model
