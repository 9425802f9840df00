#!/usr/bin/env python3
"""Times Cardinal beside ONNX Runtime, OpenVINO and MNN on the same models, in turn.

    scripts/bench_peers.py MODEL.onnx... [--cardinal target/release/cardinal] [--threads 1,2]
                           [--rounds 3] [--runs 20]

The peers are installed with pip into target/bench-venv on first use. A round runs each engine once,
each in a process of its own (A B C D, A B C D, ...), on the same random f32 input with batch 1; a
process warms up with five inferences. What is printed is the median over all rounds, and Cardinal's
ratio to the fastest other engine. Run it on a quiet machine: nothing here can tell a slow engine from
a busy neighbour.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv

PEERS = ['onnxruntime', 'openvino', 'mnn']
PACKAGES = ['numpy==2.4.6', 'onnxruntime==1.32.0', 'openvino==2026.4.1', 'MNN==3.6.1']
WARMUP = 5
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(HERE, 'target', 'bench-venv')


def install():
    python = os.path.join(VENV, 'bin', 'python')
    if not os.path.exists(python):
        venv.create(VENV, with_pip=True)
    check = subprocess.run([python, '-c', 'import numpy, onnxruntime, openvino, MNN'],
                           capture_output=True)
    if check.returncode:
        subprocess.run([python, '-m', 'pip', 'install', '--quiet', *PACKAGES], check=True)
    return python


# ---- the engines, each in a process of its own --------------------------------------------------

def random_input(shape):
    import numpy as np
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def onnxruntime(model, threads):
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    first = session.get_inputs()[0]
    x = random_input([d if isinstance(d, int) else 1 for d in first.shape])
    return lambda: session.run(None, {first.name: x})


def openvino(model, threads):
    import openvino as ov
    core = ov.Core()
    core.set_property('CPU', {'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1,
                              'INFERENCE_PRECISION_HINT': 'f32'})
    compiled = core.compile_model(core.read_model(model), 'CPU')
    request = compiled.create_infer_request()
    shape = [d.get_length() if d.is_static else 1 for d in compiled.input(0).partial_shape]
    x = random_input(shape)
    return lambda: request.infer({0: x})


def mnn(model, threads):
    import MNN
    import onnxruntime as ort
    converted = os.path.join(VENV, os.path.basename(model) + '.mnn')
    if not os.path.exists(converted) or os.path.getmtime(converted) < os.path.getmtime(model):
        tool = os.path.join(VENV, 'bin', 'mnnconvert')
        subprocess.run([tool, '-f', 'ONNX', '--modelFile', model, '--MNNModel', converted,
                        '--bizCode', 'bench'], check=True, capture_output=True)
    runtime = MNN.nn.create_runtime_manager(
        ({'backend': 0, 'precision': 'high', 'numThread': threads},))
    network = MNN.nn.load_module_from_file(converted, [], [], runtime_manager=runtime)
    first = ort.InferenceSession(model, providers=['CPUExecutionProvider']).get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in first.shape]
    x = MNN.expr.const(random_input(shape), shape, MNN.expr.NCHW)

    def run():
        y = network.forward([x])
        return (y[0] if isinstance(y, (list, tuple)) else y).read()
    return run


def peer(name, model, threads, runs):
    run = {'onnxruntime': onnxruntime, 'openvino': openvino, 'mnn': mnn}[name](model, threads)
    for _ in range(WARMUP):
        run()
    latencies = []
    for _ in range(runs):
        begin = time.perf_counter()
        run()
        latencies.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps({'latency_ms': latencies}))


# ---- the driver ---------------------------------------------------------------------------------

def measure(command):
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{')]
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or ['no result'])[-1]
    return json.loads(lines[-1])['latency_ms'], None


def machine():
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            fields = dict(line.split(':', 1) for line in file if ':' in line)
    except OSError:
        return 'unknown machine'
    flags = fields.get('flags\t\t', '').split()
    isa = 'AVX-512' if 'avx512f' in flags else 'AVX2' if 'avx2' in flags else 'baseline'
    return f"{fields.get('model name	', '?').strip()}, {os.cpu_count()} CPUs, {isa}"


def compare(args, python, model, threads):
    everyone = ['cardinal', *PEERS]
    latencies = {name: [] for name in everyone}
    for _ in range(args.rounds):
        for name in everyone:
            if name == 'cardinal':
                command = [args.cardinal, 'bench', model, '--json', '--threads', str(threads),
                           '--warmup', str(WARMUP), '--iterations', str(args.runs)]
            else:
                command = [python, os.path.abspath(__file__), '--peer', name, model,
                           '--threads', str(threads), '--runs', str(args.runs)]
            found, error = measure(command)
            if error:
                print(f'{name}: {error}', file=sys.stderr)
            else:
                latencies[name] += found
    medians = {name: statistics.median(all) for name, all in latencies.items() if all}
    others = [median for name, median in medians.items() if name != 'cardinal']
    cells = [f'{medians[name]:.1f}' if name in medians else '-' for name in everyone]
    ratio = medians['cardinal'] / min(others) if others and 'cardinal' in medians else None
    cells.append(f'{ratio:.2f}' if ratio else '-')
    print(f'| {os.path.basename(model)} | {threads} | ' + ' | '.join(cells) + ' |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='MODEL')
    parser.add_argument('--cardinal', default=os.path.join(HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--runs', type=int, default=20)
    parser.add_argument('--peer', choices=PEERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer, args.models[0], int(args.threads), args.runs)
    python = install()
    print(f'{machine()}; medians in ms of {args.rounds} rounds of {args.runs}, batch 1, f32\n')
    print('| model | threads | Cardinal | ONNX Runtime | OpenVINO | MNN | ratio |')
    print('|---|---|---|---|---|---|---|')
    for model in args.models:
        for threads in args.threads.split(','):
            compare(args, python, model, int(threads))


if __name__ == '__main__':
    main()
