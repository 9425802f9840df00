"""Compiles ONNX image classifiers of the ResNeSt family to native code, and runs them.

    import cardinal_ml, numpy

    model = cardinal_ml.compile('resnest50d.onnx', cache_dir='compiled')
    results = model.run({'input': numpy.zeros((1, 3, 224, 224), numpy.float32)})

Code that is written for ONNX Runtime needs another import only: ``import cardinal_ml as onnxruntime``.
"""

from ._compile import compile, load, quantize
from ._errors import ArtifactError, Error, FileError, InputError, ModelError, OptionError, ResourceError
from ._images import Images
from ._native import Model, Pool, TensorInfo, __version__
from ._session import (ExecutionMode, GraphOptimizationLevel, InferenceSession, IOBinding, ModelMetadata, NodeArg,
                       OrtValue, RunOptions, SessionOptions, get_all_providers, get_available_providers, get_device,
                       set_default_logger_severity)

__all__ = [
    'ArtifactError', 'Error', 'ExecutionMode', 'FileError', 'GraphOptimizationLevel', 'IOBinding', 'Images',
    'InferenceSession', 'InputError', 'Model', 'ModelError', 'ModelMetadata', 'NodeArg', 'OptionError', 'OrtValue',
    'Pool', 'ResourceError', 'RunOptions', 'SessionOptions', 'TensorInfo', '__version__', 'compile',
    'get_all_providers', 'get_available_providers', 'get_device', 'load', 'quantize', 'set_default_logger_severity',
]
