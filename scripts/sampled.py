#!/usr/bin/env python3
"""Compares operators that read or write at positions which are known only when a model runs with ONNX Runtime's.

    scripts/sampled.py [target/release/cardinal] [--cases 40] [--check] [--times]

DeformConv, MaxUnpool and RoiAlign with random attributes, groups, windows and operands, of which some lie outside of
the image, from a fixed seed: a row is the largest difference relative to the largest magnitude, and more than 1e-5 is a
failure. Positions where a result jumps, at the border of RoiAlign's images, are kept clear of, as one engine's rounding
is on this side of them and the other's on that. --times measures one case of each as networks have them, in turns, the
least of ten. Packages are those of scripts/node_tests.py.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import common
import node_tests

LIMIT = 1e-5


def model(operator, opset, inputs, attributes, constants=()):
    """A node on inputs, of which some are constants, and the operands of the others."""
    from onnx import helper, numpy_helper
    known = [numpy_helper.from_array(value, name) for name, value in inputs.items() if name in constants]
    given = {name: value for name, value in inputs.items() if name not in constants and value is not None}
    infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
             for name, value in given.items()]
    names = ['' if value is None else name for name, value in inputs.items()]
    node = helper.make_node(operator, names, ['y'], **attributes)
    graph = helper.make_graph([node], operator, infos, [helper.make_empty_tensor_value_info('y')], known)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=10)
    return made, given


# ---- cases --------------------------------------------------------------------------------------

def deform_conv(random):
    import numpy as np
    groups, moved = int(random.choice([1, 2, 4])), int(random.choice([1, 2, 4]))
    shape = [int(random.integers(1, 3)), 4 * int(random.integers(1, 4)), *map(int, random.integers(5, 12, 2))]
    kernel, strides, dilations = random.integers(1, 4, 2), random.integers(1, 3, 2), random.integers(1, 3, 2)
    pads = random.integers(0, 3, 4)
    room = np.array(shape[2:]) + pads[:2] + pads[2:] - (kernel - 1) * dilations - 1
    if (room < 0).any():
        return deform_conv(random)
    out, made = room // strides + 1, groups * int(random.integers(1, 4))
    normal = lambda *extents: random.normal(size=extents).astype(np.float32)
    taps = moved * int(kernel.prod())
    offset = normal(shape[0], 2 * taps, *out) * 3
    inputs = {'x': normal(*shape), 'w': normal(made, shape[1] // groups, *kernel), 'offset': offset,
              'b': normal(made) if random.random() < 0.5 else None,
              'mask': normal(shape[0], taps, *out) if random.random() < 0.5 else None}
    attributes = {'group': groups, 'offset_group': moved, 'kernel_shape': kernel.tolist(), 'strides': strides.tolist(),
                  'dilations': dilations.tolist(), 'pads': pads.tolist()}
    constants = ['w'] if random.random() < 0.7 else []
    return model('DeformConv', 19, inputs, attributes, constants)


def max_unpool(random):
    import numpy as np
    dims = int(random.integers(1, 4))
    shape = [int(random.integers(1, 3)), int(random.integers(1, 4)), *map(int, random.integers(2, 6, dims))]
    kernel, strides = random.integers(2, 4, dims), random.integers(1, 3, dims)
    count = int(np.prod(shape[:2]) * np.prod((np.array(shape[2:]) - 1) * strides + kernel))
    inputs = {'x': random.normal(size=shape).astype(np.float32), 'places': random.integers(0, count, shape)}
    attributes = {'kernel_shape': kernel.tolist(), 'strides': strides.tolist()}
    return model('MaxUnpool', 11, inputs, attributes, ['places'] if random.random() < 0.3 else [])


def roi_align(random):
    import numpy as np
    shape = [int(random.integers(1, 4)), int(random.integers(1, 9)), *map(int, random.integers(4, 15, 2))]
    count, scale = int(random.integers(1, 7)), float(random.choice([1, 0.5, 0.25]))
    extent = np.array([shape[3], shape[2]]) / scale
    # Of numbers that f32 has, and so far inside that no point is at the border.
    first = np.round(random.uniform(0, 0.6, (count, 2)) * extent, 2)
    last = np.round(first + random.uniform(0, 0.39, (count, 2)) * extent + 0.5, 2)
    outside = random.random(count) < 0.2
    rois = np.concatenate([first, last], 1) + np.where(outside, 5 * extent.max(), 0)[:, None]
    opset, ratio = int(random.choice([10, 16])), int(random.integers(0, 4))
    attributes = {'output_height': int(random.integers(1, 5)), 'output_width': int(random.integers(1, 5)),
                  'sampling_ratio': ratio, 'spatial_scale': scale, 'mode': str(random.choice(['avg', 'max']))}
    if opset == 16 and random.random() < 0.5:
        attributes['coordinate_transformation_mode'] = 'output_half_pixel'
    inputs = {'x': random.normal(size=shape).astype(np.float32), 'rois': rois.astype(np.float32),
              'images': random.integers(0, shape[0], count)}
    return model('RoiAlign', opset, inputs, attributes, ['rois'] if ratio == 0 else [])


OPERATORS = {'DeformConv': deform_conv, 'MaxUnpool': max_unpool, 'RoiAlign': roi_align}


def as_in_networks():
    """A layer of a ResNet-50 with deformable convolutions, of SegNet's decoder, and of Faster R-CNN's head."""
    import numpy as np
    random = np.random.default_rng(1)
    normal = lambda *extents: random.normal(size=extents).astype(np.float32)
    x, w = normal(1, 128, 28, 28), normal(128, 128, 3, 3)
    yield 'DeformConv', *model('DeformConv', 19, {'x': x, 'w': w, 'offset': normal(1, 18, 28, 28), 'b': None,
                                                  'mask': normal(1, 9, 28, 28)}, {'pads': [1] * 4}, ['w'])
    places = np.arange(64 * 256 * 256).reshape(64, 128, 2, 128, 2)[:, :, 1, :, 0].reshape(1, 64, 128, 128).copy()
    yield 'MaxUnpool', *model('MaxUnpool', 11, {'x': normal(1, 64, 128, 128), 'places': places},
                              {'kernel_shape': [2, 2], 'strides': [2, 2]})
    first = random.uniform(0, 600, (200, 2))
    rois = np.concatenate([first, first + random.uniform(20, 200, (200, 2))], 1).astype(np.float32)
    yield 'RoiAlign', *model('RoiAlign', 16, {'x': normal(1, 256, 50, 50), 'rois': rois, 'images': np.zeros(200, np.int64)},
                             {'output_height': 7, 'output_width': 7, 'sampling_ratio': 2, 'spatial_scale': 1 / 16})


# ---- engines ------------------------------------------------------------------------------------

def write(folder, made, given):
    import numpy as np
    path = os.path.join(folder, 'model.onnx')
    with open(path, 'wb') as file:
        file.write(made.SerializeToString())
    arguments = []
    for name, value in given.items():
        np.save(os.path.join(folder, f'{name}.npy'), value)
        arguments += ['--input', f'{name}={os.path.join(folder, name)}.npy']
    return path, arguments


def difference(binary, made, given):
    """Of the results, relative to the largest magnitude; what is said where there is none."""
    import numpy as np
    wanted = common.onnxruntime_session(made.SerializeToString()).run(None, given)[0]
    with tempfile.TemporaryDirectory() as folder:
        path, arguments = write(folder, made, given)
        result = os.path.join(folder, 'y.npy')
        done = subprocess.run([binary, 'run', path, *arguments, '--output', result], capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()
        found = np.load(result)
    if found.shape != wanted.shape:
        return f'{found.shape}, not {wanted.shape}'
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))


def print_times(binary):
    """The least of ten times, in turns."""
    for name, made, given in as_in_networks():
        session = common.onnxruntime_session(made.SerializeToString())
        with tempfile.TemporaryDirectory() as folder:
            path, _ = write(folder, made, given)
            artifact = os.path.join(folder, 'model.cardinal')
            subprocess.run([binary, 'compile', path, '-o', artifact], check=True, capture_output=True)
            own, peer = [], []
            for _ in range(10):
                said = subprocess.run([binary, 'bench', artifact, '--threads', '1', '--iterations', '3', '--json'],
                                      check=True, capture_output=True, text=True).stdout
                own.append(min(json.loads(said)['latency_ms']))
                for _ in range(3):
                    begin = time.perf_counter()
                    session.run(None, given)
                    peer.append((time.perf_counter() - begin) * 1000)
        print(f'{name:12}{min(own):8.2f} ms  ONNX Runtime {min(peer):8.2f} ms  {min(own) / min(peer):.2f} times')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default='target/release/cardinal')
    parser.add_argument('--cases', type=int, default=40)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--times', action='store_true')
    options = parser.parse_args()
    common.enter(*node_tests.PACKAGES)
    import numpy as np
    failed = 0
    for name, case in OPERATORS.items():
        random, worst = np.random.default_rng(2026), 0.0
        for number in range(options.cases):
            made, given = case(random)
            found = difference(options.cardinal, made, given)
            if isinstance(found, str) or not found <= LIMIT:
                failed += 1
                attributes = {a.name: a for a in made.graph.node[0].attribute}
                print(f'wrong {name} {number}: {found} {list(attributes.values())}'.replace('\n', ' '))
            else:
                worst = max(worst, found)
        print(f'{name:12}{options.cases} cases, differences up to {worst:.1e}')
    if options.times:
        print_times(options.cardinal)
    sys.exit(1 if options.check and failed else 0)


if __name__ == '__main__':
    main()
