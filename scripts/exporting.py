"""Exporting networks from PyTorch, and what Cardinal makes of them: for the scripts beside this."""
import contextlib
import os
import subprocess
import sys
import tempfile
import warnings

EXPORTERS = {'torchscript': {'dynamo': False, 'opset_version': 17}, 'dynamo': {'dynamo': True, 'opset_version': 20}}


def export(model, x, path, settings):
    """Writes a model, or returns what PyTorch says instead."""
    import torch
    try:
        with silent(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            torch.onnx.export(model, (x,), path, verbose=False, **settings)
    except Exception as error:  # whatever an exporter raises: the row says it
        return f'torch: {first_line(error)}'
    return None


@contextlib.contextmanager
def silent():
    """Drops what is printed, by native code too: exporters print whole graphs."""
    sys.stdout.flush()
    kept = [(fd, os.dup(fd)) for fd in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd, _ in kept:
            os.dup2(nothing, fd)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, copy in kept:
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nothing)


def first_line(error):
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0][:110] if lines else ""}'


def cardinal(binary, path, x, *flags):
    """The output, or what was said instead."""
    import numpy as np
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'x.npy'), os.path.join(folder, 'y.npy')
        np.save(source, x)
        done = subprocess.run([binary, 'run', path, '--input', source, '--output', target, *flags],
                              capture_output=True, text=True)
        return np.load(target) if done.returncode == 0 else done.stderr.strip()


def apart(y, truth):
    """The largest difference relative to the largest magnitude; infinite where shapes differ or numbers end."""
    import numpy as np
    if y.shape != truth.shape:
        return float('inf')
    found = float(np.abs(y.astype(np.float64) - truth).max() / np.abs(truth).max())
    return found if np.isfinite(found) else float('inf')
