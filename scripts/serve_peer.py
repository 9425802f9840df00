#!/usr/bin/env python3
"""ONNX Runtime behind KServe's server, which speaks the same protocol as `cardinal serve`, to compare with.

    scripts/serve_peer.py MODEL NAME PORT THREADS      what scripts/serve.py --peer starts

Needs onnxruntime and kserve.
"""
import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class Network(Model):
    """A model with one session, which runs one request after the other."""

    def __init__(self, name, path, threads):
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        found = self.session.run(None, {each.name: each.as_numpy() for each in payload.inputs})
        outputs = []
        for info, values in zip(self.session.get_outputs(), found):
            outputs.append(InferOutput(info.name, list(values.shape), 'FP32'))
            outputs[-1].set_data_from_numpy(values, binary_data=True)
        return InferResponse(payload.id or '0', self.name, outputs)


if __name__ == '__main__':
    path, name, port, threads = sys.argv[1:]
    del sys.argv[1:]
    ModelServer(http_port=int(port), enable_grpc=False, workers=1).start([Network(name, path, int(threads))])
