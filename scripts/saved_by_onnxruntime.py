#!/usr/bin/env python3
"""Saves models of timm with ONNX Runtime's optimizer, and runs what it saved with Cardinal and with ONNX Runtime.

    scripts/saved_by_onnxruntime.py [target/release/cardinal] [--only SUBSTRING]...

PyTorch, timm, ONNX and ONNX Runtime are installed with pip on first use (scripts/common.py). Each model, with random
weights, is exported by both exporters of PyTorch and saved at the levels *basic* and *extended*; the latter joins
operators to those of the domain com.microsoft, which are listed. Then each of these operators alone, on random operands
and in all its forms. A row is the largest difference of outputs relative to their largest magnitude, and more than 1e-5 is
a failure; of models, more than 1e-4.
"""
import argparse
import collections
import os
import sys
import tempfile

import common
from exporting import EXPORTERS, apart, cardinal, export

PACKAGES = ['numpy', 'onnx', 'onnxruntime', 'onnxscript', 'timm', 'torch', 'torchvision']
MODELS = ['resnest14d', 'efficientnet_b0', 'mobilenetv3_small_100', 'seresnext26d_32x4d', 'regnety_002', 'darknet53',
          'convnext_atto', 'mixer_s32_224', 'vit_tiny_patch16_224', 'swin_tiny_patch4_window7_224']
LEVELS = {'basic': 'ORT_ENABLE_BASIC', 'extended': 'ORT_ENABLE_EXTENDED'}
SEED, OF_MODELS, OF_OPERATORS = 2026, 1e-4, 1e-5
DOMAIN = 'com.microsoft'


# ---- models -------------------------------------------------------------------------------------

def saved(name, folder):
    """Name, path and inputs of what ONNX Runtime saves of a model; in place of the path what PyTorch said."""
    import timm
    import torch
    torch.manual_seed(SEED)
    model = timm.create_model(name, pretrained=False).eval()
    for parameter in model.parameters():
        # Some begin with zeros, in which what is before them would be lost.
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(1, *model.default_cfg['input_size'])
    for exporter, settings in EXPORTERS.items():
        exported = os.path.join(folder, f'{name}.{exporter}.onnx')
        said = export(model, x, exported, settings)
        for level in LEVELS:
            path = os.path.join(folder, f'{name}.{exporter}.{level}.onnx')
            if said is None:
                save(exported, path, level)
            yield f'{name} {exporter} {level}', said or path, [x.numpy()]


def save(model, path, level):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, path
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
    onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def joined(path):
    """The operators of ONNX Runtime's domain in a file, with how many there are of each."""
    import onnx
    nodes = onnx.load(path, load_external_data=False).graph.node
    return collections.Counter(node.op_type for node in nodes if node.domain == DOMAIN)


# ---- operators ----------------------------------------------------------------------------------

def operators():
    """Name, attributes, operands and number of results of nodes; None is an operand that is not given."""
    import numpy as np
    random = np.random.default_rng(SEED)

    def of(*shape):
        return random.standard_normal(shape).astype(np.float32)

    image, weights, bias, more = of(2, 8, 9, 9), of(8, 4, 3, 3) / 6, of(8), of(2, 8, 9, 9)
    around = {'pads': [1, 1, 1, 1], 'group': 2}
    functions = {'Relu': None, 'Sigmoid': None, 'Tanh': None, 'LeakyRelu': [0.3], 'HardSigmoid': [0.3, 0.4],
                 'Clip': [-0.5, 0.75]}
    for name, given in functions.items():
        attributes = around | {'activation': name} | ({'activation_params': given} if given else {})
        for operands in ([image, weights], [image, weights, bias], [image, weights, bias, more],
                         [image, weights, None, more]):
            yield 'FusedConv', attributes, operands, 1
    yield 'FusedConv', {'activation': 'Relu'}, [of(1, 3, 11), of(5, 3, 3), of(5)], 1
    for name, given in {'Relu': {}, 'Sigmoid': {}, 'Tanh': {}, 'LeakyRelu': {'activation_alpha': 0.3}}.items():
        attributes = {'activation': name, 'transB': 1} | given
        yield 'FusedGemm', attributes, [of(4, 7), of(5, 7), of(5)], 1
        yield 'FusedGemm', attributes | {'alpha': 0.5, 'beta': 2.0}, [of(4, 7), of(5, 7), of(4, 5)], 1
    matrices = {'transA': [(3, 2, 5, 4), (3, 2, 5, 6)], 'transB': [(3, 2, 4, 5), (3, 2, 6, 5)],
                'transBatchA': [(4, 3, 2, 5), (3, 2, 5, 6)], 'transBatchB': [(3, 2, 4, 5), (5, 3, 2, 6)]}
    for flag, (a, b) in matrices.items():
        yield 'FusedMatMul', {flag: 1, 'alpha': 0.25}, [of(*a), of(*b)], 1
    yield 'FusedMatMul', {'transBatchA': 1, 'transA': 1}, [of(5, 3, 2, 4), of(3, 2, 5, 6)], 1
    yield 'FusedMatMul', {'transBatchB': 1, 'transB': 1}, [of(3, 2, 4, 5), of(6, 3, 2, 5)], 1
    yield 'FusedMatMul', {'transA': 1}, [of(5), of(5, 6)], 1
    yield 'FusedMatMul', {'transB': 1}, [of(4, 5), of(5)], 1
    yield 'TransposeMatMul', {'transA': 1, 'transB': 1, 'alpha': 2.0}, [of(2, 5, 4), of(2, 6, 5)], 1
    x, last = of(3, 5, 16) * 3, of(16)
    for name, attributes, operands in [('Gelu', {}, [x]), ('BiasGelu', {}, [x, last]), ('FastGelu', {}, [x]),
                                       ('FastGelu', {}, [x, last]), ('QuickGelu', {}, [x]),
                                       ('QuickGelu', {'alpha': 1.0}, [x]), ('QuickGelu', {'alpha': -0.5}, [x])]:
        yield name, attributes, operands, 1
    skip, scale, shift = of(3, 5, 16), of(16), of(16)
    for operands in ([x, skip, scale], [x, skip, scale, shift], [x, skip, scale, shift, last],
                     [x, skip[:1], scale, shift], [x, skip[0], scale, shift]):
        yield 'SkipLayerNormalization', {'epsilon': 1e-3}, operands, 1
    for operands in ([x, skip, scale], [x, skip, scale, last]):
        yield 'SkipSimplifiedLayerNormalization', {'epsilon': 1e-3}, operands, 1
        yield 'SkipSimplifiedLayerNormalization', {'epsilon': 1e-3}, operands, 4
    yield 'SkipLayerNormalization', {'epsilon': 1e-3}, [x, skip, scale, shift, last], 4
    yield 'LayerNormalization', {'axis': -2}, [x, of(5, 16), of(5, 16)], 1
    yield 'SimplifiedLayerNormalization', {'axis': -1, 'epsilon': 1e-3, 'stash_type': 1}, [x, scale], 1


def node(name, attributes, operands, results, path):
    """Writes a model of a node, of operator set 13, whose first operand is an input; its last result is the output."""
    import onnx
    from onnx import helper, numpy_helper
    names = [f'x{i}' if operand is not None else '' for i, operand in enumerate(operands)]
    outputs = ['y'] if results == 1 else ['x', *[''] * (results - 2), 'y']
    domain = '' if name in ('LayerNormalization', 'SimplifiedLayerNormalization') else DOMAIN
    made = helper.make_node(name, names, outputs, domain=domain, **attributes)
    first = helper.make_tensor_value_info('x0', onnx.TensorProto.FLOAT, operands[0].shape)
    constants = [numpy_helper.from_array(operand, name) for name, operand in zip(names[1:], operands[1:]) if name]
    graph = helper.make_graph([made], 'node', [first],
                              [helper.make_empty_tensor_value_info('y')], constants)
    sets = [helper.make_opsetid('', 13), helper.make_opsetid(DOMAIN, 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)


def alone(folder):
    for index, (name, attributes, operands, results) in enumerate(operators()):
        path = os.path.join(folder, f'{index}.onnx')
        node(name, attributes, operands, results, path)
        forms = ' '.join(f'{key}={value}' for key, value in attributes.items() if key != 'pads')
        yield f'{name} of {sum(o is not None for o in operands)} {forms}', path, operands[:1]


# ---- rows ---------------------------------------------------------------------------------------

def difference(binary, path, x):
    """How far Cardinal's output is from what ONNX Runtime computes as it is written, or what Cardinal said."""
    session = common.onnxruntime_session(path, literal=True)
    truth = session.run(None, {session.get_inputs()[0].name: x})[0]
    y = cardinal(binary, path, x)
    return y if isinstance(y, str) else apart(y, truth.astype('float64'))


def check(binary, rows, limit):
    """Prints rows; how many are wrong."""
    wrong = 0
    for name, path, operands in rows:
        if path.startswith('torch: '):
            print(f'{name:70} {path}', flush=True)
            continue
        found = difference(binary, path, operands[0])
        is_wrong = isinstance(found, str) or found > limit
        wrong += is_wrong
        shown = found if isinstance(found, str) else f'{found:.1e}'
        print(f'{name:70} {shown}', 'WRONG' if is_wrong else '',
              *(f'{what} {count}' for what, count in sorted(joined(path).items())), flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--only', action='append', default=[])
    options = parser.parse_args()
    common.enter(*PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        chosen = [name for name in MODELS if not options.only or any(part in name for part in options.only)]
        wrong = sum(check(options.cardinal, saved(name, folder), OF_MODELS) for name in chosen)
        rows = [row for row in alone(folder) if not options.only or any(part in row[0] for part in options.only)]
        wrong += check(options.cardinal, rows, OF_OPERATORS)
    print(f'{wrong} wrong')
    sys.exit(1 if wrong or not (chosen or rows) else 0)


if __name__ == '__main__':
    main()
