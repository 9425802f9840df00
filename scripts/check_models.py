#!/usr/bin/env python3
"""Fills every full-size graph of a fixtures folder, runs it compiled, and compares the logits.

    scripts/check_models.py FIXTURES [--cardinal target/release/cardinal] [--only SUBSTRING]...
                            [--no-winograd] [--onnxruntime]

FIXTURES holds graphs/NAME.onnx, NAME.fill.json, *.logits.npy and make/fill_weights.py (its head
describes the weights). Needs numpy. Passes when, for both stored inputs, no logit is further from
the f64 reference than 1e-3 of the logits' standard deviation, and the top class is the same. Graphs
with a dynamic batch are run at batch 1 and at batch 3. With --onnxruntime (which needs that package) the largest
error may also be no more than 4 times ONNX Runtime's on the same inputs, or 2 times with --no-winograd.
"""
import argparse
import glob
import importlib.util
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

LIMIT = 1e-3


def load_filler(fixtures):
    path = os.path.join(fixtures, 'make', 'fill_weights.py')
    spec = importlib.util.spec_from_file_location('fill_weights', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(options, model, x, folder):
    source, target = os.path.join(folder, 'x.npy'), os.path.join(folder, 'y.npy')
    np.save(source, x)
    command = [options.cardinal, 'run', model, '--input', source, '--output', target]
    command += ['--no-winograd'] if options.no_winograd else []
    if x.shape[0] > 1:
        command += ['--batch', str(x.shape[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'exit {done.returncode}: {done.stderr.strip()[:2000]}')
    return np.load(target)


def run_peer(model, x):
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def largest_error(y, expected):
    error = float(np.abs(y - expected).max())
    return error if np.isfinite(error) else float('inf')


def batches(plan, x):
    """The inputs to run and the reference rows they belong to."""
    yield x[:1], [0]
    yield x[1:2], [1]
    if plan['dynamic_batch']:
        yield x[[0, 1, 0]], [0, 1, 0]


def check(path, filler, options):
    with tempfile.TemporaryDirectory() as folder:
        model, plan = filler.fill(path, folder)
        x = np.stack([filler.make_input(plan['model'], plan['input_dims'][1:], k) for k in range(2)])
        reference = np.load(os.path.join(os.path.dirname(path), plan['reference'])).astype(np.float64)
        worst, peer, same = 0.0, 0.0, True
        begin = time.time()
        for inputs, rows in batches(plan, x.astype(np.float32)):
            y, expected = run(options, model, inputs, folder), reference[rows]
            worst = max(worst, largest_error(y, expected))
            same &= bool((y.argmax(1) == expected.argmax(1)).all())
            if options.onnxruntime and len(rows) == 1:
                peer = max(peer, largest_error(run_peer(model, inputs), expected))
        return worst / reference.std(), worst / peer if peer else None, same, time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('fixtures')
    parser.add_argument('--cardinal', default='target/release/cardinal')
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--no-winograd', action='store_true')
    parser.add_argument('--onnxruntime', action='store_true')
    options = parser.parse_args()
    filler = load_filler(options.fixtures)
    bad, good, most = 0, 0, 2 if options.no_winograd else 4
    for path in sorted(glob.glob(os.path.join(options.fixtures, 'graphs', '*.onnx'))):
        name = os.path.basename(path)
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            worst, ratio, same, seconds = check(path, filler, options)
            passed = worst <= LIMIT and same and (ratio is None or ratio <= most)
            what = f'max error {worst:.1e} of std, top-1 {"equal" if same else "DIFFERS"}, {seconds:5.1f} s'
            what += '' if ratio is None else f', {ratio:.2f} times ONNX Runtime\'s error'
        except RuntimeError as error:
            passed, what = False, str(error)
        good, bad = good + passed, bad + (not passed)
        print(f'{"ok  " if passed else "FAIL"} {name:54s} {what}', flush=True)
    print(f'{good} passed, {bad} failed')
    sys.exit(1 if bad or not good else 0)


if __name__ == '__main__':
    main()
