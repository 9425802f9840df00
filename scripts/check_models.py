#!/usr/bin/env python3
"""Fills every full-size graph of a fixtures folder, runs it compiled, and compares the logits.

    scripts/check_models.py FIXTURES [--cardinal target/release/cardinal] [--only SUBSTRING]...

FIXTURES holds graphs/NAME.onnx, NAME.fill.json, *.logits.npy and make/fill_weights.py (its head
describes the weights). Needs numpy. Passes when, for both stored inputs, no logit is further from
the f64 reference than 1e-3 of the logits' standard deviation, and the top class is the same. Graphs
with a dynamic batch are run at batch 1 and at batch 3.
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


def run(cardinal, model, x, folder):
    source, target = os.path.join(folder, 'x.npy'), os.path.join(folder, 'y.npy')
    np.save(source, x)
    command = [cardinal, 'run', model, '--input', source, '--output', target]
    if x.shape[0] > 1:
        command += ['--batch', str(x.shape[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'exit {done.returncode}: {done.stderr.strip()[:2000]}')
    return np.load(target)


def batches(plan, x):
    """The inputs to run and the reference rows they belong to."""
    yield x[:1], [0]
    yield x[1:2], [1]
    if plan['dynamic_batch']:
        yield x[[0, 1, 0]], [0, 1, 0]


def check(path, filler, cardinal):
    with tempfile.TemporaryDirectory() as folder:
        model, plan = filler.fill(path, folder)
        x = np.stack([filler.make_input(plan['model'], plan['input_dims'][1:], k) for k in range(2)])
        reference = np.load(os.path.join(os.path.dirname(path), plan['reference'])).astype(np.float64)
        worst, same = 0.0, True
        begin = time.time()
        for inputs, rows in batches(plan, x.astype(np.float32)):
            y, expected = run(cardinal, model, inputs, folder), reference[rows]
            error = np.abs(y - expected).max() / reference.std()
            worst = max(worst, float(error) if np.isfinite(error) else float('inf'))
            same &= bool((y.argmax(1) == expected.argmax(1)).all())
        return worst, same, time.time() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('fixtures')
    parser.add_argument('--cardinal', default='target/release/cardinal')
    parser.add_argument('--only', action='append', default=[])
    options = parser.parse_args()
    filler = load_filler(options.fixtures)
    bad = good = 0
    for path in sorted(glob.glob(os.path.join(options.fixtures, 'graphs', '*.onnx'))):
        name = os.path.basename(path)
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            worst, same, seconds = check(path, filler, options.cardinal)
            passed = worst <= LIMIT and same
            what = f'max error {worst:.1e} of std, top-1 {"equal" if same else "DIFFERS"}, {seconds:5.1f} s'
        except RuntimeError as error:
            passed, what = False, str(error)
        good, bad = good + passed, bad + (not passed)
        print(f'{"ok  " if passed else "FAIL"} {name:54s} {what}', flush=True)
    print(f'{good} passed, {bad} failed')
    sys.exit(1 if bad or not good else 0)


if __name__ == '__main__':
    main()
