"""ONNX Runtime's names: what client code of ``onnxruntime`` calls, on compiled models.

A model whose inputs leave dimensions open is compiled for each set of shapes that it is run with, when it is run with
them first. Precision is that of Cardinal; everything that says how ONNX Runtime optimizes or logs is taken, and has no
effect.
"""

from __future__ import annotations

import ctypes
import enum
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from . import _native
from ._compile import compile, load, source
from ._errors import InputError, OptionError

PROVIDERS = ['CPUExecutionProvider']

# ONNX's numbers of element types, by what ONNX Runtime calls them, and NumPy.
TYPES = {1: ('float', numpy.float32), 2: ('uint8', numpy.uint8), 3: ('int8', numpy.int8), 6: ('int32', numpy.int32),
         7: ('int64', numpy.int64), 9: ('bool', numpy.bool_), 11: ('double', numpy.float64)}
NAMES = {numpy.dtype(dtype): name for name, dtype in TYPES.values()}


class GraphOptimizationLevel(enum.IntEnum):
    """How far ONNX Runtime optimizes; Cardinal always runs all passes."""
    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Whether ONNX Runtime runs operators side by side; Cardinal runs them in order, each on all threads."""
    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class SessionOptions:
    """What a session is made with.

    ``intra_op_num_threads`` is how many threads an inference runs on; 0 stands for those that all models share. Other
    attributes are taken and have no effect. ``cache_dir`` and the other keywords of ``cardinal_ml.compile`` are
    given to ``InferenceSession``.
    """

    def __init__(self) -> None:
        self.intra_op_num_threads = 0
        self.inter_op_num_threads = 0
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        self.execution_mode = ExecutionMode.ORT_SEQUENTIAL
        self.log_severity_level = 2
        self.log_verbosity_level = 0
        self.logid = ''
        self.enable_cpu_mem_arena = True
        self.enable_mem_pattern = True
        self.enable_mem_reuse = True
        self.enable_profiling = False
        self.optimized_model_filepath = ''
        self.profile_file_prefix = ''
        self.use_deterministic_compute = True
        self._entries: dict[str, str] = {}
        self._extents: dict[str, int] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        return self._entries[key]

    def add_free_dimension_override_by_name(self, name: str, extent: int) -> None:
        """Fixes a dimension that the model leaves open under this name."""
        self._extents[name] = extent


class RunOptions:
    """What a run is made with: nothing that matters here."""

    def __init__(self) -> None:
        self.log_severity_level = 2
        self.log_verbosity_level = 0
        self.logid = ''
        self.terminate = False
        self.only_execute_path_to_fetches = False


class NodeArg:
    """An input or an output: its ``name``, its ``type`` as 'tensor(float)', and its ``shape`` as a list, in which an
    open dimension is its name or None."""

    def __init__(self, name: str, type: str, shape: list[Any]) -> None:
        self.name = name
        self.type = type
        self.shape = shape

    def __repr__(self) -> str:
        return f'NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})'


class ModelMetadata:
    """What the model's file says of itself."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.producer_name: str = about['producer_name']
        self.graph_name: str = about['graph_name']
        self.domain: str = about['domain']
        self.description: str = about['description']
        self.graph_description: str = about['graph_description']
        self.version: int = about['version']
        self.custom_metadata_map: dict[str, str] = about['metadata']


class InferenceSession:
    """A model that runs, with the names of ``onnxruntime.InferenceSession``.

    ``path_or_bytes`` is the path of an .onnx or of a compiled .cardinal, or the bytes of an .onnx. ``options`` are
    keywords of ``cardinal_ml.compile``, such as ``cache_dir``. Any number of threads may run it at once.
    """

    def __init__(self, path_or_bytes: Any, sess_options: SessionOptions | None = None,
                 providers: Sequence[Any] | None = None, provider_options: Sequence[Any] | None = None,
                 **options: Any) -> None:
        self._sess_options = sess_options or SessionOptions()
        _check_providers(providers or [])
        self._options = {name: value for name, value in options.items() if name not in IGNORED}
        self._options.setdefault('threads', self._sess_options.intra_op_num_threads or None)
        self._lock = threading.Lock()
        self._models: dict[Any, _native.Model] = {}
        self._source = source(path_or_bytes)
        if _is_artifact(self._source):
            self._describe_artifact(load(self._source, threads=self._options['threads']))
        else:
            self._describe_onnx(_native.declared(self._source))

    def _describe_artifact(self, model: _native.Model) -> None:
        node = lambda info: NodeArg(info.name, f'tensor({NAMES[info.dtype]})', list(info.shape))
        self._inputs = [node(info) for info in model.inputs]
        self._outputs = [node(info) for info in model.outputs]
        self._about = {'producer_name': '', 'graph_name': model.name, 'domain': '', 'description': '',
                       'graph_description': '', 'version': 0, 'metadata': model.metadata}
        self._only: _native.Model | None = model

    def _describe_onnx(self, about: dict[str, Any]) -> None:
        fixed = self._sess_options._extents
        node = lambda name, number, shape: _node(name, number, [fixed.get(extent, extent) for extent in shape])
        self._inputs = [node(*value) for value in about['inputs']]
        self._outputs = [node(*value) for value in about['outputs']]
        self._about = about
        self._only = None
        if self._options.keys() & {'batch', 'shapes'}:
            self._only = compile(self._source, **self._options)
        elif all(isinstance(extent, int) for each in self._inputs for extent in each.shape[1:]):
            # What cannot be compiled is refused now, as ONNX Runtime does.
            self._model_for({each.name: tuple(extent if isinstance(extent, int) else 1 for extent in each.shape)
                             for each in self._inputs})

    # ---- what it is -----------------------------------------------------------------------------

    def get_inputs(self) -> list[NodeArg]:
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        return []

    def get_modelmeta(self) -> ModelMetadata:
        return ModelMetadata(self._about)

    def get_session_options(self) -> SessionOptions:
        return self._sess_options

    def get_providers(self) -> list[str]:
        return list(PROVIDERS)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {name: {} for name in PROVIDERS}

    def set_providers(self, providers: Sequence[Any] | None = None, provider_options: Any = None) -> None:
        _check_providers(providers or [])

    def disable_fallback(self) -> None:
        pass

    def enable_fallback(self) -> None:
        pass

    # ---- running it -----------------------------------------------------------------------------

    def run(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any],
            run_options: RunOptions | None = None) -> list[numpy.ndarray]:
        """Runs an inference, and returns the outputs that are named, or all of them, in order.

        Raises InputError, a ValueError, for inputs or outputs that are not the model's.
        """
        feed = {name: _plain(value) for name, value in input_feed.items()}
        results = self._model(feed).run(feed)
        if not output_names:
            return list(results.values())
        return [results[self._known(name)] for name in output_names]

    def run_with_ort_values(self, output_names: Sequence[str] | None, input_dict_ort_values: Mapping[str, OrtValue],
                            run_options: RunOptions | None = None) -> list[OrtValue]:
        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values)]

    def io_binding(self) -> IOBinding:
        """Places for inputs and outputs that stay from run to run."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        iobinding._run(run_options)

    def _known(self, name: str) -> str:
        if all(output.name != name for output in self._outputs):
            names = ', '.join(repr(output.name) for output in self._outputs)
            raise InputError(f'the model has no output {name!r}', f'its outputs are {names}')
        return name

    def _model(self, feed: Mapping[str, Any]) -> _native.Model:
        """The model for the shapes of these inputs. What does not fit is left for it to refuse."""
        if self._only is not None:
            return self._only
        shapes = {each.name: tuple(numpy.shape(feed[each.name])) for each in self._inputs if each.name in feed}
        for each in self._inputs:
            if each.name not in shapes:
                raise InputError(f'input {each.name!r} is missing', 'give one array for each input')
            _check_shape(each, shapes[each.name])
        return self._model_for(shapes)

    def _model_for(self, shapes: dict[str, tuple[int, ...]]) -> _native.Model:
        key = tuple(sorted(shapes.items()))
        known = self._models.get(key)
        if known is not None:
            return known
        with self._lock:
            if key not in self._models:
                self._models[key] = compile(self._source, shapes=shapes, **self._options)
            return self._models[key]


# Keywords of ONNX Runtime's session that have no effect.
IGNORED = {'disabled_optimizers', 'enable_fallback', 'read_config_from_model'}


class OrtValue:
    """A tensor in the memory of the CPU."""

    def __init__(self, array: numpy.ndarray) -> None:
        self._array = array

    @staticmethod
    def ortvalue_from_numpy(numpy_obj: numpy.ndarray, device_type: str = 'cpu', device_id: int = 0) -> OrtValue:
        _check_device(device_type)
        return OrtValue(numpy_obj)

    @staticmethod
    def ortvalue_from_shape_and_type(shape: Sequence[int], element_type: Any, device_type: str = 'cpu',
                                     device_id: int = 0) -> OrtValue:
        _check_device(device_type)
        return OrtValue(numpy.empty(tuple(shape), element_type))

    def numpy(self) -> numpy.ndarray:
        return self._array

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def data_type(self) -> str:
        return f'tensor({NAMES[self._array.dtype]})'

    def element_type(self) -> int:
        return next(number for number, (_, dtype) in TYPES.items() if dtype == self._array.dtype)

    def device_name(self) -> str:
        return 'cpu'

    def data_ptr(self) -> int:
        return self._array.ctypes.data

    def is_tensor(self) -> bool:
        return True

    def has_value(self) -> bool:
        return True

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class IOBinding:
    """Places for the inputs and outputs of a session, in the memory of the CPU."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, Any] = {}
        # In the order of binding; None for what the run makes.
        self._outputs: dict[str, numpy.ndarray | None] = {}
        self._results: dict[str, numpy.ndarray] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: numpy.ndarray) -> None:
        self._inputs[name] = arr_on_cpu

    def bind_input(self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int],
                   buffer_ptr: int) -> None:
        _check_device(device_type)
        self._inputs[name] = _view(element_type, shape, buffer_ptr)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        self._inputs[name] = ortvalue.numpy()

    def bind_output(self, name: str, device_type: str = 'cpu', device_id: int = 0, element_type: Any = None,
                    shape: Sequence[int] | None = None, buffer_ptr: int | None = None) -> None:
        _check_device(device_type)
        is_given = buffer_ptr is not None
        self._outputs[self._session._known(name)] = _view(element_type, shape, buffer_ptr) if is_given else None

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        self._outputs[self._session._known(name)] = ortvalue.numpy()

    def synchronize_inputs(self) -> None:
        pass

    def synchronize_outputs(self) -> None:
        pass

    def get_outputs(self) -> list[OrtValue]:
        return [OrtValue(self._results[name]) for name in self._outputs if name in self._results]

    def copy_outputs_to_cpu(self) -> list[numpy.ndarray]:
        return [value.numpy().copy() for value in self.get_outputs()]

    def clear_binding_inputs(self) -> None:
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()
        self._results.clear()

    def _run(self, run_options: RunOptions | None) -> None:
        model = self._session._model(self._inputs)
        images = numpy.shape(self._inputs.get(model.inputs[0].name))[:1] if model.takes_fewer else ()
        places = {}
        for info in model.outputs:
            bound = self._outputs.get(info.name)
            shape = images + info.shape[len(images):]
            places[info.name] = numpy.empty(shape, info.dtype) if bound is None else bound
        self._results = model.run(self._inputs, places)


def get_available_providers() -> list[str]:
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    return list(PROVIDERS)


def get_device() -> str:
    return 'CPU'


def set_default_logger_severity(severity: int) -> None:
    """Nothing is logged."""


def _is_artifact(model: Any) -> bool:
    if isinstance(model, bytes):
        return False
    if os.fspath(model).endswith('.cardinal'):
        return True
    try:
        with open(model, 'rb') as file:
            return file.read(8) == b'CARDINAL'
    except OSError:
        return False


def _node(name: str, number: int, shape: list[Any]) -> NodeArg:
    kind = TYPES[number][0] if number in TYPES else f'element type {number}'
    return NodeArg(name, f'tensor({kind})', shape)


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, OrtValue) else value


def _check_shape(node: NodeArg, shape: tuple[int, ...]) -> None:
    fits = len(shape) == len(node.shape) and all(
        not isinstance(extent, int) or extent == given for extent, given in zip(node.shape, shape))
    if not fits:
        raise InputError(f'input {node.name!r} is {node.type} of shape {node.shape}, and {list(shape)} is given',
                         'give an array that fits this shape')


def _check_device(device_type: str) -> None:
    if device_type.lower() != 'cpu':
        raise OptionError(f'there is no device {device_type!r}', "use 'cpu'")


def _check_providers(providers: Sequence[Any]) -> None:
    names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
    missing = [name for name in names if name not in PROVIDERS]
    if missing:
        warnings.warn(f'{", ".join(missing)} is not in the available providers: {", ".join(PROVIDERS)}', stacklevel=3)


def _view(element_type: Any, shape: Sequence[int] | None, address: int | None) -> numpy.ndarray:
    """An array on memory of the caller's."""
    if shape is None or element_type is None or not address:
        raise OptionError('memory alone is no tensor', 'give element_type, shape and buffer_ptr')
    dtype = numpy.dtype(element_type)
    length = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
    memory = (ctypes.c_char * length).from_address(address)
    return numpy.frombuffer(memory, dtype).reshape(tuple(shape))
