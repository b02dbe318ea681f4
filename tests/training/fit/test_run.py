"""What a run does after its training."""

import shutil
from itertools import count

from inference.common.store import write_jsonl
from tests.support import tweets
from training.fit.run import _export_onnx
from training.runs.log import RunLog
from training.runs.run import find_run


def test_the_export_of_a_quick_run_tells_how_far_it_is_and_what_came_of_it(trained_llama, tmp_path):
    """It takes about a tenth of such a run: the time left moves in it, and the step of ONNX is told."""
    run = find_run(shutil.copytree(trained_llama.run.path, tmp_path / "run"))
    rows = [{"text": text, "label": label} for text, label in tweets(120, seed=3)]
    write_jsonl(run.path / "validation.jsonl", rows)
    log = RunLog(run.path, clock=map(float, count()).__next__)
    log.plan({"export": 10.0})
    with log.phase("export"):
        _export_onnx(run, log, run.artifact)
    shares = [
        event["done"] / event["total"] for event in run.events("progress") if event["phase"] == "export"
    ]
    assert (
        shares == sorted(shares)
        and shares[-1] == 1.0
        and 0 in shares
        and any(0 < share < 1 for share in shares)
    )
    assert run.events("note")[-1]["text"].startswith("ONNX: ")
    assert (run.artifact / "onnx" / "packed_int8.onnx").is_file()
