"""Classifiers served over HTTP: dynamic batching, limits, the wire formats of other people's clients.

    service = Service({"demo": "runs/demo/artifact"})
    app = create_server(service)                    # FastAPI; `python -m inference serve` runs it
    service.predict(["what a day"])                 # the same batches, without HTTP

Imports go errors ← schema ← batcher ← models ← service ← routes ← mcp ← app ← process ← command.
"""
