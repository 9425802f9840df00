"""Images as inputs of a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy

from . import _native
from ._compile import image_options
from ._errors import FileError


class Images:
    """How PNG and JPEG images become the input of a model: resized, cropped and normalized as ``cardinal run`` does.

    Arguments say it first, then the model's metadata, a configuration beside its file, and timm where the file is
    called after a model of timm's. ``describe()`` says what is done and who said so, and ``warnings()`` what is only
    assumed. Raises OptionError for a model whose input is no image float32[N, C, H, W], C being 1 or 3.
    """

    def __init__(self, model: _native.Model, *, preprocess: str | None = None, resize: int | None = None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
                 interpolation: str | None = None) -> None:
        options = image_options(preprocess, resize, mean, std, interpolation)
        self._native = _native.Images(model, options)

    def describe(self) -> str:
        """What is done, in a line."""
        return self._native.describe()

    def warnings(self) -> list[str]:
        """What is only assumed, a line each."""
        return self._native.warnings()

    def decode(self, image: bytes | str | os.PathLike[str]) -> numpy.ndarray:
        """One image, its bytes or its path, as float32[1, C, H, W].

        Raises FileError for what is no image or damaged.
        """
        if isinstance(image, bytes):
            return self._native.decode(image, '<bytes>')
        path = os.fspath(image)
        try:
            with open(path, 'rb') as file:
                return self._native.decode(file.read(), path)
        except FileNotFoundError as error:
            raise FileError(f'cannot read {path}: {error.strerror}') from None

    def decode_all(self, images: Iterable[bytes | str | os.PathLike[str]]) -> numpy.ndarray:
        """Several images as float32[N, C, H, W]."""
        return numpy.concatenate([self.decode(image) for image in images])
