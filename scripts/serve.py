#!/usr/bin/env python3
"""Drives `cardinal serve` with Triton's own client, unmodified: each answer must be what `cardinal run` gives.

    scripts/serve.py [target/release/cardinal] [--check]
    scripts/serve.py [target/release/cardinal] --load MODEL [--threads N] [--clients N] [--rounds N] [--peer MODEL.onnx]

With --load, requests with one image each are sent from several connections, for some seconds, in turns with `cardinal
bench` on as many threads, and the images a second of both are compared. The client runs on the same cores. With --peer, ONNX
Runtime behind KServe's server takes its turn with the same client (scripts/serve_peer.py). Packages are tritonclient and
what it needs, or kserve, from PyPI.
"""
import argparse
import concurrent.futures
import glob
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import common

PACKAGES = ['geventhttpclient', 'numpy', 'tritonclient']
IN_FLIGHT = 200


class Server:
    """`cardinal serve` at a port that is free, until the end of a with statement."""

    def __init__(self, cardinal, *arguments):
        self.process = subprocess.Popen([cardinal, 'serve', *arguments, '--port', '0', '--quiet'],
                                        stdout=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip().removeprefix('http://')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.code = self.process.wait()


# ---- Triton's client ----------------------------------------------------------------------------

def reference(cardinal, folder):
    """Inputs f32[N, 1, 28, 28] of the example's images, and what `run` gives for them."""
    import numpy as np
    images = sorted(glob.glob(os.path.join(os.path.dirname(common.DIGITS), 'images', '*.png')))
    x, y = os.path.join(folder, 'x.npy'), os.path.join(folder, 'y.npy')
    subprocess.run([cardinal, 'run', common.DIGITS, *images, '--quiet', '--dump-input', x, '--output', y], check=True)
    return np.load(x), np.load(y)


def ask(client, http, x, binary):
    """The output for rows x, both ways in binary or in JSON."""
    tensor = http.InferInput('input', list(x.shape), 'FP32')
    tensor.set_data_from_numpy(x, binary_data=binary)
    wanted = [http.InferRequestedOutput('output', binary_data=binary)]
    result = client.infer('mnist_resnest', [tensor], outputs=wanted, request_id='mine')
    assert result.get_response()['id'] == 'mine'
    return result.as_numpy('output')


def check_metadata(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready('mnist_resnest')
    assert client.is_model_ready('mnist_resnest', '1') and not client.is_model_ready('nope')
    assert client.get_server_metadata()['name'] == 'cardinal'
    metadata = client.get_model_metadata('mnist_resnest')
    assert metadata['inputs'] == [{'name': 'input', 'datatype': 'FP32', 'shape': [-1, 1, 28, 28]}], metadata
    assert [model['name'] for model in client.get_model_repository_index()] == ['mnist_resnest']


def check_answers(client, http, x, y):
    import numpy as np
    for binary in (True, False):
        for rows in (1, 3):
            assert np.array_equal(ask(client, http, x[:rows], binary), y[:rows]), (binary, rows)
    tensor = http.InferInput('input', [1, 1, 28, 28], 'FP32')
    tensor.set_data_from_numpy(x[:1])
    default = client.infer('mnist_resnest', [tensor])
    assert np.array_equal(default.as_numpy('output'), y[:1])


def check_refusals(client, http, x):
    from tritonclient.utils import InferenceServerException
    import numpy as np
    cases = [('mnist_resnest', 'input', x[:1, :, :27], 'FP32', 'is expected', '400'),
             ('mnist_resnest', 'input', x[:1].astype(np.float64), 'FP64', 'is expected', '400'),
             ('mnist_resnest', 'nope', x[:1], 'FP32', 'no input `nope`', '400'),
             ('nope', 'input', x[:1], 'FP32', 'no model `nope`', '404')]
    for model, name, given, datatype, said, status in cases:
        tensor = http.InferInput(name, list(given.shape), datatype)
        tensor.set_data_from_numpy(np.ascontiguousarray(given))
        try:
            client.infer(model, [tensor])
        except InferenceServerException as error:
            assert said in error.message() and error.status() == status, error
        else:
            raise AssertionError(f'{said}: not refused')


def check_many(client, http, x, y):
    """Requests in flight at once, with the inputs in turns."""
    import numpy as np
    rows = [np.ascontiguousarray(x[n % len(x)]) for n in range(IN_FLIGHT)]
    pending = []
    for n, row in enumerate(rows):
        tensor = http.InferInput('input', [1, 1, 28, 28], 'FP32')
        tensor.set_data_from_numpy(row[None], binary_data=bool(n % 2))
        pending.append(client.async_infer('mnist_resnest', [tensor]))
    wrong = [n for n, each in enumerate(pending)
             if not np.array_equal(each.get_result().as_numpy('output')[0], y[n % len(y)])]
    assert not wrong, f'wrong answers: {wrong}'


def drive(cardinal):
    import tritonclient.http as http
    with tempfile.TemporaryDirectory() as folder:
        x, y = reference(cardinal, folder)
        with Server(cardinal, common.DIGITS) as server:
            client = http.InferenceServerClient(server.address, concurrency=IN_FLIGHT)
            check_metadata(client)
            check_answers(client, http, x, y)
            check_refusals(client, http, x)
            check_many(client, http, x, y)
            client.close()
    assert server.code == -signal.SIGTERM, server.code
    print(f'Triton\'s client gets what `run` gives: in JSON and in binary, {IN_FLIGHT} in flight')


# ---- load ---------------------------------------------------------------------------------------

def request(address, name):
    """The bytes of a request with one row of made-up numbers, in binary."""
    host = f'Host: {address}\r\n'
    with socket.create_connection(address.split(':')) as connection:
        connection.sendall(f'GET /v2/models/{name} HTTP/1.1\r\n{host}Connection: close\r\n\r\n'.encode())
        metadata = json.loads(receive(connection))
    spec = metadata['inputs'][0]
    shape = [max(1, extent) for extent in spec['shape']]
    elements = b'\x00\x00\x00\x3f' * math.prod(shape)
    said = json.dumps({'inputs': [{'name': spec['name'], 'datatype': spec['datatype'], 'shape': shape,
                                   'parameters': {'binary_data_size': len(elements)}}],
                       'parameters': {'binary_data_output': True}}).encode()
    head = (f'POST /v2/models/{name}/infer HTTP/1.1\r\n{host}Content-Length: {len(said) + len(elements)}\r\n'
            f'Inference-Header-Content-Length: {len(said)}\r\n\r\n').encode()
    return head + said + elements


def receive(connection):
    """The body of an answer with the status 200."""
    got = b''
    while b'\r\n\r\n' not in got:
        got += connection.recv(1 << 16) or sys.exit('the connection was closed')
    head, body = got.split(b'\r\n\r\n', 1)
    assert head.startswith(b'HTTP/1.1 200'), got
    length = next(int(line.split(b':')[1]) for line in head.split(b'\r\n') if line.lower().startswith(b'content-length'))
    while len(body) < length:
        body += connection.recv(1 << 16)
    return body


def throughput(address, sent, clients, seconds):
    """Answers a second and their latencies, from so many clients that wait for each answer. What counts comes while all of
    them are busy: after the first and before the last second."""
    answers, start = [], threading.Barrier(clients)

    def client(_):
        with socket.create_connection(address.split(':')) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start.wait()
            begin = now = time.perf_counter()
            while now - begin < seconds + 2:
                connection.sendall(sent)
                receive(connection)
                before, now = now, time.perf_counter()
                answers.append((now, now - before))
        return begin

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        begin = max(pool.map(client, range(clients))) + 1
    latencies = [took for end, took in answers if begin <= end < begin + seconds]
    return len(latencies) / seconds, latencies


class Peer:
    """ONNX Runtime behind KServe's server, until the end of a with statement."""

    def __init__(self, model, name, threads):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        self.address = f'127.0.0.1:{port}'
        python = common.python_with('kserve', 'onnxruntime')
        script = os.path.join(common.HERE, 'scripts', 'serve_peer.py')
        self.process = subprocess.Popen([python, script, model, name, str(port), str(threads)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        while True:
            time.sleep(0.2)
            assert self.process.poll() is None, 'KServe has ended'
            try:
                socket.create_connection(self.address.split(':')).close()
                return self
            except OSError:
                continue

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def bench(cardinal, model, threads, seconds):
    """Images a second of `bench`, in about as long."""
    run = [cardinal, 'bench', model, '--threads', str(threads), '--json']
    first = json.loads(subprocess.run([*run, '--iterations', '5'], stdout=subprocess.PIPE, check=True).stdout)
    iterations = max(10, int(seconds * 1e3 / statistics.median(first['latency_ms'])))
    said = json.loads(subprocess.run([*run, '--iterations', str(iterations)], stdout=subprocess.PIPE, check=True).stdout)
    return said['batch'] * 1e3 / statistics.mean(said['latency_ms'])


def load(options):
    name = os.path.splitext(os.path.basename(options.load))[0]
    flags = ['--threads', str(options.threads), *options.serve.split()]
    ratios, latencies = [], []
    for turn in range(options.rounds):
        peer = bench(options.cardinal, options.load, options.threads, options.seconds)
        with Server(options.cardinal, options.load, *flags) as server:
            sent = request(server.address, name)
            throughput(server.address, sent, options.clients, 1)
            rate, took = throughput(server.address, sent, options.clients, options.seconds)
        latencies += took
        ratios.append(rate / peer)
        if options.peer:
            with Peer(options.peer, name, options.threads) as server:
                throughput(server.address, sent, options.clients, 1)
                others, took = throughput(server.address, sent, options.clients, options.seconds)
            cuts = statistics.quantiles(took, n=100)
            print(f'{turn + 1}: ONNX Runtime behind KServe {others:.1f} a second, p50 {cuts[49] * 1e3:.1f} ms, '
                  f'p99 {cuts[98] * 1e3:.1f} ms')
        print(f'{turn + 1}: serve {rate:.1f} a second, bench {peer:.1f}, ratio {rate / peer:.3f}')
    cuts = statistics.quantiles(latencies, n=100)
    print(f'ratio {statistics.median(ratios):.3f}, {options.clients} clients: p50 {cuts[49] * 1e3:.1f} ms, '
          f'p99 {cuts[98] * 1e3:.1f} ms')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cardinal', nargs='?', default='target/release/cardinal')
    parser.add_argument('--check', action='store_true', help='what is done without it too: wrong answers fail')
    parser.add_argument('--load', metavar='MODEL')
    parser.add_argument('--peer', metavar='MODEL.onnx', help='what ONNX Runtime is to run')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--clients', type=int, default=4)
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--seconds', type=float, default=8)
    parser.add_argument('--serve', default='', help='further options of the server')
    options = parser.parse_args()
    if options.load:
        return load(options)
    common.enter(*PACKAGES)
    drive(options.cardinal)


if __name__ == '__main__':
    main()
