#!/usr/bin/env python3
"""Compares Cardinal with ONNX Runtime where numbers end, for every operator that computes element by element or along
an axis, on every element type.

    scripts/edges.py [target/release/cardinal] [--check] [--only OPERATOR]...

Operands are every pair of NaN, infinities, zeros of both signs, denormals, the least and the largest numbers of a type
and some between, and values without elements. Each operator computes them when the model runs and, from constants,
when it is compiled. Where ONNX Runtime has no kernel for a type, ONNX's reference is asked. ODDS lists where these
peers are at odds with ONNX's text or with docs/src/numbers.md, and what is right there.

A row of compiler/src/onnx/registry.rs that has neither edges here nor a place in ELSEWHERE is reported, and --check
fails for it, as it does for anything wrong. Packages are those of scripts/node_tests.py.
"""
import argparse
import collections
import concurrent.futures
import itertools
import os
import re
import subprocess
import sys
import tempfile
import warnings

import common
import node_tests

OPSET = 21
REGISTRY = os.path.join(common.HERE, 'compiler', 'src', 'onnx', 'registry.rs')
TYPES = ['float32', 'int64', 'int32', 'uint8', 'int8', 'bool']
FORMS = ['running', 'folded', 'empty and running', 'empty and folded']

# Operators and the attributes with which they are tried.
OF_ONE = {
    'Abs': [{}], 'Acos': [{}], 'Acosh': [{}], 'Asin': [{}], 'Asinh': [{}], 'Atan': [{}], 'Atanh': [{}],
    'BitwiseNot': [{}], 'Celu': [{}, {'alpha': 2.0}], 'Cos': [{}], 'Cosh': [{}], 'Elu': [{}, {'alpha': 2.0}], 'IsInf': [{}, {'detect_negative': 0}],
    'IsNaN': [{}], 'Mish': [{}], 'Selu': [{}], 'Shrink': [{}, {'bias': 1.0, 'lambd': 2.0}], 'Sign': [{}], 'Sin': [{}],
    'Sinh': [{}], 'Softplus': [{}], 'Softsign': [{}], 'Tan': [{}], 'ThresholdedRelu': [{}, {'alpha': 2.0}],
    'Cast': [{'to': to} for to in TYPES], 'Ceil': [{}], 'Clip': [{}], 'Erf': [{}], 'Exp': [{}],
    'Floor': [{}], 'Gelu': [{}, {'approximate': 'tanh'}], 'HardSigmoid': [{}, {'alpha': 0.5, 'beta': -1.0}],
    'HardSwish': [{}], 'Identity': [{}], 'LeakyRelu': [{}, {'alpha': -2.0}], 'Log': [{}], 'Neg': [{}], 'Not': [{}],
    'Reciprocal': [{}], 'Relu': [{}], 'Round': [{}], 'Sigmoid': [{}], 'Sqrt': [{}], 'Tanh': [{}],
}
OF_TWO = {
    'Add': [{}], 'And': [{}], 'BitShift': [{'direction': 'LEFT'}, {'direction': 'RIGHT'}], 'BitwiseAnd': [{}],
    'BitwiseOr': [{}], 'BitwiseXor': [{}], 'Div': [{}], 'Equal': [{}], 'Greater': [{}], 'GreaterOrEqual': [{}], 'Less': [{}],
    'LessOrEqual': [{}], 'Max': [{}], 'Mean': [{}], 'Min': [{}], 'Mod': [{}, {'fmod': 1}], 'Mul': [{}], 'Or': [{}], 'Pow': [{}], 'PRelu': [{}],
    'Sub': [{}], 'Sum': [{}], 'Xor': [{}],
}
# Along the last axis, which has the elements of a pair.
OF_LINES = {
    'ArgMax': [{'axis': -1, 'keepdims': 0}, {'axis': -1, 'select_last_index': 1}],
    'ArgMin': [{'axis': -1, 'keepdims': 0}, {'axis': -1, 'select_last_index': 1}], 'AveragePool': [{'kernel_shape': [2]}],
    'GlobalAveragePool': [{}], 'GlobalMaxPool': [{}], 'Hardmax': [{}], 'LogSoftmax': [{}], 'MaxPool': [{'kernel_shape': [2]}],
    'ReduceL1': [{'keepdims': 0}], 'ReduceL2': [{'keepdims': 0}], 'ReduceLogSum': [{'keepdims': 0}],
    'ReduceLogSumExp': [{'keepdims': 0}], 'ReduceProd': [{'keepdims': 0}], 'ReduceSumSquare': [{'keepdims': 0}],
    'ReduceMax': [{'keepdims': 0}], 'ReduceMean': [{'keepdims': 0}], 'ReduceMin': [{'keepdims': 0}],
    'ReduceSum': [{'keepdims': 0}], 'Softmax': [{}],
}
# What moves elements, makes them of shapes, is a sum of products, quantized (scripts/quantized.py), read at positions
# (scripts/sampled.py), or joined of others (scripts/saved_by_onnxruntime.py).
ELSEWHERE = set('''AffineGrid Attention BlackmanWindow CausalConvWithState CenterCropPad Col2Im Compress ConvTranspose
    CumProd CumSum DeformConv DepthToSpace Einsum EyeLike GRU GatherElements GatherND GlobalLpPool GridSample GroupNormalization
    HammingWindow HannWindow InstanceNormalization LRN LSTM LayerNormalization LinearAttention LpNormalization LpPool
    MaxUnpool MeanVarianceNormalization NegativeLogLikelihoodLoss OneHot RMSNormalization RNN ReverseSequence RoiAlign RotaryEmbedding
    Scatter ScatterElements ScatterND SoftmaxCrossEntropyLoss SpaceToDepth SwiGLU Swish TensorScatter Tile TopK Trilu
    BatchNormalization CastLike Concat Constant ConstantOfShape Conv ConvInteger DequantizeLinear Dropout
    DynamicQuantizeLinear Expand Flatten Gather Gemm MatMul MatMulInteger Pad QGemm QLinearAdd QLinearAveragePool
    QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMatMul QLinearMul QLinearReduceMean
    QLinearSigmoid QLinearSoftmax QuantizeLinear Range Reshape Resize SequenceAt Shape Size Slice Split SplitToSequence Squeeze Transpose Unsqueeze
    Upsample Where BiasGelu FastGelu FusedConv FusedGemm FusedMatMul QuickGelu SimplifiedLayerNormalization SkipLayerNormalization
    SkipSimplifiedLayerNormalization TransposeMatMul'''.split())

Case = collections.namedtuple('Case', 'operator attributes dtype form operands')


# ---- cases --------------------------------------------------------------------------------------

def edges(dtype):
    """Numbers of a type where something changes, and some between."""
    import numpy as np
    if dtype == 'bool':
        return np.array([False, True])
    if dtype == 'float32':
        info = np.finfo(dtype)
        sizes = [0, info.smallest_subnormal, info.tiny / 2, info.tiny, 1e-19, 0.5, 1, 1.5, 2.5, 3, 6, 88, 90, 1e19, 2.0 ** 31,
                 2.0 ** 63, info.max, np.inf]
        return np.array([sign * np.float32(size) for size in sizes for sign in (1, -1)] + [np.nan], np.float32)
    info = np.iinfo(dtype)
    numbers = {*range(-5, 6), 31, 63, 64, 77, info.min, info.min + 1, info.max - 1, info.max}
    return np.array(sorted(n for n in numbers if info.min <= n <= info.max), dtype)


def all_cases():
    for operators, operands in ((OF_ONE, one), (OF_TWO, two), (OF_LINES, lines)):
        for operator, variants in operators.items():
            for attributes, dtype in itertools.product(variants, types_of(operator)):
                values = operands(edges(dtype), operator)
                for form in FORMS:
                    yield Case(operator, attributes, dtype, form, values)


def types_of(operator):
    import onnx
    allowed = onnx.defs.get_schema(operator, OPSET).inputs[0].types
    names = {'float32': 'float'}
    return [dtype for dtype in TYPES if f'tensor({names.get(dtype, dtype)})' in allowed]


def one(values, operator):
    if operator != 'Clip':
        return [values]
    return [values, *as_type([-0.5, 2] if values.dtype == 'float32' else sorted(values)[2:4], values)]


def two(values, _operator):
    pairs = list(itertools.product(values, values))
    return [as_type([a for a, _ in pairs], values), as_type([b for _, b in pairs], values)]


def as_type(numbers, values):
    import numpy as np
    return np.array(numbers, values.dtype)


def lines(values, operator):
    pairs = as_type(list(itertools.product(values, values)), values)
    pooled = operator.endswith('Pool')
    return [pairs.reshape(1, -1, 2) if pooled else pairs]


def model_of(case):
    """A node on inputs or constants; what has no elements is cut out of them."""
    import numpy as np
    from onnx import helper, numpy_helper
    names = [f'x{index}' for index in range(len(case.operands))]
    constants = [numpy_helper.from_array(value, name) for name, value in zip(names, case.operands)
                 if 'folded' in case.form or value.ndim == 0]
    known = {constant.name for constant in constants}
    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
              for name, value in zip(names, case.operands) if name not in known]
    nodes = []
    if 'empty' in case.form:
        constants += [numpy_helper.from_array(np.array([n]), name) for name, n in (('zero', 0), ('last', -1))]
        cut = [name for name, value in zip(names, case.operands) if value.ndim]
        nodes = [helper.make_node('Slice', [name, 'zero', 'zero', 'last'], [f'{name}_cut']) for name in cut]
        names = [f'{name}_cut' if name in cut else name for name in names]
    if case.operator.startswith('Reduce'):
        constants.append(numpy_helper.from_array(np.array([-1]), 'axes'))
        names.append('axes')
    nodes.append(helper.make_node(case.operator, names, ['y'], **attributes_of(case)))
    graph = helper.make_graph(nodes, 'edges', inputs, [helper.make_empty_tensor_value_info('y')], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=10)


def attributes_of(case):
    """The attributes of the node, with the number of a type for its name."""
    from onnx import helper
    import numpy as np
    as_number = lambda value: helper.np_dtype_to_tensor_dtype(np.dtype(value))
    return {key: as_number(value) if key == 'to' else value for key, value in case.attributes.items()}


# ---- engines ------------------------------------------------------------------------------------

def run_cardinal(binary, case, model):
    """Its result, or what it says with which exit code."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        at = lambda name: os.path.join(folder, name)
        with open(at('model.onnx'), 'wb') as file:
            file.write(model.SerializeToString())
        command = [binary, 'run', at('model.onnx'), '--output', at('y.npy'), '--threads', '1']
        for info in model.graph.input:
            np.save(at(f'{info.name}.npy'), case.operands[int(info.name[1:])])
            command += ['--input', f'{info.name}={at(info.name)}.npy']
        done = subprocess.run(command, capture_output=True, text=True, timeout=node_tests.SECONDS)
        return done.returncode, np.load(at('y.npy')) if done.returncode == 0 else done.stderr.strip()


def run_peers(case, model, operands):
    """ONNX Runtime's result, or that of ONNX's reference where it has no kernel; None if neither has one."""
    from onnx.reference import ReferenceEvaluator
    given = {info.name: operands[int(info.name[1:])] for info in model.graph.input}
    try:
        # What it folds, it folds with the same kernels; but where a fold fails, it would run no kernel at all.
        session = common.onnxruntime_session(model.SerializeToString(), literal=True)
        return session.run(None, given)[0]
    except Exception:  # onnxruntime has no common type for them
        try:
            return ReferenceEvaluator(model).run(None, given)[0]
        except Exception:
            return None


# ---- what is right ------------------------------------------------------------------------------

MOST = 3.4028234663852886e38  # The largest f32.

# Each of these says, by operands, where peers are not right, and what is right there.

def nearest(case, x):
    """ONNX leaves casts of what the type does not have undefined: it is the nearest, and 0 of NaN."""
    import numpy as np
    to = case.attributes['to']
    if x.dtype != 'float32' or to in ('float32', 'bool'):
        return np.False_, 0
    info = np.iinfo(to)
    whole = [0 if np.isnan(v) else info.max if v == np.inf else info.min if v == -np.inf else int(v) for v in x]
    wanted = [min(max(n, info.min), info.max) for n in whole]
    return np.array(wanted, object) != np.where(np.isfinite(x), x, np.nan).astype(object), np.array(wanted, to)


def quotients(_case, a, b):
    """Integers by 0, and the least by -1, end ONNX Runtime's process: 0, and the least."""
    import numpy as np
    return (traps(a, b), np.where(b == 0, 0, a)) if a.dtype.kind in 'iu' else (np.False_, 0)


def shifts(_case, a, b):
    """By as many bits as there are, ONNX leaves them undefined before operator set 28: all are shifted out."""
    return b >= 8 * b.dtype.itemsize, 0


def powers(_case, a, b):
    """ONNX Runtime goes through f64: integers wrap as products do, and quotients of 1 are truncated."""
    import numpy as np
    if a.dtype.kind not in 'iu':
        return np.False_, 0
    exact = [int(x) ** (int(y) % 2) if abs(int(x)) == 1 else pow(int(x), int(y), 2 ** 64) if y >= 0 else 0
             for x, y in zip(a, b)]
    return np.True_, wrapped(exact, a.dtype)


def wrapped(numbers, dtype):
    """What is left of integers in the bits of a type."""
    import numpy as np
    return np.array([n % 2 ** 64 for n in numbers], np.uint64).astype(dtype)


def first_nan(case, x):
    """ONNX Runtime compares with NaN: to ONNX's reference NaN comes first, and one is like another."""
    import numpy as np
    last = case.attributes.get('select_last_index', 0)
    nan = np.isnan(x.astype(np.float64))
    return nan.any(-1), nan[..., 1] if last else ~nan[..., 0]


def hard(_case, x):
    """As the place of the largest."""
    import numpy as np
    nan = np.isnan(x.astype(np.float64))
    first = np.where(nan.any(-1), ~nan[..., 0], x[..., 1] > x[..., 0])
    return np.True_, np.stack([~first, first], -1)


def wrapping(case, x):
    """ONNX Runtime goes through f64 and keeps to the ends of a type: integers wrap."""
    import numpy as np
    if x.dtype.kind not in 'iu':
        return np.False_, 0
    of = {'ReduceL1': lambda a, b: size(a) + size(b), 'ReduceProd': lambda a, b: a * b,
          'ReduceSumSquare': lambda a, b: a * a + b * b}[case.operator]
    least = np.iinfo(x.dtype).min
    size = lambda n: n if n == least else abs(n)
    return np.True_, wrapped([of(int(a), int(b)) for a, b in x], x.dtype)


def logarithms(_case, x):
    """ONNX Runtime's powers may overflow or vanish, where the largest could be taken out of them."""
    import numpy as np
    with np.errstate(all='ignore'):
        return np.True_, np.logaddexp(x[..., 0].astype(np.float64), x[..., 1].astype(np.float64))


def shrunk(case, x):
    """ONNX Runtime computes with integers as floats."""
    import numpy as np
    if x.dtype.kind not in 'iu':
        return np.False_, 0
    bias, lambd = int(case.attributes.get('bias', 0)), case.attributes.get('lambd', 0.5)
    exact = [int(n) + bias if n < -lambd else int(n) - bias if n > lambd else 0 for n in x]
    return np.True_, wrapped(exact, x.dtype)


def no_rests(_case, a, b):
    """Integers by 0 end ONNX Runtime's process: 0."""
    import numpy as np
    return (b == 0, 0) if a.dtype.kind in 'iu' else (np.False_, 0)


def extremes(case, x):
    """ONNX Runtime compares with NaN, takes minus infinity for the least number, and i64 for f64."""
    import numpy as np
    pick = np.min if case.operator == 'ReduceMin' else np.max
    return np.True_, pick(x, -1)


def sums(_case, x):
    """ONNX Runtime goes through f64 and keeps to the ends of a type: integers wrap."""
    import numpy as np
    if x.dtype.kind not in 'iu':
        return np.False_, 0
    return np.True_, wrapped([int(a) + int(b) for a, b in x], x.dtype)


def means(_case, x):
    """As sums, which are of 64 bits; quotients are truncated. Of floats, the sum may be beyond the largest."""
    import numpy as np
    if x.dtype.kind not in 'iu':
        mean = x.astype(np.float64).sum(-1) / 2
        return np.isfinite(mean), np.clip(mean, -MOST, MOST)
    total = wrapped([int(a) + int(b) for a, b in x], np.int64)
    return np.True_, [int(n) // 2 if n >= 0 else -(-int(n) // 2) for n in total]


MEANS = ['AveragePool', 'GlobalAveragePool', 'ReduceMean']
ODDS = {**dict.fromkeys(MEANS, means), 'BitShift': shifts, 'Cast': nearest, 'Div': quotients, 'Pow': powers, 'ArgMax': first_nan, 'ArgMin': first_nan, 'GlobalMaxPool': extremes,
        'MaxPool': extremes, 'ReduceMax': extremes, 'ReduceMin': extremes, 'ReduceSum': sums, 'Hardmax': hard, 'Mod': no_rests,
        **dict.fromkeys(['ReduceL1', 'ReduceProd', 'ReduceSumSquare'], wrapping), 'ReduceLogSumExp': logarithms, 'Shrink': shrunk}
# ONNX Runtime approximates these, by its own account to about so much.
APPROXIMATED = {'Celu', 'Elu', 'Erf', 'Exp', 'Gelu', 'Log', 'LogSoftmax', 'Mish', 'Pow', 'ReduceL2', 'ReduceLogSum',
                'ReduceLogSumExp', 'ReduceSumSquare', 'Selu', 'Sigmoid', 'Softmax', 'Softplus', 'Tanh'}


def expected(case):
    """Every result that is right: the peers' with denormals as they are, and with zeros for them."""
    form = case.form.replace('folded', 'running')
    model = model_of(case._replace(form=form))
    results = []
    for operands in (case.operands, [flushed(value) for value in case.operands]):
        result = run_peers(case, model, [harmless(case, operands, value) for value in operands])
        if result is not None:
            results.append(corrected(case, operands, result))
            # Both an infinite sum's half and the mean are right.
            results += [result] if case.operator in MEANS and case.dtype == 'float32' else []
    return results


def flushed(value):
    import numpy as np
    if value.dtype != 'float32':
        return value
    small = np.abs(value) < np.finfo(np.float32).tiny
    return np.where(small, np.copysign(np.float32(0), value), value)


def harmless(case, operands, value):
    """The operand without what ends ONNX Runtime's process: integers divided by 0, and the least of them by -1."""
    import numpy as np
    if case.operator not in ('Div', 'Mod') or value.dtype.kind not in 'iu' or value is not operands[1]:
        return value
    return np.where(traps(*operands), np.ones_like(value), value)


def traps(a, b):
    import numpy as np
    least = np.iinfo(a.dtype).min
    return (b == 0) | ((a == least) & (b == -1) if least else False)


def corrected(case, operands, result):
    """A peer's result, but what is right where ODDS say so."""
    import numpy as np
    if case.operator not in ODDS or 'empty' in case.form:
        return result
    where, wanted = ODDS[case.operator](case, *operands)
    fit = lambda values: np.reshape(values, result.shape) if np.ndim(values) else values
    return np.where(fit(where), fit(np.asarray(wanted, result.dtype)), result)


def agree(case, found, wanted):
    """Where two results agree: exactly, or within a rounding or two of floats, and with a zero for a denormal."""
    import numpy as np
    if wanted.dtype.kind != 'f':
        return found == wanted
    relative, absolute = (2e-5, 1e-7) if case.operator in APPROXIMATED else (2.5e-7, 1.2e-38)
    with np.errstate(all='ignore'):
        f, w = found.astype(np.float64), wanted.astype(np.float64)
        near = np.isfinite(w) & (np.abs(f - w) <= relative * np.abs(w) + absolute)
    return (f == w) | (np.isnan(f) & np.isnan(w)) | near


def judge(options, case):
    """The result for a case, and what is to be said of it."""
    import numpy as np
    code, found = run_cardinal(options.cardinal, case, model_of(case))
    if code:
        return ('refused' if code == 3 else 'error'), f'exit {code}: {found}'
    wanted = expected(case)
    if not wanted:
        return 'alone', ''
    if any((found.shape, found.dtype) != (w.shape, w.dtype) for w in wanted):
        return 'wrong', f'{found.dtype}{found.shape}, not {wanted[0].dtype}{wanted[0].shape}'
    bad = ~np.any([agree(case, found, w) for w in wanted], axis=0)
    if not bad.any():
        return 'right', ''
    return 'wrong', '; '.join(sample(case, found, wanted[0], place) for place in map(tuple, np.argwhere(bad)[:options.most]))


def sample(case, found, wanted, place):
    """An element that is wrong, with its operands."""
    import numpy as np
    operands = [value for value in case.operands]
    if case.operator in OF_LINES:
        pairs = operands[0].reshape(-1, 2)
        operands = pairs[np.ravel_multi_index(place, found.shape) * len(pairs) // found.size] if found.size else pairs
    else:
        operands = [value[place] if value.ndim else value for value in operands]
    return f'of {", ".join(map(str, operands))} it is {found[place]}, not {wanted[place]}'


def missing_rows():
    """Operators that nobody has thought of here."""
    rows = re.findall(r'\brow\("(\w+)"', open(REGISTRY).read())
    return sorted(set(rows) - set(OF_ONE) - set(OF_TWO) - set(OF_LINES) - ELSEWHERE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default='target/release/cardinal')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--only', action='append', default=[])
    parser.add_argument('--most', type=int, default=4, help='how many wrong elements of a case to print')
    options = parser.parse_args()
    common.enter(*node_tests.PACKAGES)
    cases = [case for case in all_cases() if not options.only or case.operator in options.only]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(pool.map(lambda case: judge(options, case), cases))
    for case, (result, said) in zip(cases, done):
        if result not in ('right', 'refused'):
            print(f'{result} {case.operator} {case.attributes or ""} of {case.dtype}, {case.form}: {said}')
    forgotten = missing_rows()
    for operator in forgotten:
        print(f'forgotten {operator}: it needs edges here, or a place in ELSEWHERE')
    counts = collections.Counter(result for result, _ in done)
    print(f'trust: edges against ONNX Runtime | {counts["right"]} right, {counts["wrong"]} wrong, '
          f'{counts["error"]} errors, {counts["refused"]} refused, {counts["alone"]} that no other has')
    sys.exit(1 if options.check and (counts['wrong'] or counts['error'] or forgotten) else 0)


if __name__ == '__main__':
    main()
