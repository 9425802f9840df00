"""What goes wrong. Every error says what to do about it, where something can be done."""

from __future__ import annotations


class Error(Exception):
    """The base of all errors of this package.

    ``message`` says what is wrong, and ``remedy`` what to do about it (None where nothing can be done); a remedy that
    names an option of the command, ``--max-memory``, means the argument of that name, ``max_memory=``. ``node`` and
    ``operator`` are those of the ONNX node that is concerned, or None.
    """

    def __init__(self, message: str, remedy: str | None = None, node: str | None = None,
                 operator: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.node = node
        self.operator = operator

    def __str__(self) -> str:
        return self.message if self.remedy is None else f'{self.message}\nhelp: {self.remedy}'

    def __reduce__(self):
        return type(self), (self.message, self.remedy, self.node, self.operator)


class ModelError(Error):
    """The ONNX model is bad, or asks for what Cardinal does not support."""


class OptionError(Error, ValueError):
    """An argument cannot be, or does not fit the model."""


class InputError(Error, ValueError):
    """Arrays are not what the model takes: their names, types or shapes."""


class ArtifactError(Error):
    """A compiled model is damaged, or for another machine or version."""


class FileError(Error, OSError):
    """A file could not be read or written, or is damaged."""


class ResourceError(Error, RuntimeError):
    """The system gives no more memory or threads, or there is a bug in Cardinal."""
