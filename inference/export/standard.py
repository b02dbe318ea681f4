"""Write a classifier as an ONNX graph of standard operators alone, for other clients, such as browsers.

    model = build_standard(weights, prefix)

The graph is that of `network`, with the standard's operators of version 21. Its weights are int8 with a scale
for each block of inputs, and are made float32 again when the file is loaded: the file is small, and the
answers are those of float32 but for the rounding of the weights. (Written as DequantizeLinear in blocks, ONNX
Runtime would round the activations too.) Knows nothing about where weights come from.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from inference.export.network import Network, Prefix, Tokens
from inference.export.weights import Array, Weights

BLOCK = 32


def build_standard(weights: Weights, prefix: Prefix) -> ModelProto:
    """Return the ONNX model of a classifier: inputs and output as `network` has them."""
    return _Standard(weights, prefix, int8=False).build()


class _Standard(Network):
    def _looked_up(self, ids: str) -> str:
        table = self.weights.embedding
        numbers, scales = (
            self.graph.op("Gather", self.graph.constant(part, "embedding"), ids)
            for part in quantised_blocks(table)
        )
        return self._float32(numbers, scales, shape=(-1, table.shape[1]))

    def _product(self, x: str, weight: Array) -> str:
        g = self.graph
        numbers, scales = (
            g.constant(np.moveaxis(part, 0, -1), "weight") for part in quantised_blocks(weight.T)
        )
        return g.op("MatMul", x, self._float32(numbers, scales, shape=weight.shape))

    def _float32(self, numbers: str, scales: str, *, shape: tuple[int, ...]) -> str:
        g = self.graph
        return g.op(
            "Reshape", g.op("Mul", g.op("Cast", numbers, to=TensorProto.FLOAT), scales), self._int(*shape)
        )

    def _turned(self, query_key: str, tokens: Tokens) -> str:
        g, half = self.graph, self.weights.head_size // 2
        places = g.op("Squeeze", tokens.positions, self._int(1))
        cosines, sines = (
            g.op("Unsqueeze", g.op("Gather", table, places), self._int(1)) for table in self.rotary
        )
        by_head = g.op("Reshape", query_key, self._int(0, -1, 2 * half))
        left, right = g.ops("Split", by_head, outputs=2, axis=-1, num_outputs=2)
        turned = g.op(
            "Concat",
            g.op("Sub", g.op("Mul", left, cosines), g.op("Mul", right, sines)),
            g.op("Add", g.op("Mul", right, cosines), g.op("Mul", left, sines)),
            axis=-1,
        )
        return g.op("Reshape", turned, self._int(0, -1))

    def _scores(self, query: str, key: str) -> str:
        g = self.graph
        scale = g.constant(np.float32(self.weights.head_size**-0.5))
        return g.op("MatMul", g.op("Mul", query, scale), g.op("Transpose", key, perm=[0, 1, 3, 2]))

    def _root_mean_square(self, state: str, gain: str, epsilon: float) -> str:
        g = self.graph
        mean = g.op("ReduceMean", g.op("Mul", state, state), self._int(-1), keepdims=1)
        root = g.op("Sqrt", g.op("Add", mean, g.constant(np.float32(epsilon))))
        return g.op("Mul", g.op("Div", state, root), gain)

    def _gelu(self, x: str) -> str:
        return self.graph.op("Gelu", x, approximate="tanh")

    def _silu(self, x: str) -> str:
        return self.graph.op("Mul", x, self.graph.op("Sigmoid", x))


def quantised_blocks(rows: Array) -> tuple[NDArray[np.int8], Array]:
    """Return a matrix in int8, (rows, blocks, columns of a block), and the scales, (rows, blocks, 1)."""
    count, columns = rows.shape
    blocks = rows.reshape(count, -1, BLOCK if columns % BLOCK == 0 else columns)
    scales = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), 1e-12) / np.float32(127)
    return np.round(blocks / scales).astype(np.int8), scales.astype(np.float32)
