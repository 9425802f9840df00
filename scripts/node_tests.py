#!/usr/bin/env python3
"""Runs ONNX's own tests of operators through the command line, and counts what is right.

    scripts/node_tests.py [target/release/cardinal] [--check | --bless] [--only SUBSTRING]... [--light]

The tests, ONNX Runtime and NumPy are installed with pip on first use (scripts/common.py). A test is a model of one
operator, or of the function that defines it, with inputs and outputs; some outputs come from random inputs, drawn
here from a fixed seed. Each test runs in up to two forms:

    as it is    the inputs are given when the model runs
    constant    inputs that are not f32, or have no elements, are initializers, as Cardinal has shapes and axes
                known when it compiles; and newer operator sets than Cardinal knows are stated as the newest that
                it knows, where ONNX's checker accepts that

and its result is one of

    right       ONNX's tolerance (relative 1e-3, absolute 1e-7), integers exact, NaN where NaN is due
    wrong       anything else that is written
    refused     exit code 3, with the reason and what to do about it
    error       exit code 3 without a line of help, any other exit code, a signal, or no end within a minute

Right tests are listed beside this script, in node_tests.txt. --check fails when one of them is no longer right,
or when any test is wrong or an error; it leaves ONNX Runtime out, with which the tables compare otherwise.
--bless writes the list. --light also runs the networks of ONNX's light_*.onnx whose operators Cardinal knows,
with random weights in place of their constants, against ONNX Runtime.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile
import warnings

import common

PACKAGES = ['numpy', 'onnx', 'onnxruntime']
LIST = os.path.join(common.HERE, 'scripts', 'node_tests.txt')
NEWEST = 28
SECONDS = 60
# Inputs of other types are not written to a file: models that take them are refused before that matters.
READABLE = ['f4', 'f8', 'i8', 'i4', 'u1', 'i1', 'b1']
FORMS = ['as it is', 'constant']
RESULTS = ['right', 'wrong', 'refused', 'error']


# ---- the tests ----------------------------------------------------------------------------------

Case = collections.namedtuple('Case', 'name operator form model inputs outputs rtol atol')
Done = collections.namedtuple('Done', 'name operator form result said peer')


def load_cases():
    """Every test in every form that it has."""
    import numpy as np
    from onnx.backend.test.loader import load_model_tests
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        np.random.seed(0)
        tests = load_model_tests(kind='node')
    operators = {}
    for test in tests:
        nodes = test.model.graph.node
        operators[test.name] = operators.get(plain(test.name)) or nodes[0].op_type
        inputs, outputs = test.data_sets[0]
        case = Case(test.name, operators[test.name], FORMS[0], test.model, named(test.model.graph.input, inputs),
                    named(test.model.graph.output, outputs), test.rtol, test.atol)
        yield case
        other = with_constants(case)
        if other is not None:
            yield other


def plain(name):
    """The test that a test of an operator's definition belongs to."""
    return re.sub(r'_expanded(_ver\d+)?$', '', name)


def named(declared, values):
    return {info.name: as_array(value) for info, value in zip(declared, values)}


def as_array(value):
    """Scalars of NumPy and stored tensors as arrays; sequences and what is absent as they are."""
    import numpy as np
    import onnx
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return value if value is None or isinstance(value, list) else np.asarray(value)


def with_constants(case):
    """The test with constants for most inputs; None if ONNX has no such model."""
    import onnx
    graph = case.model.graph
    if not all(info.type.HasField('tensor_type') for info in [*graph.input, *graph.output]):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    state_known_version(model)
    open_inputs = []
    for info in graph.input:
        if case.inputs[info.name].dtype == 'float32' and case.inputs[info.name].size:
            open_inputs.append(info)
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(case.inputs[info.name], info.name))
    del model.graph.input[:]
    model.graph.input.extend(open_inputs)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return None
    inputs = {info.name: case.inputs[info.name] for info in open_inputs}
    return case._replace(form=FORMS[1], model=model, inputs=inputs)


def state_known_version(model):
    for opset in model.opset_import:
        if opset.domain in ('', 'ai.onnx') and opset.version > NEWEST:
            opset.version = NEWEST
            model.ir_version = min(model.ir_version, 11)


# ---- the engines --------------------------------------------------------------------------------

def run_cardinal(binary, case):
    """The result, and what there is to say about it."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        with open(at('model.onnx'), 'wb') as file:
            file.write(case.model.SerializeToString())
        command = [binary, 'run', at('model.onnx'), '--output', at('y.npz'), '--threads', '1']
        for index, (name, value) in enumerate(case.inputs.items()):
            if isinstance(value, np.ndarray) and value.dtype.str[1:] in READABLE:
                np.save(at(f'{index}.npy'), value)
                command += ['--input', f'{name}={at(f"{index}.npy")}']
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return 'error', f'no end within {SECONDS} s'
        if done.returncode:
            said = done.stderr.strip().replace(folder + os.sep, '')
            helps = done.returncode == 3 and 'help: ' in said
            return ('refused', said) if helps else ('error', f'exit {done.returncode}: {said}')
        return judge(case, dict(np.load(at('y.npz'))))


def run_onnxruntime(case):
    try:
        session = common.onnxruntime_session(case.model.SerializeToString())
        found = dict(zip(case.outputs, session.run(list(case.outputs), case.inputs)))
        return judge(case, found)
    except Exception as error:  # onnxruntime has no common type for them
        return 'refused', str(error)


def judge(case, found):
    for name, wanted in case.outputs.items():
        if name not in found:
            return 'wrong', f'there is no output `{name}`'
        what = difference(found[name], wanted, case.rtol, case.atol)
        if what:
            return 'wrong', f'{name}: {what}'
    return 'right', ''


def difference(found, wanted, rtol, atol):
    """What is wrong with a result; nothing if it is right."""
    import numpy as np
    try:
        np.testing.assert_equal(type(found), type(wanted))
        if isinstance(wanted, list):
            pairs = zip(found, wanted, strict=True)
            return next(filter(None, (difference(f, w, rtol, atol) for f, w in pairs)), '')
        if wanted is None:
            return ''
        np.testing.assert_equal((found.shape, found.dtype), (wanted.shape, wanted.dtype))
        if wanted.dtype.kind in 'biuOSUT':
            np.testing.assert_array_equal(found, wanted)
        else:
            found, wanted = found.astype(np.complex128), wanted.astype(np.complex128)
            np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)
    except (AssertionError, ValueError) as error:
        return ' '.join(str(error).split())
    return ''


# ---- networks -----------------------------------------------------------------------------------

def light_cases():
    """The light_*.onnx of ONNX as tests, with random weights, inputs, and what ONNX Runtime makes of them."""
    import glob
    import numpy as np
    import onnx
    import onnx.backend.test
    folder = os.path.join(os.path.dirname(onnx.backend.test.__file__), 'data', 'light')
    for path in sorted(glob.glob(os.path.join(folder, '*.onnx'))):
        random = np.random.default_rng(0)
        model = onnx.load(path)
        model.ir_version = 8  # From 4 on, initializers need not be inputs.
        fill_weights(model.graph, random)
        inputs = {info.name: random.standard_normal(shape_of(info)).astype(np.float32) for info in model.graph.input}
        session = common.onnxruntime_session(model.SerializeToString())
        outputs = dict(zip([info.name for info in model.graph.output], session.run(None, inputs)))
        atol = 1e-4 * max(float(np.abs(value).max()) for value in outputs.values())
        yield Case(os.path.basename(path), '', 'light', model, inputs, outputs, 0, atol)


def fill_weights(graph, random):
    """Makes random initializers of what holds one number throughout, such that values neither grow nor vanish."""
    import onnx
    known = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    fills = {node.output[0]: node for node in graph.node if node.op_type == 'ConstantOfShape'}
    uses = {name: node.op_type for node in graph.node for name in node.input}
    shapes = {name: known.pop(node.input[0]) for name, node in fills.items()}
    shapes.update({name: value.shape for name, value in known.items() if value.dtype == 'float32'})
    known.update({name: weight(random, tuple(shape), uses[name]) for name, shape in shapes.items() if name in uses})
    nodes = [node for node in graph.node if node.op_type != 'ConstantOfShape']
    inputs = [info for info in graph.input if uses.get(info.name, 'ConstantOfShape') != 'ConstantOfShape'
              and info.name not in known]
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in known.items()]
    for field, values in (('initializer', initializers), ('input', inputs), ('node', nodes)):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(values)


def weight(random, shape, operator):
    """Weights of so many outputs and inputs that results are about as large as what they are made of."""
    import numpy as np
    if operator == 'BatchNormalization' or len(shape) < 2:
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    spread = np.sqrt(2 / np.prod(shape[1:]))
    return (random.standard_normal(shape) * spread).astype(np.float32)


def shape_of(info):
    return [max(d.dim_value, 1) for d in info.type.tensor_type.shape.dim]


# ---- what comes of it ---------------------------------------------------------------------------

def run(options, case):
    """The name, operator and form of a case, the result of Cardinal, what it says, and ONNX Runtime's result."""
    result, said = run_cardinal(options.cardinal, case)
    peer = None if options.check or case.form == 'light' else run_onnxruntime(case)[0]
    return Done(case.name, case.operator, case.form, result, said, peer)


def print_table(done):
    """A row for each operator: what came of its tests in each form, and how many ONNX Runtime has right."""
    counts = collections.Counter()
    for row in done:
        counts[row.operator, row.form, row.result] += 1
        counts[row.operator, row.form, 'peer'] += row.peer == 'right'
    columns = [(form, result) for form in FORMS for result in [*RESULTS, 'peer']]
    print(' ' * 36 + ''.join(f'{form:^45s}' for form in FORMS))
    print(f'{"operator":36s}' + ''.join(f'{result:>9s}' for _, result in columns).replace('peer', ' ORT'))
    for operator in sorted({row.operator for row in done}):
        print(f'{operator:36s}' + ''.join(f'{counts[(operator, *column)] or "·":>9}' for column in columns))


def read_list():
    """The (test, form) that were right."""
    if not os.path.exists(LIST):
        return set()
    rows = [line.rstrip().split(maxsplit=1) for line in open(LIST) if line.strip() and not line.startswith('#')]
    return {(name, form) for name, forms in rows for form in forms.split(', ')}


def write_list(right):
    with open(LIST, 'w') as file:
        file.write('# The tests of ONNX that are right, and in which form. Written by node_tests.py --bless.\n')
        for name in sorted({name for name, _ in right}):
            forms = [form for form in FORMS if (name, form) in right]
            file.write(f'{name} {", ".join(forms)}\n')


def report(title, done):
    """Prints a figure; how many are wrong or errors."""
    counts = collections.Counter(row.result for row in done)
    peers = sum(row.peer == 'right' for row in done)
    beside = f'; ONNX Runtime {peers} right' if peers else ''
    print(f'trust: {title} | {counts["right"]} right, {counts["wrong"]} wrong, {counts["error"]} errors, '
          f'{counts["refused"]} refused{beside}')
    return counts['wrong'] + counts['error']


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default='target/release/cardinal')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--bless', action='store_true')
    parser.add_argument('--light', action='store_true')
    parser.add_argument('--only', action='append', default=[], help='tests whose name has this in it')
    parser.add_argument('--say', action='append', default=[], metavar='RESULT',
                        help='also print what is said of tests with this result, such as refused')
    return parser.parse_args()


def main():
    options = parse_arguments()
    common.enter(*PACKAGES)
    cases = [case for case in load_cases() if not options.only or any(part in case.name for part in options.only)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda case: run(options, case), cases))
    # One after the other, as their weights take up to half a gigabyte.
    networks = [run(options, case) for case in light_cases()] if options.light else []
    for row in done + networks:
        if row.result in ['wrong', 'error', *options.say]:
            print(f'{row.result} {row.name} ({row.form}): {row.said}')
    if not options.check:
        print_table(done)
    right = {(row.name, row.form) for row in done if row.result == 'right'}
    lost = read_list() & {(row.name, row.form) for row in done} - right
    for name, form in sorted(lost):
        print(f'lost {name} ({form})')
    if options.bless:
        write_list(right)
    bad = len(lost)
    for form, words in zip(FORMS, ['as they are', 'with constants']):
        bad += report(f'ONNX node tests {words}', [row for row in done if row.form == form])
    if options.light:
        bad += report('ONNX light networks', networks)
    sys.exit(1 if bad and options.check else 0)


if __name__ == '__main__':
    main()
