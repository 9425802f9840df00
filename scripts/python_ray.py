#!/usr/bin/env python3
"""Kills a worker of Ray half way through scoring a folder, and looks whether every row is there once, and right.

    scripts/python.sh && scripts/python_ray.py [--images N] [--seed S]
    scripts/python.sh --release && scripts/python_ray.py --memory MODEL.onnx [--images N]

With --memory, two workers score colour images that are made up, and nobody is killed. What both take beyond what Python
and Ray took before is held against 1.2 times the weights and twice the arena: the weights are there once. It is what is
no file's, and each one's part of the files that it mapped since; of each worker the median, while both are there.

Ray, PyArrow and pandas are installed with pip on first use, into target/python, beside the Python package, which
scripts/python.sh puts there. Takes half a minute, and is not part of .ci/run, as Ray is large.
"""

import argparse
import collections
import io
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import common

common.enter('numpy', 'ray', 'pandas', 'pillow', 'pyarrow', 'fsspec')

import numpy
import PIL.Image
import pyarrow.parquet
import ray

import cardinal_ml
from cardinal_ml.ray import Scorer

IMAGES = sorted(pathlib.Path(common.DIGITS).parent.joinpath('images').glob('*.png'))


class Slow(Scorer):
    """A scorer that takes its time, and writes down which process has scored how many rows."""

    def __init__(self, model, diary, **options):
        super().__init__(model, **options)
        self._diary = pathlib.Path(diary, str(os.getpid()))

    def __call__(self, batch):
        time.sleep(0.05)
        result = super().__call__(batch)
        with open(self._diary, 'a') as diary:
            diary.write(f'{len(result["error"])}\n')
        return result


def scored(diary):
    """How many rows each process has scored so far."""
    return {int(path.name): sum(map(int, path.read_text().split())) for path in pathlib.Path(diary).iterdir()}


def kill_half_way(diary, images, killed):
    """Kills one of two workers when half of the rows are scored."""
    while True:
        done = scored(diary)
        if len(done) == 2 and sum(done.values()) >= images // 2:
            victim = random.choice(sorted(done))
            os.kill(victim, signal.SIGKILL)
            return killed.append((victim, sum(done.values())))
        time.sleep(0.01)


def photos(folder, images):
    """So many images, of which each hundredth is none."""
    for index in range(images):
        path = pathlib.Path(folder, f'{index:05}.png')
        if index % 100 == 50:
            path.write_bytes(b'no image')
        else:
            shutil.copy(IMAGES[index % len(IMAGES)], path)


def score(folder, images):
    """Scores the images of a folder with two workers, and kills one."""
    diary, killed = folder / 'diary', []
    diary.mkdir()
    killer = threading.Thread(target=kill_half_way, args=(diary, images, killed), daemon=True)
    killer.start()
    rows = ray.data.read_binary_files(str(folder / 'photos'), include_paths=True, override_num_blocks=images // 10)
    rows = rows.map_batches(Slow, batch_size=8, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=2),
                            fn_constructor_args=(common.DIGITS, str(diary)),
                            fn_constructor_kwargs={'cache_dir': str(folder / 'cache')})
    rows.write_parquet(str(folder / 'scores'))
    killer.join(1)
    assert killed, 'no worker was killed'
    return killed[0], scored(diary)


def check(folder, images):
    """Every row is there once, and is what the model gives alone."""
    table = pyarrow.parquet.read_table(folder / 'scores').to_pylist()
    names = [pathlib.Path(row['path']).name for row in table]
    assert sorted(names) == [f'{index:05}.png' for index in range(images)], 'rows are lost, or there twice'
    model = cardinal_ml.compile(common.DIGITS)
    prepare = cardinal_ml.Images(model)
    right = {path: model.run({'input': prepare.decode(path)})['output'][0] for path in IMAGES}
    for row, name in zip(table, names):
        index = int(name.removesuffix('.png'))
        if index % 100 == 50:
            assert 'cannot read' in row['error']
        else:
            assert row['error'] == ''
            assert numpy.array_equal(numpy.array(row['output'], 'f4'), right[IMAGES[index % len(IMAGES)]])


# ---- memory -------------------------------------------------------------------------------------

class Weighed(Scorer):
    """A scorer that writes down what its process takes after each batch, beyond what it took before, while both are there."""

    def __init__(self, model, diary, **options):
        self._diary, self._mapped, self._before = pathlib.Path(diary, str(os.getpid())), files(), anonymous()
        super().__init__(model, **options)
        self._diary.touch()

    def __call__(self, batch):
        result = super().__call__(batch)
        if len(list(self._diary.parent.iterdir())) == 2:
            now = files()
            own = sum(size for path, size in now.items() if path not in self._mapped)
            with open(self._diary, 'a') as diary:
                diary.write(f'{anonymous() - self._before + own}\n')
        return result


def anonymous():
    """Bytes of this process that are no file's."""
    text = pathlib.Path('/proc/self/smaps_rollup').read_text()
    return int(re.search(r'^Anonymous: +(\d+) kB', text, re.MULTILINE)[1]) * 1024


def files():
    """Bytes that this process has of each file that it mapped; of what it shares with others its part."""
    sizes, path = collections.Counter(), ''
    for line in pathlib.Path('/proc/self/smaps').read_text().splitlines():
        if re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
            path = line.split(maxsplit=5)[5] if line.count('/') else ''
        elif path and (found := re.match(r'Pss: +(\d+) kB', line)):
            sizes[path] += int(found[1]) * 1024
        elif path and (found := re.match(r'Anonymous: +(\d+) kB', line)):
            sizes[path] -= int(found[1]) * 1024
    return sizes


def made_up(images):
    """The bytes of so many images of noise."""
    noise = numpy.random.default_rng(0)
    for _ in range(images):
        file = io.BytesIO()
        PIL.Image.fromarray(noise.integers(0, 256, (256, 256, 3), 'u1')).save(file, 'png')
        yield file.getvalue()


def weigh(model, images, cardinal):
    """Two workers that have the same model, and what they take."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / 'diary').mkdir()
        artifact = str(folder / 'model.cardinal')
        subprocess.run([cardinal, 'compile', model, '-o', artifact], check=True, stderr=subprocess.DEVNULL)
        about = subprocess.run([cardinal, 'inspect', artifact], check=True, stdout=subprocess.PIPE, text=True).stdout
        weights, arena = (int(re.search(rf'^{what} bytes +(\d+)', about, re.MULTILINE)[1]) for what in ('weight', 'arena'))
        rows = ray.data.from_items([{'bytes': image} for image in made_up(images)], override_num_blocks=images // 8)
        rows = rows.map_batches(Weighed, batch_size=8, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=2),
                                fn_constructor_args=(artifact, str(folder / 'diary')))
        assert rows.count() == images
        taken = [statistics.median(map(int, path.read_text().split())) for path in (folder / 'diary').iterdir()]
    assert len(taken) == 2, f'{len(taken)} workers'
    allowed = 1.2 * weights + 2 * arena
    print(f'two workers take {sum(taken) / 1e6:.1f} MB together, of {allowed / 1e6:.1f}: 1.2 times {weights / 1e6:.1f} MB of '
          f'weights and 2 times {arena / 1e6:.1f} MB')
    return 1 if sum(taken) > allowed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--memory', metavar='MODEL')
    parser.add_argument('--cardinal', default=os.path.join(common.HERE, 'target', 'release', 'cardinal'))
    args = parser.parse_args()
    random.seed(args.seed)
    ray.init(num_cpus=3, include_dashboard=False)
    if args.memory:
        sys.exit(weigh(args.memory, args.images, args.cardinal))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / 'photos').mkdir()
        photos(folder / 'photos', args.images)
        (victim, rows), by_process = score(folder, args.images)
        check(folder, args.images)
        kept = len(list((folder / 'cache').glob('*.cardinal')))
    ray.shutdown()
    print(f'seed {args.seed}: process {victim} was killed after {rows} of {args.images} rows; {len(by_process)} processes '
          f'scored {sum(by_process.values())}; every row is there once, and right; the model was compiled {kept} time')


main()
