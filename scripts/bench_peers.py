#!/usr/bin/env python3
"""Times Cardinal beside ONNX Runtime, OpenVINO and MNN on the same models, in turn.

    scripts/bench_peers.py MODEL.onnx... [--cardinal target/release] [--threads 1,2]
                           [--rounds 12] [--runs 5] [--cpu x86-64-v3] [--before OTHER/target/release]
                           [--int8 | --bf16]

The peers are installed with pip on first use (scripts/common.py). Each engine loads the model in a
process of its own and stays there. In a round each runs a few inferences while the others wait (A B C D,
A B C D, ...), on the same random f32 input with batch 1, after one that is not counted: so a machine that
grows slower, or is busy for a while, does so for all of them. What is printed is the median over all
rounds, and Cardinal's ratio to the engine with the lowest one: the median of the ratios within rounds.
`--before` times an earlier build of Cardinal's too, which takes no part in the ratio; an engine that fails
ends it with its last words, and `--peers onnxruntime,openvino` leaves one out.

With `--int8` each engine runs what its own tool makes of the model in 8 bits, from the same 16 random
samples: `cardinal quantize`, ONNX Runtime's quantize_static (QDQ, weights by channel) and NNCF. MNN is left
out, and beside them stands OpenVINO in the precision that it takes by itself: bf16 where the CPU has it. With
`--bf16` Cardinal compiles with --precision bf16, and that is what it is compared with.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import common

PEERS = ['onnxruntime', 'openvino', 'mnn']
NAMES = {'cardinal': 'Cardinal', 'onnxruntime': 'ONNX Runtime', 'openvino': 'OpenVINO', 'mnn': 'MNN',
         'before': 'before', 'installed': 'OpenVINO as installed'}
PACKAGES = ['numpy', 'onnx', 'onnxruntime', 'openvino', 'MNN']
QUANTIZERS = ['sympy', 'nncf']
SAMPLES = 16
WARMUP = 5
# What models become for an engine.
CONVERTED = os.path.join(common.HERE, 'target', 'bench-peers')


# ---- the engines, each in a process of its own --------------------------------------------------

def random_input(shape):
    """An input, with 1 for extents that are not fixed."""
    import numpy as np
    return np.random.default_rng(0).standard_normal([n or 1 for n in shape]).astype(np.float32)


def onnxruntime(model, threads):
    session = common.onnxruntime_session(model, threads)
    name, shape = common.first_input(model)
    x = random_input(shape)
    return lambda: session.run(None, {name: x})


def openvino(model, threads, precision='f32'):
    compiled = common.openvino_model(model, threads, precision)
    request = compiled.create_infer_request()
    x = random_input([d.get_length() if d.is_static else 1 for d in compiled.input(0).partial_shape])
    return lambda: request.infer({0: x})


def mnn(model, threads):
    import MNN
    converted = os.path.join(CONVERTED, os.path.basename(model) + '.mnn')
    if not os.path.exists(converted) or os.path.getmtime(converted) < os.path.getmtime(model):
        tool = os.path.join(common.VENV, 'bin', 'mnnconvert')
        subprocess.run([tool, '-f', 'ONNX', '--modelFile', model, '--MNNModel', converted,
                        '--bizCode', 'bench'], check=True, capture_output=True)
    runtime = MNN.nn.create_runtime_manager(
        ({'backend': 0, 'precision': 'high', 'numThread': threads},))
    network = MNN.nn.load_module_from_file(converted, [], [], runtime_manager=runtime)
    given = random_input(common.first_input(model)[1])
    x = MNN.expr.const(given, given.shape, MNN.expr.NCHW)

    def run():
        y = network.forward([x])
        return (y[0] if isinstance(y, (list, tuple)) else y).read()
    return run


class Buffer(ctypes.Structure):
    """CardinalInput and CardinalOutput of cardinal_runtime.h."""
    _fields_ = [('data', ctypes.c_void_p), ('bytes', ctypes.c_size_t)]


def cardinal(build, model, threads, options):
    """An artifact in the runtime's C library, both of this build."""
    import numpy as np
    last = common.onnxruntime_session(model).get_outputs()[0]
    x = random_input(common.first_input(model)[1])
    y = np.zeros([d if isinstance(d, int) else 1 for d in last.shape], np.float32)
    artifact = f'{CONVERTED}/{os.path.basename(model)}.{os.getpid()}.cardinal'
    command = [f'{build}/cardinal', 'compile', model, '-o', artifact]
    subprocess.run(command + options, check=True, capture_output=True)
    library = ctypes.CDLL(f'{build}/libcardinal_runtime.so')
    library.cardinal_last_error.restype = ctypes.c_char_p

    def call(function, *arguments):
        if getattr(library, function)(*arguments):
            raise RuntimeError(library.cardinal_last_error().decode())

    program, state = ctypes.c_void_p(), ctypes.c_void_p()
    call('cardinal_program_open', artifact.encode(), None, ctypes.byref(program))
    os.remove(artifact)
    call('cardinal_session_new', program, ctypes.c_size_t(threads), ctypes.byref(state))
    given, made = [Buffer(array.ctypes.data, array.nbytes) for array in (x, y)]
    # A buffer is an address: the arrays must live as long.
    given.array, made.array = x, y
    one = ctypes.c_size_t(1)

    def run():
        call('cardinal_session_run', state, ctypes.byref(given), one, ctypes.byref(made), one)
        return y
    return run


# ---- models in 8 bits, by each engine's own tool --------------------------------------------------

def samples(model):
    """Random inputs."""
    import numpy as np
    shape = (SAMPLES, *common.first_input(model)[1][1:])
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def quantize_by_cardinal(build, model, to):
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        np.save(f'{folder}/samples.npy', samples(model))
        subprocess.run([f'{build}/cardinal', 'quantize', model, '--calibrate', f'{folder}/samples.npy', '-o', to],
                       check=True, capture_output=True)


def quantize_by_onnxruntime(_, model, to):
    common.quantize_by_onnxruntime(model, to, samples(model))


def quantize_by_openvino(_, model, to):
    common.quantize_by_nncf(model, to, samples(model))


QUANTIZE = {'cardinal': (quantize_by_cardinal, 'onnx'), 'onnxruntime': (quantize_by_onnxruntime, 'onnx'),
            'openvino': (quantize_by_openvino, 'xml')}


def in_8_bits(name, build, model):
    """The model as an engine's tool makes it, or as it did before."""
    quantize, extension = QUANTIZE[name]
    made = os.path.join(CONVERTED, f'{os.path.basename(model)}.{name}.int8.{extension}')
    # Cardinal's is made anew: it may be another build's.
    is_old = not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(model)
    if name == 'cardinal' or is_old:
        quantize(build, model, made)
    return made


def engine(args):
    name, model, threads = args.engine, args.models[0], int(args.threads)
    if args.int8 and name in QUANTIZE:
        model = in_8_bits(name, args.cardinal, model)
    # Whatever it takes for the rest of a quantized model.
    if name == 'installed' or (name == 'openvino' and args.int8):
        return openvino(model, threads, precision=None)
    if name == 'cardinal':
        cpu, precision = ['--cpu', args.cpu] if args.cpu else [], ['--precision', 'bf16'] if args.bf16 else []
        return cardinal(args.cardinal, model, threads, cpu + precision)
    return {'onnxruntime': onnxruntime, 'openvino': openvino, 'mnn': mnn}[name](model, threads)


def serve(args):
    """Loads a model, then runs it as often as each line of the input says."""
    run = engine(args)
    for _ in range(WARMUP):
        run()
    print('ready', flush=True)
    for line in sys.stdin:
        run()
        latencies = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            run()
            latencies.append((time.perf_counter() - begin) * 1e3)
        print(json.dumps(latencies), flush=True)


# ---- the driver ---------------------------------------------------------------------------------

class Engine:
    """A process that serves one engine; `rounds` are its latencies."""

    def __init__(self, python, args, name, model, threads):
        command = [python, os.path.abspath(__file__), model, '--threads', str(threads)]
        if name == 'before':
            command += ['--engine', 'cardinal', '--cardinal', args.before]
        else:
            command += ['--engine', name, '--cardinal', args.cardinal]
        command += ['--cpu', args.cpu] if args.cpu else []
        command += [f'--{kind}' for kind in ('int8', 'bf16') if getattr(args, kind)]
        self.name, self.rounds = name, []
        self.errors = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, text=True)
        self.answer('ready')

    def answer(self, start):
        """The next line that begins like this; engines may print others."""
        for line in self.process.stdout:
            if line.startswith(start):
                return line
        self.errors.seek(0)
        error = (self.errors.read().strip().splitlines() or ['no result'])[-1]
        raise SystemExit(f'{self.name}: {error}')

    def take_turn(self, runs):
        self.process.stdin.write(f'{runs}\n')
        self.process.stdin.flush()
        self.rounds.append(json.loads(self.answer('[')))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def median(self):
        return statistics.median(latency for of_round in self.rounds for latency in of_round)


def machine():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            fields = dict(line.split(':', 1) for line in file if ':' in line)
    except OSError:
        return 'unknown machine'
    flags = fields.get('flags\t\t', '').split()
    isa = 'AVX-512' if 'avx512f' in flags else 'AVX2' if 'avx2' in flags else 'baseline'
    return f"{fields.get('model name	', '?').strip()}, {os.cpu_count()} CPUs, {isa}"


def compare(args, python, names, model, threads):
    engines = [Engine(python, args, name, model, threads) for name in names]
    for _ in range(args.rounds):
        for one in engines:
            one.take_turn(args.runs)
    for one in engines:
        one.stop()
    cells = [f'{one.median():.1f}' for one in engines]
    others = [one for one in engines if one.name in PEERS or args.bf16 and one.name == 'installed']
    ratio = '-'
    if others:
        fastest = min(others, key=Engine.median)
        pairs = zip(engines[0].rounds, fastest.rounds)
        ratio = statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)
        ratio = f'{ratio:.2f}'
    print(f'| {os.path.basename(model)} | {threads} | ' + ' | '.join([*cells, ratio]) + ' |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='MODEL')
    parser.add_argument('--cardinal', default=os.path.join(common.HERE, 'target', 'release'))
    parser.add_argument('--before', metavar='DIR')
    parser.add_argument('--cpu')
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--rounds', type=int, default=12)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--peers', default=','.join(PEERS))
    narrow = parser.add_mutually_exclusive_group()
    narrow.add_argument('--int8', action='store_true')
    narrow.add_argument('--bf16', action='store_true')
    parser.add_argument('--engine', choices=['cardinal', 'installed', *PEERS], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.engine:
        return serve(args)
    python = common.python_with(*PACKAGES, *(QUANTIZERS if args.int8 else []))
    os.makedirs(CONVERTED, exist_ok=True)
    peers = [name for name in args.peers.split(',') if name]
    if args.int8:
        peers = [name for name in peers if name in QUANTIZE] + ['installed']
    if args.bf16:
        peers = ['installed']
    names = ['cardinal', *(['before'] if args.before else []), *peers]
    print(f'{machine()}; medians in ms of {args.rounds} rounds of {args.runs}, batch 1, '
          f'{"int8" if args.int8 else "bf16" if args.bf16 else "f32"}\n')
    print('| model | threads | ' + ' | '.join(NAMES[name] for name in names) + ' | ratio |')
    print('|---' * (3 + len(names)) + '|')
    for model in args.models:
        for threads in args.threads.split(','):
            compare(args, python, names, model, int(threads))


if __name__ == '__main__':
    main()
