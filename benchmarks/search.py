"""How many trials an hour does a search make, beside trainings that compute all layers each time?

    python -m benchmarks search --dataset DATA    # about 25 minutes

`python -m training tune` prepares data and trunk once, trains every trial on the cached states, and prunes.
Beside it, the same recipe is trained with no frozen trunk, LoRA on all layers, by three seeds: what a trial
costs without the cache. Both have the same 300 labels and 200 validation rows. Of the search its preparation
and its trials count, and not the further seeds of the best; of a training its preparation and its epochs, and
not the evaluation. Runs stay in .cache/search, so that a stopped benchmark goes on.
"""

from benchmarks import CACHE, results
from inference.artifact import PROVENANCE, read_record
from training.runs.run import Run
from training.studies.order import Search

KEPT = CACHE / "search"
BASE, TRIALS, SEEDS = "embedded", 20, (1, 2, 3)
ROWS = {"n_train": "300", "n_validation": "200", "n_test": "20", "onnx": "false"}
UNCACHED = {"trunk_layers": "0", "state_noise": "0"}
COUNTED = ("prepare", "cache", "train")
"""The phases of a training that a trial has, too."""


def main(dataset: str) -> None:
    """Search and train what is not there yet, and write results/search.json."""
    given = {"base": BASE, "dataset": dataset, **ROWS}
    run = Run(results.once(KEPT, "tune", "quick", "--trials", str(TRIALS), **given))
    found = Search.read(run.path)
    assert found, "the command has ended well"
    trained = [results.once(KEPT, "train", "quick", **given, **UNCACHED, seed=str(seed)) for seed in SEEDS]
    records = [read_record(folder / "artifact", PROVENANCE) or {} for folder in trained]
    uncached = [sum(one["duration_s"].get(phase, 0.0) for phase in COUNTED) for one in records]
    made, preparation = records[0], prepared_in(run)
    trial = (preparation + sum(one.seconds for one in found.trials)) / len(found.trials)
    pruned = sum(one.state == "pruned" for one in found.trials)
    ratio = results.mean_of([seconds / trial for seconds in uncached])
    results.write(
        "search",
        base=made["base"],
        data=made["data"]["source"],
        sizes=made["sizes"],
        precision=made.get("precision"),
        rows=[
            {"name": f"a search of {len(found.trials)} trials, {pruned} of them pruned", **_rate([trial])},
            {"name": f"{len(uncached)} trainings without the cache", **_rate(uncached)},
        ],
        comparison={
            "sentence": f"The search makes {ratio['value']:.1f} times as many trials an hour "
            f"({ratio['low']:.1f} to {ratio['high']:.1f})."
        },
        seconds={"preparation": preparation, "trials": [one.seconds for one in found.trials]},
    )


def prepared_in(run: Run) -> float:
    """Return the seconds from a search's first event to its first trial."""
    progress = run.events("progress")
    began = next(one["time"] for one in progress if one["phase"] == "search")
    return float(began - progress[0]["time"])


def _rate(seconds: list[float]) -> dict[str, float]:
    each = sum(seconds) / len(seconds)
    return {"seconds_a_trial": each, "trials_an_hour": 3600 / each}
