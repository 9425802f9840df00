#!/usr/bin/env python3
"""Compiles every fixture with two builds of Cardinal and compares what they write, byte for byte.

    scripts/same_bytes.py BEFORE AFTER [--fixtures FOLDER] [--quick] [--models GLOB]... [--batch N]
                          [--expect-changes]

BEFORE and AFTER are two `cardinal` binaries: say, from before and after a change that should change nothing.
Models are those of the project's examples and compiler/tests/fixtures, and of FOLDER ($CARDINAL_FIXTURES, or
../shared/fixtures beside the project). Where a model's weights are left out, made-up ones take their place.
--quick leaves out such models, the large ones; --models 'timm.*ts17' keeps those whose name matches.

For each model and target the table says one of

    same              the artifacts are equal
    digests only      in the manifest, the version and digests of the plan differ; nothing else does
    code differs      the weights do not
    weights differ    the code does not
    both differ
    manifest differs  code and weights are equal, but not what the manifest says besides digests
    refused           by both; their reasons follow if they are not the same
    refused by AFTER  by this one alone; the reason follows

Exit code 0: nothing differs but digests, or --expect-changes was given; 4: something does, or one of the two
refuses what the other compiles; 2: there is nothing to compare.
"""
import argparse
import collections
import concurrent.futures
import fnmatch
import json
import os
import random
import subprocess
import sys
import tempfile

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
X86 = ['--target', 'x86_64-unknown-linux-gnu', '--cpu']
TARGETS = {
    'x86-64': [*X86, 'x86-64'],
    'x86-64-v3': [*X86, 'x86-64-v3'],
    'x86-64-v4': [*X86, 'x86-64-v4'],
    'aarch64': ['--target', 'aarch64-unknown-linux-gnu'],
}
HARMLESS = ('same', 'digests only', 'refused')


# ---- models -------------------------------------------------------------------------------------

class Model:
    """An ONNX file, and how many bytes of weights it wants beside it."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.name = os.path.basename(path).removesuffix('.onnx')
        self.weights = 0
        plan = self.path.removesuffix('.onnx') + '.fill.json'
        if os.path.exists(plan):
            with open(plan, encoding='utf-8') as file:
                tensors = json.load(file)['tensors']
            self.weights = max(tensor['offset'] + tensor['length'] for tensor in tensors)

    def is_wanted(self, options):
        named = any(fnmatch.fnmatch(self.name, pattern) for pattern in options.models or '*')
        return named and not (options.quick and self.weights)

    def place(self, folder):
        """The model's path: in `folder`, with its weights, if it has none of its own."""
        if not self.weights:
            return self.path
        path = os.path.join(folder, self.name + '.onnx')
        os.symlink(self.path, path)
        block = made_up_weights()
        with open(os.path.join(folder, self.name + '.weights'), 'wb') as file:
            for begin in range(0, self.weights, len(block)):
                file.write(block[:self.weights - begin])
        return path


def made_up_weights(count=1_000_003):
    """Random floats from 0.5 to 1, so that they serve as variances too. Their number is a prime: repeated,
    they are others in every filter of a tensor."""
    mantissas = int.from_bytes(random.Random(0).randbytes(4 * count), 'little')
    mantissas &= int.from_bytes(b'\xff\xff\x7f\x00' * count, 'little')
    exponents = int.from_bytes(b'\x00\x00\x00\x3f' * count, 'little')
    return (mantissas | exponents).to_bytes(4 * count, 'little')


def models(options):
    """The models that were asked for, each once, the small ones first."""
    folders = [options.fixtures, os.path.join(PROJECT, 'examples'),
               os.path.join(PROJECT, 'compiler', 'tests', 'fixtures')]
    found = {}
    for folder in folders:
        if not os.path.isdir(folder):
            print(f'{folder} is not there, so its models are left out', file=sys.stderr)
        for place, _, files in os.walk(folder):
            for file in fnmatch.filter(files, '*.onnx'):
                path = os.path.join(place, file)
                with open(path, 'rb') as contents:
                    found.setdefault(contents.read(), Model(path))
    chosen = [model for model in found.values() if model.is_wanted(options)]
    return sorted(chosen, key=lambda model: (model.weights, model.name))


# ---- artifacts ----------------------------------------------------------------------------------
# runtime/src/validate.rs has the layout, runtime/src/table.rs and runtime/src/manifest.rs the fields.

HEADER = 48


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data):
    """A protobuf message: the values of each field number, numbers as such and all else as bytes."""
    values, at = collections.defaultdict(list), 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 2, 5):
            length, at = varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at:at + length], at + length
        else:
            raise ValueError(f'no protobuf message: wire type {kind}')
        values[number].append(value)
    return values


class Artifact:
    """The sections of an artifact, and what they say besides versions, digests and offsets."""

    def __init__(self, data):
        length = int.from_bytes(data[12:16], 'little')
        self.version = data[8:12]
        self.code, self.variants, self.others, self.weights = {}, [], [], b''
        for section in map(fields, fields(data[HEADER:HEADER + length])[1]):
            name = section[1][0]
            # Zeros are left out.
            offset, length = (section.get(number, [0])[0] for number in (3, 4))
            content = memoryview(data)[offset:offset + length]
            if name == b'manifest':
                self.manifest = fields(bytes(content))
                self.manifest.pop(3, None)
            elif name == b'code':
                self.add_code(bytes(content))
            elif name == b'weights':
                self.weights = content
            else:
                self.others.append((name, content))

    def add_code(self, section):
        """The code of a variant and, behind it, its description and how long that is."""
        code = len(section) - 4 - int.from_bytes(section[-4:], 'little')
        variant = fields(section[code:-4])
        self.code[variant[1][0]] = section[:code]
        variant.pop(6, None)
        variant.pop(7, None)
        self.variants.append(variant)

    @property
    def rest(self):
        """What it says besides code and weights."""
        return self.version, self.manifest, self.variants, self.others


def compare(before, after):
    """What the table says of two artifacts, as bytes."""
    if before == after:
        return 'same'
    before, after = Artifact(before), Artifact(after)
    code, weights = before.code != after.code, before.weights != after.weights
    if code and weights:
        return 'both differ'
    if code or weights:
        return 'code differs' if code else 'weights differ'
    return 'digests only' if before.rest == after.rest else 'manifest differs'


# ---- comparison ---------------------------------------------------------------------------------

def compiled(cardinal, model, target, batch, output):
    """The artifact, or the reason why there is none."""
    command = [cardinal, 'compile', model, '--emit', 'artifact', '-o', output, *TARGETS[target]]
    command += ['--batch', str(batch)] if batch else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, f'exit {done.returncode}: {done.stderr.strip()}'
    with open(output, 'rb') as file:
        return file.read(), None


def verdict(model, target, options, folder, pool):
    """What the table says, and the reasons of those who refused if they disagree."""
    outputs = [os.path.join(folder, name + '.cardinal') for name in ('before', 'after')]
    binaries = [options.before, options.after]
    jobs = [pool.submit(compiled, binary, model, target, options.batch, output)
            for binary, output in zip(binaries, outputs)]
    (before, why_before), (after, why_after) = (job.result() for job in jobs)
    reasons = {'BEFORE': why_before, 'AFTER': why_after}
    reasons = {name: reason for name, reason in reasons.items() if reason}
    if not reasons:
        return compare(before, after), {}
    if why_before == why_after:
        return 'refused', {}
    return 'refused' if len(reasons) == 2 else f'refused by {next(iter(reasons))}', reasons


def row(model, options, pool):
    """Prints a model's row, and gives what it says."""
    with tempfile.TemporaryDirectory() as folder:
        path = model.place(folder)
        found = {target: verdict(path, target, options, folder, pool) for target in TARGETS}
    verdicts = [found[target][0] for target in TARGETS]
    print(f'{model.name:44s}', *(f'{verdict:16s}' for verdict in verdicts), flush=True)
    for target, (_, reasons) in found.items():
        for name, reason in reasons.items():
            print(f'    {target}, {name}: {reason}')
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('before')
    parser.add_argument('after')
    default = os.environ.get('CARDINAL_FIXTURES', os.path.join(PROJECT, '..', 'shared', 'fixtures'))
    parser.add_argument('--fixtures', default=default)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--models', action='append', metavar='GLOB')
    parser.add_argument('--batch', type=int)
    parser.add_argument('--expect-changes', action='store_true')
    options = parser.parse_args()
    chosen = models(options)
    if not chosen:
        parser.error('there are no such models')
    print(f'{"model":44s}', *(f'{target:16s}' for target in TARGETS))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        verdicts = [verdict for model in chosen for verdict in row(model, options, pool)]
    totals = ', '.join(f'{count} {verdict}' for verdict, count in collections.Counter(verdicts).most_common())
    print(f'{len(chosen)} models for {len(TARGETS)} targets: {totals}')
    harmless = all(verdict in HARMLESS for verdict in verdicts)
    sys.exit(0 if harmless or options.expect_changes else 4)


if __name__ == '__main__':
    main()
