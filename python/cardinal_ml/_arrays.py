"""What the native part asks of NumPy."""

import numpy


def as_array(value):
    """An array on the memory of what has DLPack, the buffer protocol or ``__array__``; a new one of a list."""
    if hasattr(value, '__dlpack__'):
        return numpy.from_dlpack(value)
    return numpy.asarray(value)


def as_dense(array):
    """A row-major, aligned copy."""
    return numpy.require(array, requirements=['C_CONTIGUOUS', 'ALIGNED'])
