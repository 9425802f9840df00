"""Compiling, loading and quantizing: arguments as the native part takes them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy

from . import _native
from ._errors import OptionError


def compile(model: Any, *, batch: int | None = None, shapes: Mapping[str, Sequence[int]] | None = None,
            threads: int | _native.Pool | None = None, cpu: str | Sequence[str] = (), winograd: bool = True,
            int8_winograd: bool = False, precision: str = 'f32', portable_bits: bool = False,
            max_memory: int | None = None, weights: str = 'f32', check_rewrites: bool = False, preprocess: str | None = None, tune: bool = False,
            cache_dir: str | os.PathLike[str] | None = None) -> _native.Model:
    """Compiles an ONNX model for this machine, and loads it.

    ``model`` is the path of an .onnx file, with external data beside it, or the bytes of a model or an
    ``onnx.ModelProto``, with all weights inside. The other arguments are the options of ``cardinal compile``:

    - ``batch``: samples in one inference, where the model leaves that open; 1 by default.
    - ``shapes``: whole shapes of inputs by name, as ``{'pixels': (1, 3, 224, 224)}``.
    - ``threads``: how many an inference runs on, or a ``Pool`` whose threads it shares with other models. By default
      all models share one pool with as many threads as the process may run at once. Results do not depend on it.
    - ``cpu``: CPUs to generate code for, as 'x86-64-v3'; this one by default. The best of several runs.
    - ``winograd``: whether convolutions may be computed by Winograd's and Strassen's methods; ``int8_winograd``:
      also those of 8 bits.
    - ``precision``: what convolutions multiply, 'f32', 'bf16', or 'auto' for bfloat16 where the CPU has it.
    - ``portable_bits``: the same bits on every CPU with fused multiply-add, which is slower.
    - ``max_memory``: bytes that an inference may take besides weights; what takes more is refused.
    - ``weights``: 'f32', or 'f16' or 'bf16' to store them in half precision or in bfloat16, in half the bytes.
    - ``check_rewrites``: prove every rewrite on random values.
    - ``preprocess``: how images are prepared, to be stored: 'imagenet', 'timm:NAME', 'none' or a path of JSON.
    - ``tune``: measure how each convolution is computed fastest on this machine.
    - ``cache_dir``: a folder in which the compiled model is kept under the digest of the model and of all that its
      code depends on, and found again. It is made if it is not there. Of many processes that start at once, one
      compiles, and all map the same file. Nothing is ever removed from it.

    Raises ModelError (with the ``node`` that is concerned), OptionError, FileError, ResourceError.
    """
    options = _options(batch=batch, shapes=shapes, cpu=cpu, winograd=winograd, int8_winograd=int8_winograd,
                       precision=precision, portable_bits=portable_bits, max_memory=max_memory, weights=weights,
                       check_rewrites=check_rewrites, preprocess=preprocess, tune=tune)
    return _native.compile(source(model), options, threads, cache_dir)


def load(path: str | os.PathLike[str], *, variant: str | None = None,
         threads: int | _native.Pool | None = None,
         cache_dir: str | os.PathLike[str] | None = None) -> _native.Model:
    """Loads a compiled model (.cardinal) that ``Model.save`` or ``cardinal compile`` has written.

    The file is mapped, and processes that load it share its weights: nobody may change it meanwhile, but another may
    be renamed to its place. ``variant`` is the CPU whose code shall run, of those that it has code for; the best by
    default. ``threads`` is that of ``compile``. ``cache_dir`` is a folder in which weights that are stored as f16
    or bf16 are kept as code reads them, once for all processes that name it; without it each has its own.

    An artifact is machine code: load none from strangers. Raises ArtifactError for one that is damaged or for other
    machines, FileError.
    """
    return _native.load(path, variant, threads, cache_dir)


def quantize(model: Any, output: str | os.PathLike[str], calibrate: Any, *, test: Any = (),
             agree: float | None = None, threads: int | None = None, preprocess: str | None = None,
             resize: int | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
             interpolation: str | None = None, **options: Any) -> dict[str, Any]:
    """Rounds the convolutions of a float model to 8 bits, and writes the ONNX model ``output``.

    ``calibrate`` is some hundreds of samples to take the ranges of values from: a path, or several, of images, .npy,
    .npz or folders of these; or an array float32[N, ...] whose rows are samples, or a dict of such arrays by the
    names of inputs. ``test`` is other samples to compare both models on, those of ``calibrate`` by default.
    ``agree`` keeps layers in float until so many percent of them have the float model's top class. ``preprocess``,
    ``resize``, ``mean``, ``std`` and ``interpolation`` say how images are prepared; that is said on stderr too.
    ``options`` are those of ``compile`` that say how to read and run the model (``batch``, ``shapes``, ``cpu``,
    ``winograd``, ``int8_winograd``, ``precision``, ``portable_bits``, ``max_memory``).

    Returns what ``cardinal quantize --json`` prints: layers with their errors, and how the models agree.
    Raises ModelError, OptionError, FileError, ResourceError.
    """
    images = image_options(preprocess, resize, mean, std, interpolation)
    unknown = sorted(set(options) - READING)
    if unknown:
        raise OptionError(f'quantize has no argument {unknown[0]!r}', f'the options are {", ".join(sorted(READING))}')
    with _files(calibrate) as calibrate_files, _files(test) as test_files:
        asked = {'calibrate': calibrate_files, 'test': test_files, 'agree': agree, 'threads': threads}
        said = _native.quantize(source(model), output, asked, images, _options(**options))
    return json.loads(said)


# The options that say how a model is read and run.
READING = {'batch', 'shapes', 'cpu', 'winograd', 'int8_winograd', 'precision', 'portable_bits', 'max_memory'}


def source(model: Any) -> Any:
    """A model as the native part takes it: a path, or bytes."""
    if hasattr(model, 'SerializeToString'):
        return model.SerializeToString()
    if isinstance(model, (bytearray, memoryview)):
        return bytes(model)
    return model if isinstance(model, bytes) else os.fspath(model)


def _options(*, batch: int | None = None, shapes: Mapping[str, Sequence[int]] | None = None,
             cpu: str | Sequence[str] = (), winograd: bool = True, int8_winograd: bool = False,
             precision: str = 'f32', portable_bits: bool = False, max_memory: int | None = None, weights: str = 'f32',
             check_rewrites: bool = False, preprocess: str | None = None, tune: bool = False) -> dict[str, Any]:
    return {
        'batch': batch,
        'shapes': [(name, list(shape)) for name, shape in (shapes or {}).items()],
        'cpu': [cpu] if isinstance(cpu, str) else list(cpu),
        'winograd': winograd,
        'int8_winograd': int8_winograd,
        'precision': precision,
        'portable_bits': portable_bits,
        'max_memory': max_memory,
        'weights': weights,
        'check_rewrites': check_rewrites,
        'preprocess': preprocess,
        'tune': tune,
    }


def image_options(preprocess: str | None, resize: int | None, mean: Sequence[float] | None,
                  std: Sequence[float] | None, interpolation: str | None) -> dict[str, Any]:
    """How images are prepared, as the native part takes it."""
    as_list = lambda values: None if values is None else [float(value) for value in values]
    return {'preprocess': preprocess, 'resize': resize, 'mean': as_list(mean), 'std': as_list(std),
            'interpolation': interpolation}


@contextlib.contextmanager
def _files(samples: Any) -> Iterator[list[str]]:
    """The files that samples are in: arrays are written to one that is removed again."""
    if isinstance(samples, (str, os.PathLike)):
        yield [os.fspath(samples)]
    elif isinstance(samples, Mapping) or hasattr(samples, '__array__'):
        with tempfile.TemporaryDirectory(prefix='cardinal-') as folder:
            yield [_written(samples, folder)]
    else:
        assert isinstance(samples, Iterable)
        yield [os.fspath(path) for path in samples]


def _written(samples: Any, folder: str) -> str:
    if isinstance(samples, Mapping):
        path = os.path.join(folder, 'samples.npz')
        numpy.savez(path, **samples)
    else:
        path = os.path.join(folder, 'samples.npy')
        numpy.save(path, numpy.asarray(samples))
    return path
