"""What a call from Python costs beside the entry point of C, on the smallest model: python cost.py LIBRARY.

Both run in this process, in turns, the least of several rounds, and C is called through ctypes with all arguments
made before. No time is too long here: this prints, and fails for wrong results only.
"""

import ctypes
import pathlib
import sys
import tempfile
import time

import numpy

import cardinal_ml

MODEL = pathlib.Path(__file__).resolve().parent.parent.parent / 'cli' / 'tests' / 'models' / 'classifier.onnx'
CALLS, ROUNDS = 2000, 15


class Tensor(ctypes.Structure):
    _fields_ = [('data', ctypes.c_void_p), ('bytes', ctypes.c_size_t)]


def of_c(library, path, inputs, outputs):
    """A function that runs the artifact at a path by way of C."""
    c = ctypes.CDLL(library)
    program, session = ctypes.c_void_p(), ctypes.c_void_p()
    assert c.cardinal_program_open(path.encode(), None, ctypes.byref(program)) == 0
    assert c.cardinal_session_new(program, ctypes.c_size_t(1), ctypes.byref(session)) == 0
    tensors = lambda arrays: (Tensor * len(arrays))(*(Tensor(a.ctypes.data, a.nbytes) for a in arrays))
    run = c.cardinal_session_run
    run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    ins, outs = tensors(inputs), tensors(outputs)
    return lambda: run(session, ins, len(inputs), outs, len(outputs))


def seconds(call):
    begin = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - begin) / CALLS


def main():
    model = cardinal_ml.compile(MODEL, threads=1)
    inputs = {info.name: numpy.ones(info.shape, info.dtype) for info in model.inputs}
    places = {info.name: numpy.empty(info.shape, info.dtype) for info in model.outputs}
    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/model.cardinal'
        model.save(path)
        c = of_c(sys.argv[1], path, list(inputs.values()), list(places.values()))
        session = cardinal_ml.InferenceSession(path)
    assert c() == 0
    results = model.run(inputs)
    assert all(numpy.array_equal(places[name], results[name]) for name in places)
    ways = {'C': c, 'Model.run': lambda: model.run(inputs), 'Model.run, outputs given': lambda: model.run(inputs, places),
            'InferenceSession.run': lambda: session.run(None, inputs)}
    least = {name: min(times) for name, times in
             zip(ways, zip(*([seconds(way) for way in ways.values()] for _ in range(ROUNDS))))}
    for name, time_ in least.items():
        print(f'{name:26} {time_ * 1e6:8.2f} us a call, {(time_ - least["C"]) * 1e6:+7.2f} us beside C')


main()
