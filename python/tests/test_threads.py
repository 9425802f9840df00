"""Many threads, many runs, many processes at once."""

import multiprocessing
import os
import pathlib
import sys
import threading
import time

import numpy
import pytest

import cardinal_ml
from conftest import DIGITS, IMAGES, MODELS, digit


def resident():
    """Memory of this process that is in use, in bytes."""
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def workers():
    """Threads of this process that are workers of pools."""
    names = []
    for task in pathlib.Path('/proc/self/task').iterdir():
        try:
            names.append((task / 'comm').read_text())
        except OSError:  # It has ended meanwhile.
            pass
    return sum(name.startswith('cardinal-') for name in names)


def at_once(count, work):
    """Does work on many threads, which begin together; what went wrong in them."""
    together, wrong = threading.Barrier(count), []

    def one(index):
        together.wait()
        try:
            work(index)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def test_a_hundred_threads_run_one_model(digits):
    right = [digits.run({'input': digit(seed)})['output'].tobytes() for seed in range(100)]
    assert len(set(right)) == 100

    def work(index):
        image = digit(index)
        for _ in range(20):
            assert digits.run({'input': image})['output'].tobytes() == right[index]

    assert at_once(100, work) == []


def test_models_share_a_pool():
    before = workers()
    pool = cardinal_ml.Pool(4)
    models = [cardinal_ml.compile(DIGITS, threads=pool) for _ in range(5)]
    right = cardinal_ml.compile(DIGITS, threads=1).run({'input': digit(1)})['output'].tobytes()

    def work(index):
        for _ in range(50):
            assert models[index % 5].run({'input': digit(1)})['output'].tobytes() == right

    assert at_once(10, work) == []
    assert workers() - before == 3 and all(model.threads == 4 for model in models)
    del pool, models
    assert workers() == before


def is_seen_at_work(work):
    """Whether another thread of Python runs between the beginning and the end of work. Threads take turns only where
    one gives the GIL up, so if work does not, that is never."""
    began, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (began.set(), work(), ended.set()))
    thread.start()
    is_seen = False
    while not ended.is_set():
        is_seen = is_seen or began.is_set() and not ended.is_set()
        time.sleep(0)
    thread.join()
    return is_seen


@pytest.mark.parametrize('way', ['compile', 'run', 'decode', 'hold'])
def test_other_threads_go_on_meanwhile(way, digits):
    model = cardinal_ml.compile(DIGITS, batch=64)
    pixels = numpy.zeros((64, 1, 28, 28), numpy.float32)
    images, image = cardinal_ml.Images(digits), IMAGES[0].read_bytes()
    work = {'compile': lambda: cardinal_ml.compile(DIGITS), 'run': lambda: model.run({'input': pixels}),
            'decode': lambda: images.decode(image), 'hold': lambda: sum(range(100_000))}[way]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        # The system may not let the other thread run in time, but not always.
        assert any(is_seen_at_work(work) for _ in range(300)) == (way != 'hold')
    finally:
        sys.setswitchinterval(interval)


def test_ten_thousand_runs_take_no_memory():
    model = cardinal_ml.compile(MODELS / 'classifier.onnx')
    info, = model.inputs
    array = numpy.ones(info.shape, info.dtype)
    run = lambda: [model.run({info.name: array}) for _ in range(1000)] and None
    run()
    used = []
    for _ in range(10):
        run()
        used.append(resident())
    print(used)
    # 64 bytes lost in each run would be 640 kB.
    assert used[-1] - used[0] < 256 << 10, used


def test_errors_take_no_memory(digits):
    def fail():
        for _ in range(1000):
            with pytest.raises(cardinal_ml.InputError):
                digits.run({})

    fail()
    before = resident()
    fail()
    fail()
    assert resident() - before < 256 << 10


def result(model):
    return model.run({'input': digit(1)})['output'].tobytes()


def cached(cache, barrier, results):
    barrier.wait()
    model = cardinal_ml.compile(DIGITS, cache_dir=cache)
    mapped = pathlib.Path('/proc/self/maps').read_text().count(str(cache))
    results.put((result(model), mapped > 0))


def test_many_processes_use_one_cache(tmp_path):
    context, count = multiprocessing.get_context('spawn'), 12
    barrier, results = context.Barrier(count), context.Queue()
    cache = tmp_path / 'new' / 'cache'
    processes = [context.Process(target=cached, args=(cache, barrier, results)) for _ in range(count)]
    for process in processes:
        process.start()
    got = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    assert set(got) == {(result(cardinal_ml.compile(DIGITS)), True)}
    names = sorted(path.suffix for path in cache.iterdir())
    assert names == ['.cardinal', '.lock']


def test_what_is_cached_belongs_to_model_and_options(tmp_path):
    kept = lambda: {path.name: path.stat().st_mtime_ns for path in tmp_path.glob('*.cardinal')}
    cardinal_ml.compile(DIGITS, cache_dir=tmp_path)
    first = kept()
    cardinal_ml.compile(DIGITS.read_bytes(), cache_dir=str(tmp_path))
    assert kept() == first and len(first) == 1
    for count, options in enumerate([{'batch': 2}, {'winograd': False}, {'weights': 'f16'}, {'cpu': 'x86-64-v2'},
                                     {'preprocess': 'imagenet'}], 2):
        cardinal_ml.compile(DIGITS, cache_dir=tmp_path, **options)
        assert len(kept()) == count, options
    cardinal_ml.compile(MODELS / 'classifier.onnx', cache_dir=tmp_path)
    assert len(kept()) == 7


def test_what_is_damaged_in_a_cache_is_made_again(tmp_path):
    right = result(cardinal_ml.compile(DIGITS, cache_dir=tmp_path))
    path, = tmp_path.glob('*.cardinal')
    whole = path.read_bytes()
    for damage in [whole[:1000], b'', whole[:-1] + bytes([whole[-1] ^ 1])]:
        path.unlink()
        path.write_bytes(damage)
        assert result(cardinal_ml.compile(DIGITS, cache_dir=tmp_path)) == right
        assert path.read_bytes() == whole


def test_a_child_of_fork_runs_models_of_its_own(digits):
    right = result(digits)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if result(cardinal_ml.compile(DIGITS)) == right and result(digits) == right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
