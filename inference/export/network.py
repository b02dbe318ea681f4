"""Write a classifier as an ONNX graph that does no work twice and none on pads.

    model = build_network(weights, prefix, Form.FLOAT32)

    input_ids, attention_mask (batch, length) int64, padded on the right  →  logits (batch, labels) float32

Three things make it cheaper than the network it came from, with the same answers:

- The prompt's prefix is the same in every text, so its keys and values are constants.
- All tokens of a batch stand in one row of "packed" tokens, without pads; attention alone sees a batch.
- The last layer answers from the last token alone.

In int8 each token has a scale of its own, so a text's answer does not depend on its batch. Where this CPU's
int8 product overflows (AVX2 without VNNI adds pairs of products in 16 bits) weights take 7 of the 8 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from inference.export.weights import Array, Layer, Linear, Norm, Weights

BLOCK = 32
"""Inputs of a projection that share a scale in the standard form."""
_ORT = "com.microsoft"  # ONNX Runtime's own operators
_OPSETS = {"": 21, _ORT: 1}
_IR_VERSION = 10
_TINY = np.float32(1e-9)  # a token of zeros still needs a scale
_HIDDEN = np.float32(-1e9)  # added to the score of what a token may not see
_Attribute = float | str | list[int]


class Form(StrEnum):
    """How a network is written."""

    FLOAT32 = "float32"
    """In ONNX Runtime's operators."""
    INT8 = "int8"
    """The same, with projections in int8 and embeddings in float16."""
    STANDARD = "standard"
    """In operators of the standard alone (version 21), for other clients, such as browsers.

    Weights are int8 with a scale for each block of inputs, and become float32 again when the file is loaded:
    the file is small, and the answers are float32's but for the rounding of the weights. (Written as
    DequantizeLinear in blocks, ONNX Runtime would round the activations too.)
    """


@dataclass(frozen=True)
class Prefix:
    """The token ids that begin every text, and their keys and values: (heads, tokens, head size) a layer."""

    token_ids: tuple[int, ...]
    keys: list[Array]
    values: list[Array]


@dataclass(frozen=True)
class Tokens:
    """Names of the tensors that locate the packed tokens."""

    places: str  # (tokens,): place of each packed token in (batch · length)
    sources: str  # (batch · length,): packed token for each place
    positions: str  # (tokens, 1): position of each packed token in its text
    last: str  # (batch,): packed token that ends each text
    batch: str
    length: str
    causal: str  # (length, prefix + length): 0 where a token may look, very negative where not
    within: str  # (batch, 1, 1, prefix + length): the same for the last token of each text


class Graph:
    """An ONNX graph that is written operator by operator.

    graph = Graph()
    total = graph.op("Add", "one", graph.constant(np.float32(2)))
    """

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._small: dict[tuple[object, ...], str] = {}

    def constant(self, values: ArrayLike, name: str = "c") -> str:
        """Add a constant and return its name; equal small ones are kept once."""
        array = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 8 else (len(self._tensors),)
        if key not in self._small:
            self._small[key] = f"{name}_{len(self._tensors)}"
            self._tensors.append(numpy_helper.from_array(array, self._small[key]))
        return self._small[key]

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: _Attribute) -> str:
        """Add an operator and return the name of its first output."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: _Attribute
    ) -> list[str]:
        """Add an operator and return the names of its outputs."""
        names = [f"{kind}_{len(self._nodes)}_{place}" for place in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, list(inputs), names, None, None, domain, None, **attributes)
        )
        return names

    def name(self, value: str, name: str) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def model(self, *, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> ModelProto:
        graph = helper.make_graph(self._nodes, "classifier", list(inputs), list(outputs), self._tensors)
        used = sorted({node.domain for node in self._nodes})
        opsets = [helper.make_opsetid(domain, _OPSETS[domain]) for domain in used]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="tweettune"
        )


def build_network(weights: Weights, prefix: Prefix, form: Form) -> ModelProto:
    """Return the ONNX model of a classifier."""
    return _Network(weights, prefix, form).build()


class _Network:
    """A graph that is being written."""

    def __init__(self, weights: Weights, prefix: Prefix, form: Form) -> None:
        self.weights, self.prefix, self.form = weights, prefix, form
        self.graph = Graph()
        self.quantised: dict[str, tuple[str, str]] = {}  # tokens that are in uint8 already
        self._one, self._zero = self.graph.constant(np.float32(1)), self.graph.constant(np.uint8(128))

    def build(self) -> ModelProto:
        graph, weights = self.graph, self.weights
        tokens = self._tokens()
        if weights.rotary:
            self.rotary = [graph.constant(table, "rotary") for table in weights.rotary]
        state = self._embed(tokens)
        for number, layer in enumerate(weights.layers):
            state = self._layer(number, layer, state, tokens, last=number == len(weights.layers) - 1)
        final = self._norm(state, weights.final_norm)
        graph.name(graph.op("MatMul", final, graph.constant(weights.head, "head")), "logits")
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights.head.shape[1]])
        return graph.model(inputs=ids, outputs=[logits])

    def _int(self, *values: int) -> str:
        return self.graph.constant(np.array(values, dtype=np.int64))

    def _tokens(self) -> Tokens:
        g, skip = self.graph, len(self.prefix.token_ids)
        one, everything = self._int(1), self._int(-1)
        body = [
            g.op("Slice", name, self._int(skip), self._int(1 << 30), one)
            for name in ("input_ids", "attention_mask")
        ]
        self.ids, mask = (g.op("Reshape", part, everything) for part in body)
        shape = g.op("Shape", body[0])
        batch, length = (g.op("Slice", shape, self._int(at), self._int(at + 1)) for at in (0, 1))
        places = g.op("Reshape", g.op("NonZero", mask), everything)
        count = g.op("CumSum", mask, self._int(0))
        sources = g.op("Max", g.op("Sub", count, one), self._int(0))
        positions = g.op("Add", g.op("Mod", places, length), self._int(skip))
        lengths = g.op("ReduceSum", body[1], one, keepdims=0)
        last = g.op("Sub", g.op("CumSum", lengths, self._int(0)), one)
        columns = self._range(g.op("Squeeze", length))
        everywhere = self._range(g.op("Add", g.op("Squeeze", length), g.constant(np.int64(skip))))
        limit = g.op("Add", g.op("Unsqueeze", columns, one), self._int(skip))
        ends = g.op("Add", lengths, self._int(skip))
        return Tokens(
            places=places,
            sources=sources,
            batch=batch,
            length=length,
            last=last,
            positions=g.op("Unsqueeze", positions, one),
            causal=self._mask(g.op("Greater", everywhere, limit)),
            within=self._mask(
                g.op("GreaterOrEqual", everywhere, g.op("Reshape", ends, self._int(-1, 1, 1, 1)))
            ),
        )

    def _range(self, end: str) -> str:
        return self.graph.op("Range", self.graph.constant(np.int64(0)), end, self.graph.constant(np.int64(1)))

    def _mask(self, hidden: str) -> str:
        g = self.graph
        return g.op("Where", hidden, g.constant(_HIDDEN), g.constant(np.float32(0)))

    def _embed(self, tokens: Tokens) -> str:
        g, table = self.graph, self.weights.embedding
        ids = g.op("Gather", self.ids, tokens.places)
        if self.form is Form.STANDARD:
            parts = [g.op("Gather", g.constant(part, "embedding"), ids) for part in quantised_blocks(table)]
            state = self._dequantised(*parts, shape=(-1, table.shape[1]))
        elif self.form is Form.INT8:
            half = g.op("Gather", g.constant(table.astype(np.float16), "embedding"), ids)
            state = g.op("Cast", half, to=TensorProto.FLOAT)
        else:
            state = g.op("Gather", g.constant(table, "embedding"), ids)
        if self.weights.positions is None:
            return state
        positions = g.op("Squeeze", tokens.positions, self._int(1))
        return g.op("Add", state, g.op("Gather", g.constant(self.weights.positions, "positions"), positions))

    def _layer(self, number: int, layer: Layer, state: str, tokens: Tokens, *, last: bool) -> str:
        g = self.graph
        seen = self._norm(state, layer.before_attention)
        value = self._linear(seen, layer.value)
        query_key = self._linear(seen, layer.query_key)
        if last:
            state = g.op("Gather", state, tokens.last)
        mixed = self._attention(number, query_key, value, tokens, last=last)
        state = g.op("Add", state, self._linear(mixed, layer.output))
        seen = self._norm(state, layer.before_mlp)
        inner = self._activation(self._linear(seen, layer.up))
        return g.op("Add", state, self._linear(inner, layer.down))

    def _attention(self, number: int, query_key: str, value: str, tokens: Tokens, *, last: bool) -> str:
        """Return (tokens or batch, hidden). The prefix's keys and values stand before the text's own."""
        g, w = self.graph, self.weights
        if w.rotary:
            query_key = self._rotated(query_key, tokens)
        sizes = self._int(w.heads * w.head_size, w.kv_heads * w.head_size)
        query, key = g.ops("Split", query_key, sizes, outputs=2, axis=1)
        key, value = (self._by_head(packed, tokens, w.kv_heads) for packed in (key, value))
        if self.prefix.token_ids:
            key = self._behind(self.prefix.keys[number], key, tokens)
            value = self._behind(self.prefix.values[number], value, tokens)
        group = w.heads // w.kv_heads
        if last:
            query = g.op(
                "Reshape", g.op("Gather", query, tokens.last), self._int(-1, w.kv_heads, group, w.head_size)
            )
        else:
            query = self._by_head(query, tokens, w.heads)  # (batch, heads, length, size)
            if group > 1:
                query = g.op("Reshape", query, self._shape(tokens.batch, w.kv_heads, -1, w.head_size))
        scores = self._scores(query, key)
        if not last and group > 1:
            scores = g.op("Reshape", scores, self._shape(tokens.batch, w.heads, tokens.length, -1))
        scores = g.op("Add", scores, tokens.within if last else tokens.causal)
        shares = g.op("Softmax", scores, axis=-1)
        if last:
            mixed = g.op("MatMul", shares, value)  # (batch, kv heads, group, size)
            return g.op("Reshape", mixed, self._int(-1, w.heads * w.head_size))
        if group > 1:
            rows = g.op("Shape", query)
            shares = g.op(
                "Reshape",
                shares,
                g.op("Concat", g.op("Slice", rows, self._int(0), self._int(3)), self._int(-1), axis=0),
            )
        mixed = g.op("MatMul", shares, value)
        if group > 1:
            mixed = g.op("Reshape", mixed, self._shape(tokens.batch, w.heads, tokens.length, w.head_size))
        mixed = g.op("Transpose", mixed, perm=[0, 2, 1, 3])
        return g.op("Gather", g.op("Reshape", mixed, self._int(-1, w.heads * w.head_size)), tokens.places)

    def _rotated(self, query_key: str, tokens: Tokens) -> str:
        """Return queries and keys with the rotary embedding of their positions."""
        g, half = self.graph, self.weights.head_size // 2
        if self.form is not Form.STANDARD:
            lone = g.op("Unsqueeze", query_key, self._int(1))
            rotated = g.op("RotaryEmbedding", lone, tokens.positions, *self.rotary, domain=_ORT)
            return g.op("Squeeze", rotated, self._int(1))
        places = g.op("Squeeze", tokens.positions, self._int(1))
        cosines, sines = (
            g.op("Unsqueeze", g.op("Gather", table, places), self._int(1)) for table in self.rotary
        )
        by_head = g.op("Reshape", query_key, self._int(0, -1, 2 * half))
        left, right = g.ops("Split", by_head, outputs=2, axis=-1, num_outputs=2)
        rotated = g.op(
            "Concat",
            g.op("Sub", g.op("Mul", left, cosines), g.op("Mul", right, sines)),
            g.op("Add", g.op("Mul", right, cosines), g.op("Mul", left, sines)),
            axis=-1,
        )
        return g.op("Reshape", rotated, self._int(0, -1))

    def _scores(self, query: str, key: str) -> str:
        g, scale = self.graph, self.weights.head_size**-0.5
        if self.form is not Form.STANDARD:
            return g.op("FusedMatMul", query, key, domain=_ORT, transB=1, alpha=scale)
        scaled = g.constant(np.float32(scale))
        return g.op("MatMul", g.op("Mul", query, scaled), g.op("Transpose", key, perm=[0, 1, 3, 2]))

    def _shape(self, *sizes: int | str) -> str:
        parts = [size if isinstance(size, str) else self._int(size) for size in sizes]
        return self.graph.op("Concat", *parts, axis=0)

    def _by_head(self, packed: str, tokens: Tokens, heads: int) -> str:
        """Return (batch, heads, length, head size) of packed tokens."""
        g = self.graph
        padded = g.op("Gather", packed, tokens.sources)
        shape = self._shape(tokens.batch, tokens.length, heads, self.weights.head_size)
        return g.op("Transpose", g.op("Reshape", padded, shape), perm=[0, 2, 1, 3])

    def _behind(self, prefix: Array, states: str, tokens: Tokens) -> str:
        g, shape = self.graph, self._shape(tokens.batch, 1, 1, 1)
        return g.op("Concat", g.op("Expand", g.constant(prefix[None], "prefix"), shape), states, axis=2)

    def _norm(self, state: str, norm: Norm) -> str:
        g, gain = self.graph, self.graph.constant(norm.gain, "gain")
        if norm.bias is not None:
            bias = g.constant(norm.bias, "bias")
            return g.op("LayerNormalization", state, gain, bias, axis=-1, epsilon=norm.epsilon)
        if self.form is not Form.STANDARD:
            kind = "SimplifiedLayerNormalization"
            return g.op(kind, state, gain, axis=-1, epsilon=norm.epsilon, stash_type=1)
        mean = g.op("ReduceMean", g.op("Mul", state, state), self._int(-1), keepdims=1)
        root = g.op("Sqrt", g.op("Add", mean, g.constant(np.float32(norm.epsilon))))
        return g.op("Mul", g.op("Div", state, root), gain)

    def _activation(self, inner: str) -> str:
        """Return GELU of GPT-2's MLP; of Llama's, SiLU of the gate times the rest."""
        g, standard = self.graph, self.form is Form.STANDARD
        if not self.weights.gated:
            if standard:
                return g.op("Gelu", inner, approximate="tanh")
            return g.op("FastGelu", inner, domain=_ORT)
        gate, up = g.ops("Split", inner, outputs=2, axis=1, num_outputs=2)
        if standard:
            silu = g.op("Mul", gate, g.op("Sigmoid", gate))
        else:
            silu = g.op("QuickGelu", gate, domain=_ORT, alpha=1.0)
        return g.op("Mul", silu, up)

    def _linear(self, x: str, linear: Linear) -> str:
        g, weight = self.graph, linear.weight
        if self.form is Form.STANDARD:
            parts = [g.constant(np.moveaxis(part, 0, -1), "weight") for part in quantised_blocks(weight.T)]
            y = g.op("MatMul", x, self._dequantised(*parts, shape=weight.shape))
        elif self.form is Form.INT8:
            y = self._int8(x, weight)
        else:
            y = g.op("MatMul", x, g.constant(weight, "weight"))
        return y if linear.bias is None else g.op("Add", y, g.constant(linear.bias, "bias"))

    def _int8(self, x: str, weight: Array) -> str:
        """Return x · weight: a scale for each token, and one for each output channel."""
        g = self.graph
        numbers, channel_scales = quantised_weight(weight, bits=weight_bits())
        scale, whole = self._quantised(x)
        w, scales = g.constant(numbers, "weight"), g.constant(channel_scales, "scale")
        y = g.op("MatMulIntegerToFloat", whole, w, self._one, scales, self._zero, domain=_ORT)
        return g.op("Mul", y, scale)

    def _dequantised(self, numbers: str, scales: str, *, shape: tuple[int, ...]) -> str:
        g = self.graph
        values = g.op("Mul", g.op("Cast", numbers, to=TensorProto.FLOAT), scales)
        return g.op("Reshape", values, self._int(*shape))

    def _quantised(self, x: str) -> tuple[str, str]:
        """Return each token's scale (tokens, 1), and the tokens in uint8 around 128; once for each x."""
        if x not in self.quantised:
            g = self.graph
            largest = g.op("ReduceMax", g.op("Abs", x), self._int(1), keepdims=1)
            scale = g.op("Mul", g.op("Max", largest, g.constant(_TINY)), g.constant(np.float32(1 / 127)))
            whole = g.op("QuantizeLinear", g.op("Div", x, scale), self._one, self._zero)
            self.quantised[x] = (scale, whole)
        return self.quantised[x]


def quantised_weight(weight: Array, *, bits: int = 8) -> tuple[NDArray[np.int8], Array]:
    """Return a projection's weight in int8, and the scale of each of its output channels."""
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-12) / np.float32(2 ** (bits - 1) - 1)
    return np.round(weight / scales).astype(np.int8), scales.astype(np.float32)


@cache
def weight_bits() -> int:
    """Return how many bits an int8 weight may use for products that don't overflow on this CPU: 8, or 7."""
    g, terms = Graph(), 64
    g.name(g.op("MatMulInteger", "x", g.constant(np.full((terms, 16), 127, dtype=np.int8))), "y")
    value = helper.make_tensor_value_info
    model = g.model(
        inputs=[value("x", TensorProto.UINT8, [1, terms])], outputs=[value("y", TensorProto.INT32, [1, 16])]
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"x": np.full((1, terms), 255, dtype=np.uint8)})
    return 8 if (product == 255 * 127 * terms).all() else 7


def quantised_blocks(rows: Array) -> tuple[NDArray[np.int8], Array]:
    """Return a matrix in int8, (rows, blocks, columns of a block), and the scales, (rows, blocks, 1)."""
    count, columns = rows.shape
    blocks = rows.reshape(count, -1, BLOCK if columns % BLOCK == 0 else columns)
    scales = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), 1e-12) / np.float32(127)
    return np.round(blocks / scales).astype(np.int8), scales.astype(np.float32)
