"""Makes the models of end_to_end.rs. Needs onnx and numpy; the references are numpy's, in f64."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(1)
w1 = rng.standard_normal((8, 3, 3, 3)).astype("f4")
b1 = rng.standard_normal(8).astype("f4")
w2 = rng.standard_normal((4, 8)).astype("f4")
b2 = rng.standard_normal(4).astype("f4")


def classifier(batch, operator="Relu", size=(8, 8)):
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "/conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node(operator, ["c"], ["r"], "/act"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "/pool"),
        helper.make_node("Flatten", ["p"], ["f"], "/flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], "/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(a, n) for n, a in [("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2)]],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"mean": "0.5", "std": "0.25", "classes": "ant,bee,cat,dog"})
    return model


def reference(x):
    x = np.pad(x.astype("f8"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    c = np.einsum("nchwij,kcij->nkhw", windows, w1.astype("f8")) + b1[:, None, None]
    return (np.maximum(c, 0).mean((2, 3)) @ w2.T.astype("f8") + b2).astype("f4")


model = classifier("batch")
onnx.checker.check_model(model)
onnx.save(model, "classifier.onnx")
onnx.save(classifier(1), "fixed.onnx")
onnx.save(classifier(1, "Mish"), "unsupported.onnx")
onnx.save(classifier(1, size=("h", "w")), "open.onnx")
external = classifier(1)
for tensor in external.graph.initializer:
    if tensor.name == "w1":
        onnx.external_data_helper.set_external_data(tensor, "weights", length=w1.nbytes)
        open("external.weights", "wb").write(tensor.raw_data)
        tensor.ClearField("raw_data")
open("external.onnx", "wb").write(external.SerializeToString())
x = rng.standard_normal((2, 3, 8, 8)).astype("f4")
np.save("x.npy", x)
np.save("y.npy", reference(x))
np.save("x1.npy", x[:1])

# Every text of this one holds what terminals obey, what turns texts around, and what would end a string
# or a comment of C, JSON or Graphviz.
def driving(text):
    return f"{text}\x1b]0;title\x07\x9b31m\u202e\u2066\u200f*/ \\\"??/\nerror: ]]>&<script>\r"


names = helper.make_graph(
    [helper.make_node("Relu", [driving("x")], [driving("y")], driving("relu"))],
    driving("graph"),
    [helper.make_tensor_value_info(driving("x"), TensorProto.FLOAT, [1, 4])],
    [helper.make_tensor_value_info(driving("y"), TensorProto.FLOAT, [1, 4])],
)
model = helper.make_model(names, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
helper.set_model_props(model, {driving("key"): driving("value"), "labels": ",".join(map(driving, "abcd"))})
onnx.save(model, "names.onnx")

# Two inputs and two outputs, of two types.
pair = helper.make_model(
    helper.make_graph(
        [helper.make_node("Add", ["a", "a"], ["twice"]), helper.make_node("Mul", ["n", "n"], ["square"])],
        "pair",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("n", TensorProto.INT64, ["batch", 2]),
        ],
        [
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("square", TensorProto.INT64, ["batch", 2]),
        ],
    ),
    opset_imports=[helper.make_opsetid("", 17)],
    ir_version=8,
)
onnx.checker.check_model(pair)
onnx.save(pair, "pair.onnx")
