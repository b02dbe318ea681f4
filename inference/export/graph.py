"""Write an ONNX graph, operator by operator.

    graph = Graph()
    total = graph.op("Add", "one", graph.constant(np.float32(2)))
    graph.model(inputs=[...], outputs=[...])

Knows nothing about neural networks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ORT = "com.microsoft"  # ONNX Runtime's own operators
_OPSETS = {"": 21, ORT: 1}
_IR_VERSION = 10


class Graph:
    """Operators and constants in the order in which they were written."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._small: dict[tuple[Any, ...], str] = {}

    def constant(self, values: Any, name: str = "c") -> str:
        """Add a constant and return its name; equal small ones are kept once."""
        array: NDArray[Any] = np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 8 else (len(self._tensors),)
        if key not in self._small:
            self._small[key] = f"{name}_{len(self._tensors)}"
            self._tensors.append(numpy_helper.from_array(array, self._small[key]))
        return self._small[key]

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator and return the name of its first output."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add an operator and return the names of its outputs."""
        names = [f"{kind}_{len(self._nodes)}_{place}" for place in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def name(self, value: str, name: str) -> None:
        """Give a value the name of an output."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def model(self, *, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> ModelProto:
        """Return the graph as a model."""
        graph = helper.make_graph(self._nodes, "classifier", list(inputs), list(outputs), self._tensors)
        used = sorted({node.domain for node in self._nodes})
        opsets = [helper.make_opsetid(domain, _OPSETS[domain]) for domain in used]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="tweettune"
        )
