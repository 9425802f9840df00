"""Models as workers of Ray Data: a ``Scorer`` for ``ray.data.Dataset.map_batches``.

    import ray
    from cardinal_ml.ray import Scorer

    rows = ray.data.read_binary_files('photos/', include_paths=True)
    rows = rows.map_batches(Scorer, fn_constructor_kwargs={'model': 'resnest50d.onnx'}, num_cpus=1,
                            compute=ray.data.ActorPoolStrategy(size=2))
    rows.write_parquet('scores/')
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy

from ._compile import compile, load
from ._errors import FileError, OptionError
from ._images import Images


class Scorer:
    """Adds a model's outputs to batches of rows: a column for each output, with a row's part of it.

    ``model`` is what ``cardinal_ml.compile`` takes, which compiles it once on each machine, with ``options``, into the
    folder ``cache_dir``; or the path of a compiled .cardinal. All workers of a machine map the same file. The folder is
    cardinal/compiled in $XDG_CACHE_HOME or ~/.cache by default.

    ``column`` is what the model reads: the bytes of PNG or JPEG images, which are prepared as ``images`` says (the
    arguments of ``cardinal_ml.Images``), or arrays of a sample's shape. By default it is 'bytes', as
    ``ray.data.read_binary_files`` calls it. A model of several inputs takes a dict of columns by their names. These
    columns are left out of the result, unless ``keep`` is set; all others stay.

    An image that cannot be read has NaN in all outputs, and in the column ``error`` why; others have '' there.
    Arrays that do not fit are errors of the batch, an InputError.

    ``threads`` is how many a worker runs an inference on: as many CPUs as Ray gives it, by default. A batch of rows is
    run in batches of the model's; the last is filled up, and what is filled in left out of the result.
    """

    def __init__(self, model: Any, *, column: str | Mapping[str, str] = 'bytes', keep: bool = False,
                 images: Mapping[str, Any] | None = None, threads: int | None = None,
                 cache_dir: str | os.PathLike[str] | None = None, **options: Any) -> None:
        threads = threads or assigned_cpus()
        if isinstance(model, (str, os.PathLike)) and os.fspath(model).endswith('.cardinal'):
            if options:
                raise OptionError(f'{os.fspath(model)} is compiled already', 'give the .onnx, or no options')
            self.model = load(model, threads=threads, cache_dir=cache_dir or default_cache())
        else:
            self.model = compile(model, threads=threads, cache_dir=cache_dir or default_cache(), **options)
        self._keep = keep
        self._columns = self._columns_of(column)
        self._batch = self.model.inputs[0].shape[0]
        self._image_options = dict(images or {})
        self._images: Images | None = None

    def _columns_of(self, column: str | Mapping[str, str]) -> dict[str, str]:
        """The column that each input reads."""
        names = [info.name for info in self.model.inputs]
        if isinstance(column, str):
            column = {names[0]: column}
        if set(column) != set(names):
            raise OptionError(f'columns are given for the inputs {sorted(column)}',
                              f'give one for each input: {", ".join(names)}')
        return dict(column)

    def __call__(self, batch: dict[str, numpy.ndarray]) -> dict[str, Any]:
        """Scores a batch of rows, in Ray's format "numpy"."""
        inputs, errors = self._inputs(batch)
        outputs = self._run(inputs, len(errors))
        is_bad = numpy.array([error != '' for error in errors], bool)
        read = set() if self._keep else set(self._columns.values())
        result = {name: values for name, values in batch.items() if name not in read}
        for name, values in outputs.items():
            if is_bad.any():
                values = values.astype(numpy.promote_types(values.dtype, numpy.float32))
                values[is_bad] = numpy.nan
            result[name] = values
        # Texts in all batches: a column of None alone would have another type in Parquet.
        result['error'] = numpy.array(errors, str)
        return result

    def _inputs(self, batch: Mapping[str, numpy.ndarray]) -> tuple[dict[str, numpy.ndarray], list[str]]:
        """What each input reads, and what is wrong with each row."""
        inputs: dict[str, numpy.ndarray] = {}
        errors: list[str] = []
        for name, column in self._columns.items():
            values = batch[column]
            errors = errors or [''] * len(values)
            is_image = len(values) > 0 and isinstance(values[0], bytes)
            inputs[name] = self._decoded(values, errors) if is_image else as_rows(values)
        return inputs, errors

    def _decoded(self, values: Any, errors: list[str]) -> numpy.ndarray:
        if self._images is None:
            self._images = Images(self.model, **self._image_options)
        _, *shape = self.model.inputs[0].shape
        samples = numpy.zeros((len(values), *shape), numpy.float32)
        for row, image in enumerate(values):
            try:
                samples[row] = self._images.decode(image)[0]
            except FileError as error:
                errors[row] = error.message
        return samples

    def _run(self, inputs: Mapping[str, numpy.ndarray], rows: int) -> dict[str, numpy.ndarray]:
        """Runs rows in batches of the model's."""
        infos = self.model.outputs
        outputs = {info.name: numpy.empty((rows, *info.shape[1:]), info.dtype) for info in infos}
        for begin in range(0, rows, self._batch):
            count = min(self._batch, rows - begin)
            part = {name: filled(values[begin:begin + count], self._batch) for name, values in inputs.items()}
            for name, values in self.model.run(part).items():
                outputs[name][begin:begin + count] = values[:count]
        return outputs


def filled(rows: numpy.ndarray, count: int) -> numpy.ndarray:
    """So many rows, of which those that are missing are copies of the last."""
    if len(rows) == count:
        return rows
    return numpy.concatenate([rows, numpy.repeat(rows[-1:], count - len(rows), axis=0)])


def as_rows(values: numpy.ndarray) -> numpy.ndarray:
    """One array of what may be a column of arrays."""
    return numpy.stack(list(values)) if values.dtype == object and len(values) else values


def assigned_cpus() -> int | None:
    """The CPUs that Ray has given this worker; None outside of Ray, and where it has none of its own."""
    import ray
    if not ray.is_initialized():
        return None
    cpus = ray.get_runtime_context().get_assigned_resources().get('CPU', 0)
    return max(1, int(cpus)) if cpus else None


def default_cache() -> str:
    """Where compiled models are kept on this machine."""
    home = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
    return os.path.join(home, 'cardinal', 'compiled')
