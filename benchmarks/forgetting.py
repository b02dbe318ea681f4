"""What do LoRA and full fine-tuning forget at equal accuracy, and what does the dial between them give back?

    python -m benchmarks forgetting --dataset DATA    # about 22 minutes on two cores at 300 GFLOP/s

`quick` is trained on 1,000 labels in three ways, on the same rows by the same seed: with adapters on the
upper third of the layers, with all weights of these layers, and with all weights of the network.
`forgetting` then turns each one's change from 0 to 1, and compares them at the highest accuracy that all of
them reach. All runs go through the command line, as a user's would. They stay in .cache/forgetting, so that a
stopped benchmark goes on. The accuracies are those of the validation rows, on which each run's best epoch was
chosen, too.
"""

from typing import Any

from benchmarks import CACHE, results
from inference.artifact import PROVENANCE, read_record
from inference.common.intervals import wilson
from training.studies.forgetting_order import Forgetting, Forgotten

KEPT = CACHE / "forgetting"
BASE = "embedded"
WAYS: dict[str, dict[str, str]] = {
    "LoRA on the upper third": {},
    "all weights of the upper third": {"method": "full", "learning_rate": "1e-4"},
    "all weights of the network": {
        "method": "full",
        "trunk_layers": "0",
        "state_noise": "0",
        "learning_rate": "2e-5",
        "epochs": "3",
    },
}
SAME = {"n_test": "200", "onnx": "false"}


def main(dataset: str) -> None:
    """Train what is not trained yet, turn the dial of each, and write results/forgetting.json."""
    runs = [
        results.once(KEPT, "train", "quick", base=BASE, dataset=dataset, **SAME, **WAYS[way]) for way in WAYS
    ]
    found = Forgetting.read(results.once(KEPT, "forgetting", *map(str, runs)))
    made = read_record(runs[0] / "artifact", PROVENANCE)
    assert found and made, "the commands have ended well"
    level = found.equal_accuracy
    assert level is not None, "the same seed draws the same validation rows"
    results.write(
        "forgetting",
        base=made["base"],
        data=made["data"]["source"],
        rows=[_row(way, one, level) for way, one in zip(WAYS, found.runs, strict=True)],
        dial=[_turned(place, found) for place in range(len(found.runs[0].points))],
        comparison={
            "sentence": f"Equal accuracy is {100 * level:.1f} %, the most that all of them reach on the same "
            f"{found.runs[0].rows:,} validation rows. The dial's columns are accuracy and bits a character."
        },
        study=found.to_json(),
        runs={way: run.name for way, run in zip(WAYS, runs, strict=True)},
    )


def _row(way: str, one: Forgotten, level: float) -> dict[str, Any]:
    accuracy = one.points[-1].accuracy
    share, equal = wilson(round(accuracy * one.rows), one.rows), one.bits_at(level)
    assert share and equal is not None, "it reaches what all reach"
    return {
        "name": way,
        "accuracy": share.to_json(),
        **results.bits_of(one.general),
        "bits_at_equal_accuracy": f"{equal:.3f}",
    }


def _turned(place: int, found: Forgetting) -> dict[str, Any]:
    """Return each way's point of the dial at one share of its change."""
    points = {way: one.points[place] for way, one in zip(WAYS, found.runs, strict=True)}
    [share] = {point.share for point in points.values()}
    said = {way: f"{100 * one.accuracy:.1f} %, {one.bits:.3f}" for way, one in points.items()}
    return {"name": f"{share:g} of the change", **said}
