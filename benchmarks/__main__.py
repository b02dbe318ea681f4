"""Run the benchmarks: `python -m benchmarks [NAME …] [--dataset DATA] [--runs RUN …]`; without names, all.

Each is a script of its own that writes benchmarks/results/NAME.json; afterwards the README's tables are
updated from these files. Run it on an idle machine: the figures are times.
"""

import argparse
from functools import partial

from benchmarks import (
    ablation,
    audit,
    bases,
    doctor,
    forecasts,
    forgetting,
    freshness,
    kills,
    ladder,
    live,
    load,
    push,
    quality,
    scope,
    search,
    serving,
    sharing,
    shift,
    speed,
    startup,
    tables,
    under_load,
)

BENCHMARKS = {
    "startup": startup.main,
    "words": startup.words,
    "speed": speed.main,
    "serving": serving.main,
    "load": under_load.main,
    "live": live.main,
    "shift": shift.main,
    "freshness": freshness.main,
    "scope": scope.main,
    "sharing": sharing.main,
    "push": push.main,
    "quality": quality.main,
    "audit": audit.main,
    "search": search.main,
    "ablation": ablation.main,
    "gpt2": ablation.gpt2,
    "adapters": ablation.adapters,
    "domain": bases.domain,
    "transfer": bases.transfer,
    "forgetting": forgetting.main,
    "forecasts": forecasts.main,
    "doctor": doctor.main,
    "kills": kills.main,
    "ladder": ladder.main,
    "few_labels": ladder.few_labels,
    "retrieval": ladder.retrieval,
}


def main() -> None:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", choices=[[], *BENCHMARKS], help="default: all")
    parser.add_argument("--dataset", default="auto", help="data to measure quality on (default: auto)")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="take these finished runs over")
    given = parser.parse_args()
    if "load" in (given.name or BENCHMARKS):
        load.wrk()  # what lacks is said before hours are spent
    for name in given.name or BENCHMARKS:
        print(f"== {name}", flush=True)
        measure = BENCHMARKS[name]
        if given.runs and measure in (ladder.main, ladder.few_labels, ladder.retrieval, quality.main):
            measure = partial(measure, runs=given.runs)
        measure(given.dataset)
    tables.main()


if __name__ == "__main__":
    main()
