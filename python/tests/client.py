"""A program that is written for ONNX Runtime: what is tested is that it runs with another import."""

import numpy
import onnxruntime


def feed_of(session, seed):
    """Random inputs of a session, with two samples where the model leaves that open."""
    random = numpy.random.default_rng(seed)
    feed = {}
    for value in session.get_inputs():
        shape = [extent if isinstance(extent, int) else 2 for extent in value.shape]
        assert value.type == 'tensor(float)'
        feed[value.name] = random.standard_normal(shape, numpy.float32)
    return feed


def predict(path, seed):
    """The outputs of a model by their names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, sess_options=options, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed_of(session, seed))))


def describe(path):
    """What a session says of its model."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    values = [(value.name, value.type, value.shape) for value in session.get_inputs() + session.get_outputs()]
    meta = session.get_modelmeta()
    about = (meta.producer_name, meta.graph_name, meta.domain, meta.description, meta.version, meta.custom_metadata_map)
    return values, about, session.get_providers()


def fix(path, seed):
    """The same outputs where the dimension `batch` is fixed for the session."""
    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name('batch', 2)
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    assert [value.shape[0] for value in session.get_inputs() + session.get_outputs()] == [2, 2]
    return dict(zip(['output'], session.run(None, feed_of(session, seed))))


def bind(path, seed):
    """The same outputs by way of bound memory: the first is written to memory of ours, and the others are new."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    feed = feed_of(session, seed)
    names = [output.name for output in session.get_outputs()]
    shapes = [array.shape for array in session.run(None, feed)]
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_input(name, 'cpu', 0, numpy.float32, array.shape, array.ctypes.data)
    ours = numpy.full(shapes[0], numpy.nan, numpy.float32)
    binding.bind_output(names[0], 'cpu', 0, numpy.float32, ours.shape, ours.ctypes.data)
    for name in names[1:]:
        binding.bind_output(name)
    session.run_with_iobinding(binding)
    copies = binding.copy_outputs_to_cpu()
    assert numpy.array_equal(copies[0], ours)
    return dict(zip(names, copies))


def values(path, seed):
    """The same outputs by way of values of ONNX Runtime's."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    feed = {name: value(array) for name, array in feed_of(session, seed).items()}
    names = [output.name for output in session.get_outputs()]
    results = session.run_with_ort_values(names, feed)
    return {name: result.numpy() for name, result in zip(names, results)}


def refuse(path):
    """Whether what is no input of the model is refused as one would catch it."""
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    try:
        session.run(None, {})
    except ValueError:
        return True
    return False
