"""Write the tables of the documents: measured ones from `benchmarks/results/`, the others from the code.

    python -m benchmarks.tables

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`; a test fails when a document and its
sources differ. NAME is a file of results (`quality`: benchmarks/results/quality.json) or a key of FROM_CODE.
A results file is what `benchmarks.results` writes: `rows` (and perhaps `ratios`) of `{"name", …}`, in which a
score is `{"value", "low", "high"}`, and what they were measured with. Knows nothing about how to measure.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT
from inference import cli as inference_cli
from inference.common.wording import percent
from inference.tables.formats import FORMATS
from training.cli import main as training_cli
from training.recipes import available_recipes, settings
from ui.account import settings as owners_settings

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CORE_HOUR_PRICE = 0.04  # US dollars, assumed
NOT_MEASURED = "*Not measured yet: `make bench` fills this table.*"
_MARKED = re.compile(r"(<!-- table:(?P<name>[\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
_SHARES = (
    "accuracy",
    "macro_f1",
    "macro_recall",
    "expected_calibration_error",
    "fresh",
    "ordinary",
    "difference",
    "untouched",
    "instead",
    "gain",
)
_TITLES = {
    "name": "",
    "base": "network",
    "labels_used": "training labels",
    "accuracy": "accuracy, %",
    "macro_f1": "macro-F1, %",
    "macro_recall": "macro-recall, %",
    "expected_calibration_error": "calibration error, %",
    "seconds_per_example": "seconds per training tweet",
    "p50_ms": "p50 of one tweet, ms",
    "posts_per_s": "tweets a second",
    "usd_per_1000": "dollars for 1,000 posts",
    "ms_a_tweet": "ms a tweet",
    "peak_memory_gb": "peak memory, GB",
    "unknown": "unknown tokens",
    "both": "confidence of known tokens",
    "fresh": "right with a new word, %",
    "ordinary": "right without one, %",
    "difference": "points beside the first row",
    "untouched": "from the untouched base, %",
    "instead": "from the other base, %",
    "gain": "points more",
    "shown": "shown by the paired test",
}


def main() -> int:
    """Rewrite the tables of README.md and of docs/. Returns the exit status."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        new = rendered(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{path.name} {'was up to date' if new == text else 'has new tables'}.\n")
    return 0


def rendered(text: str, results: Path = RESULTS) -> str:
    """Return a document with its marked tables updated."""

    def table(found: re.Match[str]) -> str:
        make = FROM_CODE.get(found["name"])
        return f"{found[1]}{make() if make else measured(results / (found['name'] + '.json'))}\n{found[3]}"

    return _MARKED.sub(table, text)


def measured(path: Path) -> str:
    """Return the table of a results file with its conditions, or a note that nothing was measured."""
    if not path.is_file():
        return NOT_MEASURED
    record = json.loads(path.read_text(encoding="utf-8"))
    parts = [_rows(record[key]) for key in ("rows", "ratios", "delays", "bits", "dial") if record.get(key)]
    return "\n\n".join([*parts, " ".join(_sentences(record))]) if parts else NOT_MEASURED


def _rows(rows: list[dict[str, Any]]) -> str:
    keys = list(dict.fromkeys(["name", *(key for row in rows for key in row)]))
    titles = [_TITLES.get(key, key.replace("_", " ")) for key in keys]
    return markdown(titles, [[_cell(key, row.get(key)) for key in keys] for row in rows])


def _cell(key: str, value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case {"value": _, "low": _, "high": _} if key in _SHARES:
            return percent(value)
        case {"part": part, "of": whole, "low": low, "high": high}:
            return f"{part} of {whole} ({100 * low:.0f} to {100 * high:.0f} %)"
        case {"value": middle, "low": low, "high": high}:
            return f"{_number(middle)} ({_number(low)} to {_number(high)})"
        case _:
            return _number(value) if isinstance(value, int | float) else str(value)


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


def _sentences(record: dict[str, Any]) -> Iterator[str]:
    """Yield what stands below a table: is the difference real, intervals, data, base, cost, machine."""
    if comparison := record.get("comparison"):
        yield comparison["sentence"]
    if any(key in _SHARES for row in record["rows"] for key in row):
        yield "In brackets: 95 % intervals."
    if draws := record.get("draws"):
        n = record.get("dev_rows")
        where = f" on {n:,} rows of the train split, none of test" if n else ""
        yield f"Each is the mean of {draws} draws of the training rows{where}."
    if any(row.get("seeds", 1) > 1 for row in record["rows"]):
        yield "Of several seeds: the mean, and Student's interval of it."
    if chosen_on := record.get("sizes", {}).get("validation") if "run" in record else None:
        yield f"What is chosen is chosen on {chosen_on:,} more labelled rows."
    for name, why in record.get("left_out", {}).items():
        yield f"Left out: {name} ({why})"
    if data := record.get("data"):
        yield f"Data: {data['name']}."
    if base := record.get("base"):
        yield f"Base: {base['name']}."
    if machine := record.get("machine"):
        yield (
            f"Machine: {machine['cores']} cores, {machine['memory_gb']:.0f} GB of memory, "
            f"{machine['gemm_gflops']:.0f} GFLOP/s in a float32 matrix product."
        )


def recipes() -> str:
    """Return the table of the recipes that come with TweetTune."""
    rows = [
        [
            f"`{name}`",
            recipe.description,
            f"{recipe.n_train:,}" if recipe.n_train else "all",
            recipe.method,
            _trunk(recipe.trunk_layers),
            f"{recipe.epochs:g}",
        ]
        for name, recipe in available_recipes().items()
    ]
    return markdown(["recipe", "what it is for", "training rows", "trains", "frozen layers", "epochs"], rows)


def _trunk(layers: str) -> str:
    return {"auto": "two thirds", "0.33": "a third", "0": "none"}.get(layers, layers)


def recipe_settings() -> str:
    """Return the table of a recipe's settings."""
    rows = [[f"`{s.name}`", _default(s.default), _escaped(s.help)] for s in settings()]
    return markdown(["setting", "default", "what it is"], rows)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{json.dumps(value)}`" if value not in ("", ()) else ""


def space_settings() -> str:
    """Return the table of a Space's settings."""
    rows = [[f"`{s.name.upper()}`", _default(s.default), _escaped(s.help)] for s in owners_settings()]
    return markdown(["Space variable", "default", "what it sets"], rows)


def formats() -> str:
    """Return the table of the readable file types."""
    rows = [[f"`{name}`", known.title, "yes" if known.writer else ""] for name, known in FORMATS.items()]
    return markdown(["file", "what it holds", "`score` writes it too"], rows)


def options() -> str:
    """Return the table of all commands' arguments and options, those with the same help in one row."""
    found: dict[tuple[str, str], list[str]] = {}
    for command, arguments in commands():
        for name, help in arguments:
            found.setdefault((name, help), []).append(f"`{command}`")
    everywhere = {f"`{command}`" for command, _ in commands()}
    rows = [
        [f"`{_escaped(name)}`", "all" if set(used) == everywhere else ", ".join(used), _escaped(help)]
        for (name, help), used in found.items()
    ]
    return markdown(["option", "of", "what it does"], rows)


def commands() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each command for people and its (argument or option, help), as the parsers have them."""
    for parser in (training_cli.parser(), inference_cli.parser()):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for shown in action._choices_actions:  # only those with a help: the others are not for people
                    yield (
                        shown.dest,
                        [_argument(a) for a in action.choices[shown.dest]._actions if a.dest != "help"],
                    )


def _argument(action: argparse.Action) -> tuple[str, str]:
    given = action.metavar or (action.dest.upper() if action.nargs != 0 else "")
    if action.choices:
        given = "|".join(map(str, action.choices))
    words = [*action.option_strings, *([str(given)] if given else [])]
    return " ".join(words), (action.help or "") % vars(action) if action.help else ""


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns that hold numbers alone are right-aligned."""
    numeric = [all(re.fullmatch(r"–|[\d.,() to-]+", row[i]) for row in rows) for i in range(len(titles))]
    rule = "|".join("---:" if is_number else "---" for is_number in numeric)
    lines = [f"| {' | '.join(titles)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|")


def scale() -> str:
    """Return the costs of scoring so many posts, from the measured rate on all cores."""
    path = RESULTS / "serving.json"
    if not path.is_file():
        return NOT_MEASURED
    record = json.loads(path.read_text(encoding="utf-8"))
    [row] = [r for r in record["rows"] if r["name"] == "Classifier" and r["base"].startswith("embedded")]
    cores = record["machine"]["cores"]
    rows = []
    for posts in (10**6, 10**7, 10**9):
        hours = posts / (row["posts_per_s"] / cores) / 3600
        figures = (hours, math.ceil(hours / 24), hours * CORE_HOUR_PRICE)
        rows.append([f"{posts:,}", *(f"{figure:,.0f}" for figure in figures)])
    table = markdown(["posts", "core-hours", "one-core workers to be done in 24 h", "US dollars"], rows)
    return (
        f"{table}\n\nFrom {row['posts_per_s']:,.0f} posts a second on {cores} cores (the embedded base, "
        f"fine-tuned; {record['machine']['gemm_gflops']:.0f} GFLOP/s), at an assumed "
        f"{CORE_HOUR_PRICE:.2f} dollars a core-hour."
    )


FROM_CODE: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "settings": recipe_settings,
    "formats": formats,
    "options": options,
    "space": space_settings,
    "scale": scale,
}

if __name__ == "__main__":
    sys.exit(main())
