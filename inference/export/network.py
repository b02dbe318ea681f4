"""Write a classifier as an ONNX graph that does no work twice and none on pads.

    model = build_network(weights, prefix, int8=False)

    input_ids, attention_mask (batch, length) int64, padded on the right  →  logits (batch, labels) float32

Three things make it cheaper than the network it came from, with the same answers:

- The prompt's prefix is the same in every text, so its keys and values are constants.
- All tokens of a batch stand in one row of "packed" tokens, without pads; attention alone sees a batch.
- The last layer answers from the last token alone.

In int8 each token has a scale of its own, so a text's answer does not depend on its batch. Knows nothing
about where weights come from or which precision is good enough.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from inference.export.graph import ORT, Graph
from inference.export.weights import Array, Layer, Linear, Norm, Weights

_TINY = np.float32(1e-9)  # a token of zeros still needs a scale
_HIDDEN = np.float32(-1e9)  # added to the score of what a token may not see


@dataclass(frozen=True)
class Prefix:
    """The token ids that begin every text, and their keys and values: (heads, tokens, head size) a layer."""

    token_ids: tuple[int, ...]
    keys: list[Array]
    values: list[Array]


@dataclass(frozen=True)
class Tokens:
    """Names of what says where the packed tokens are."""

    places: str  # (tokens,): place of each packed token in (batch · length)
    sources: str  # (batch · length,): packed token for each place
    positions: str  # (tokens, 1): position of each packed token in its text
    last: str  # (batch,): packed token that ends each text
    batch: str
    length: str
    causal: str  # (length, prefix + length): 0 where a token may look, very negative where not
    within: str  # (batch, 1, 1, prefix + length): the same for the last token of each text


def build_network(weights: Weights, prefix: Prefix, *, int8: bool) -> ModelProto:
    """Return the ONNX model of a classifier; `int8`: projections in int8, embeddings in float16."""
    return Network(weights, prefix, int8=int8).build()


class Network:
    """Writes the graph in ONNX Runtime's operators; `standard` overrides what the standard has not."""

    def __init__(self, weights: Weights, prefix: Prefix, *, int8: bool) -> None:
        self.weights, self.prefix, self.int8 = weights, prefix, int8
        self.graph = Graph()
        self.quantised: dict[str, tuple[str, str]] = {}  # what has been quantised already
        self._one, self._zero = self.graph.constant(np.float32(1)), self.graph.constant(np.uint8(128))

    def build(self) -> ModelProto:
        """Return the model."""
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
            causal=self._barred(g.op("Greater", everywhere, limit)),
            within=self._barred(
                g.op("GreaterOrEqual", everywhere, g.op("Reshape", ends, self._int(-1, 1, 1, 1)))
            ),
        )

    def _range(self, end: str) -> str:
        return self.graph.op("Range", self.graph.constant(np.int64(0)), end, self.graph.constant(np.int64(1)))

    def _barred(self, hidden: str) -> str:
        g = self.graph
        return g.op("Where", hidden, g.constant(_HIDDEN), g.constant(np.float32(0)))

    def _embed(self, tokens: Tokens) -> str:
        g = self.graph
        ids = g.op("Gather", self.ids, tokens.places)
        state = self._looked_up(ids)
        if self.weights.positions is None:
            return state
        positions = g.op("Squeeze", tokens.positions, self._int(1))
        return g.op("Add", state, g.op("Gather", g.constant(self.weights.positions, "positions"), positions))

    def _looked_up(self, ids: str) -> str:
        g, table = self.graph, self.weights.embedding
        if not self.int8:
            return g.op("Gather", g.constant(table, "embedding"), ids)
        return g.op(
            "Cast",
            g.op("Gather", g.constant(table.astype(np.float16), "embedding"), ids),
            to=TensorProto.FLOAT,
        )

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
            query_key = self._turned(query_key, tokens)
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

    def _turned(self, query_key: str, tokens: Tokens) -> str:
        g = self.graph
        turned = g.op(
            "RotaryEmbedding",
            g.op("Unsqueeze", query_key, self._int(1)),
            tokens.positions,
            *self.rotary,
            domain=ORT,
        )
        return g.op("Squeeze", turned, self._int(1))

    def _scores(self, query: str, key: str) -> str:
        alpha = self.weights.head_size**-0.5
        return self.graph.op("FusedMatMul", query, key, domain=ORT, transB=1, alpha=alpha)

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
        if norm.bias is None:
            return self._root_mean_square(state, gain, norm.epsilon)
        return g.op(
            "LayerNormalization", state, gain, g.constant(norm.bias, "bias"), axis=-1, epsilon=norm.epsilon
        )

    def _root_mean_square(self, state: str, gain: str, epsilon: float) -> str:
        return self.graph.op(
            "SimplifiedLayerNormalization", state, gain, axis=-1, epsilon=epsilon, stash_type=1
        )

    def _activation(self, inner: str) -> str:
        g = self.graph
        if not self.weights.gated:
            return self._gelu(inner)
        gate, up = g.ops("Split", inner, outputs=2, axis=1, num_outputs=2)
        return g.op("Mul", self._silu(gate), up)

    def _gelu(self, x: str) -> str:
        return self.graph.op("FastGelu", x, domain=ORT)

    def _silu(self, x: str) -> str:
        return self.graph.op("QuickGelu", x, domain=ORT, alpha=1.0)

    def _linear(self, x: str, linear: Linear) -> str:
        y = self._product(x, linear.weight)
        return y if linear.bias is None else self.graph.op("Add", y, self.graph.constant(linear.bias, "bias"))

    def _product(self, x: str, weight: Array) -> str:
        if self.int8:
            return self._int8(x, weight)
        return self.graph.op("MatMul", x, self.graph.constant(weight, "weight"))

    def _int8(self, x: str, weight: Array) -> str:
        """Return x · weight: a scale for each token, and one for each output channel."""
        g = self.graph
        numbers, channel_scales = quantised_weight(weight)
        scale, whole = self._quantised(x)
        w, scales = g.constant(numbers, "weight"), g.constant(channel_scales, "scale")
        y = g.op("MatMulIntegerToFloat", whole, w, self._one, scales, self._zero, domain=ORT)
        return g.op("Mul", y, scale)

    def _quantised(self, x: str) -> tuple[str, str]:
        """Return each token's scale (tokens, 1), and the tokens in uint8 around 128; once for each x."""
        if x not in self.quantised:
            g = self.graph
            largest = g.op("ReduceMax", g.op("Abs", x), self._int(1), keepdims=1)
            scale = g.op("Mul", g.op("Max", largest, g.constant(_TINY)), g.constant(np.float32(1 / 127)))
            whole = g.op("QuantizeLinear", g.op("Div", x, scale), self._one, self._zero)
            self.quantised[x] = (scale, whole)
        return self.quantised[x]


def quantised_weight(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Return a projection's weight in int8, and the scale of each of its output channels."""
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-12) / np.float32(127)
    return np.round(weight / scales).astype(np.int8), scales.astype(np.float32)
