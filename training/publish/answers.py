"""How a model answers the probes, in a process of its own.

    python -m training.publish.answers      # started by `verify`, which writes one JSON order to its input:
    {"model": "ada/tweets", "revision": "<commit>", "adapter": false, "texts": ["what a day", ...], …}
    {"labels": ["negative", ...], "probabilities": [[0.1, ...], ...], "onnx_equal": 32}      # its answer

The libraries are loaded before the order comes, while the push is still uploading. Its cache, HF_HOME, is a
new folder that goes when it ends; it ends too when whoever started it does. A whole model is loaded by plain
`pipeline`, an adapter as its card says: none of TweetTune's own code answers. With "onnx" TweetTune's
classifier answers by onnx/ too, and "onnx_equal" is how many of its labels are those of the weights.
"""

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from inference.common.hub import HubError, Timeouts, explained, hub_session
from inference.common.store import JsonObject
from inference.common.text import one_line


def main() -> int:
    """Load the libraries, take an order, answer it. Returns the exit status."""
    work_folder = Path(os.environ["HF_HOME"])  # made for this process
    (place := work_folder / "here").mkdir()
    os.chdir(place)  # a folder that is called like the repository must not take its place
    orders: list[str] = []
    arrived = threading.Event()
    threading.Thread(target=_listen, args=(orders, arrived, work_folder), daemon=True).start()
    try:
        answer = loader()
        arrived.wait()
        order = json.loads(orders[0])
        if order.get("token"):
            os.environ["HF_TOKEN"] = order["token"]  # for the libraries here; nobody outside can read it
        with hub_session(Timeouts(answer_s=float(order.get("timeout_s", 60.0)), tries=3)):
            found = answer(order)
    except Exception as error:
        raise SystemExit(_refused(error)) from error
    finally:
        shutil.rmtree(work_folder, ignore_errors=True)
    _write(found)
    return 0


def _refused(error: Exception) -> int:
    """Write why there is no answer; return the exit status."""
    _write(refusal(error))
    return 1


def _listen(orders: list[str], arrived: threading.Event, work_folder: Path) -> None:
    """Take the order; end the process when whoever gave it is gone."""
    for line in sys.stdin:
        orders.append(line)
        arrived.set()
    shutil.rmtree(work_folder, ignore_errors=True)
    os._exit(3)


def refusal(error: Exception) -> JsonObject:
    """Return what went wrong, as an answer: a HubError by its kind, and anything else as it is."""
    found = explained(error, "load the model")
    kind = type(error if type(found) is HubError else found).__name__
    why = f"{kind}: {one_line(error, longest=300)}" if type(found) is HubError else found.why
    return {"error": kind, "why": why, "todo": found.todo}


def _write(record: JsonObject) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def loader() -> Callable[[JsonObject], JsonObject]:
    """Import the libraries; return the function that answers."""
    import torch  # noqa: PLC0415
    from transformers import pipeline  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    def answer(order: JsonObject) -> JsonObject:
        if order["adapter"]:
            classify = pipeline("text-classification", **_adapter(order), top_k=None)
        else:
            classify = pipeline(
                "text-classification", model=order["model"], revision=order["revision"], top_k=None
            )
        with torch.no_grad():
            rows = classify(list(order["texts"]), truncation=True)
        names = classify.model.config.id2label
        labels = [names[place] for place in range(len(names))]
        by_name = [{one["label"]: one["score"] for one in row} for row in rows]
        best = [max(row, key=row.__getitem__) for row in by_name]
        return {
            "labels": labels,
            "probabilities": [[row[label] for label in labels] for row in by_name],
            "onnx_equal": _onnx_equal(order, best) if order.get("onnx") else None,
        }

    return answer


def _onnx_equal(order: JsonObject, best: list[str]) -> int:
    """Return on how many texts the exported network of a repository gives the label of its weights."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    from inference.classifier import Classifier  # noqa: PLC0415

    patterns = ["*.json", "*.safetensors", "onnx/*"]
    folder = snapshot_download(order["model"], revision=order["revision"], allow_patterns=patterns)
    found = Classifier.load(folder, engine="onnx").predict(list(order["texts"]))
    return sum(one.label == label for one, label in zip(found, best, strict=True))


def _adapter(order: JsonObject) -> JsonObject:
    """Load an adapter onto its base, with the settings that the adapter lacks."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415
    from peft import AutoPeftModelForSequenceClassification  # noqa: PLC0415
    from transformers import AutoTokenizer  # noqa: PLC0415

    repo, revision = order["model"], order["revision"]
    facts = json.loads(Path(hf_hub_download(repo, "classifier_config.json", revision=revision)).read_text())
    facts["id2label"] = {int(number): name for number, name in facts["id2label"].items()}
    model = AutoPeftModelForSequenceClassification.from_pretrained(
        repo, revision=revision, dtype="float32", **facts
    )
    return {"model": model.eval(), "tokenizer": AutoTokenizer.from_pretrained(repo, revision=revision)}


if __name__ == "__main__":
    sys.exit(main())
