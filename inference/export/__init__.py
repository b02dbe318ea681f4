"""Export an artifact to ONNX: the network is written, made smaller, and held to the parity gate."""
