"""What computes a classifier's logits: PyTorch, or ONNX Runtime in float32 or int8."""

from inference.engine.choose import ENGINES, Engine, load_engine

__all__ = ["ENGINES", "Engine", "load_engine"]
