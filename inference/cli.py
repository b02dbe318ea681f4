"""The command line of inference: `python -m inference classify MODEL [TEXT …]`, `export`, `score`, `live` …

With `--json`, standard output holds one JSON object and nothing else.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from inference.baselines import Explained, Predictor, rests_on
from inference.classifier import Prediction
from inference.common.command import MODEL, add_command, as_typed, option, print_json, run_command
from inference.common.errors import PredictionError
from inference.common.progress import agreed
from inference.common.text import one_line
from inference.engine import ENGINES
from inference.export import command as export
from inference.live import command as live
from inference.reference import Scope
from inference.scoring import command as score
from inference.serving import command as serve
from inference.tables.rows import kind_of, plain_lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit status: 0 when it did what was asked, 130 when Ctrl-C ended it."""
    return run_command(parser, arguments)


def parser() -> argparse.ArgumentParser:
    """Return the parser; the table of options in docs/commands.md is made from it."""
    top = argparse.ArgumentParser(prog="python -m inference", description="Use a fine-tuned classifier.")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    classify = add_command(commands, "classify", _classify, "classify texts", description="Classify texts.")
    option(classify, "model MODEL", MODEL)
    option(classify, "text TEXT", "texts (default: standard input, one a line)", nargs="*")
    option(classify, "--file F", "a file of texts: one a line, or a table", type=Path)
    option(classify, "--text-column NAME", "column of the texts (default: found by name)", default="")
    option(classify, "--engine", "what computes", default="auto", choices=tuple(ENGINES))
    option(classify, "--index F", "labelled texts that answers rest on, too", type=Path)
    for command in (export, score, live):
        command.add_parser(commands)
    serve.add_parsers(commands)
    return top


def _classify(given: argparse.Namespace) -> int:
    texts, problems, notes = _texts(given)
    for note in notes:
        sys.stderr.write(f"{note}\n")
    if not texts and problems:
        raise PredictionError(f"{given.file} holds no text to classify. {_left_out(problems, 0)}")
    from inference.baselines.model import load_model

    classifier = load_model(given.model, engine=given.engine)
    predictor: Predictor = classifier
    if given.index:
        from inference.baselines.index import Index, beside

        predictor = beside(classifier, Index(given.index))
    predictions = predictor.predict(texts)
    if problems:
        sys.stderr.write(_left_out(problems, len(texts)) + "\n")
    if given.json:
        rows = [{"text": text, **asdict(found)} for text, found in zip(texts, predictions, strict=True)]
        record = {"model": classifier.name_or_path, "labels": classifier.labels, "predictions": rows}
        print_json(record)
        return 0
    for text, found in zip(texts, predictions, strict=True):
        shown = one_line(text, longest=100)
        sys.stdout.write(f"{found.label:10} {max(found.probabilities):6.1%}  {shown}\n")
        for one in rests_on(found):
            sys.stdout.write(f"{'':17}  rests on: {one.label}, {one_line(one.text, longest=80)}\n")
    sys.stderr.write(_notes(predictions, classifier.scope))
    return 0


def _notes(predictions: Sequence[Prediction], scope: Scope | None) -> str:
    """Return lines that say for how many texts the answer may mean little, and why."""
    outside = sum(found.is_out_of_scope(scope.above) for found in predictions) if scope else 0
    cut, n = sum(found.truncated for found in predictions), len(predictions)
    notes = (
        f"{outside} of {n} texts are out of scope: more of their tokens were hardly in training than of 99 "
        "of 100 validation texts.\n"
        if outside
        else ""
    )
    if cut:
        notes += f"{cut} of {n} texts were longer than the model's limit and were cut.\n"
    if dropped := sum(found.dropped for found in predictions if isinstance(found, Explained)):
        notes += f"{dropped} examples had no room in the prompts of {n} texts and were left out.\n"
    return notes


def _texts(given: argparse.Namespace) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return the texts, the problem of each row without one, and notes on how the file was understood."""
    if given.text and given.file:
        raise PredictionError("Texts and --file were both given. Give one of them.")
    if given.text:
        _ask_about_files(given.text)
        return [as_typed(text) for text in given.text], [], ()
    if given.file:
        from inference.tables.formats import FORMATS, open_texts

        plain = kind_of(given.file) not in FORMATS and given.file.is_file()
        table = None if plain else open_texts(given.file, text_column=given.text_column)
        if table:
            chunks = list(table.chunks())
            problems = [problem for chunk in chunks for problem in chunk.problems if problem is not None]
            return [text for chunk in chunks for text in chunk.good_texts], problems, table.reader.notes
    elif sys.stdin.isatty():
        raise PredictionError("No text was given. Give texts, --file F, or text on standard input.")
    content = given.file.read_bytes() if given.file else sys.stdin.buffer.read()
    return plain_lines(content, str(given.file or "Standard input")), [], ()


def _ask_about_files(texts: Sequence[str]) -> None:
    """Raise PredictionError if a text is a file's name, unless the user confirms that it is the text."""
    if file := next(filter(os.path.isfile, texts), ""):
        agree = agreed(f"{file} is a file here. Classify its name as a text?")
        if not agree:
            raise PredictionError(
                f"{file} is a file here, so nothing was classified. Give --file {file} for its lines, or its "
                "name on standard input if that is the text."
            )


def _left_out(problems: list[str], good: int) -> str:
    n = len(problems)
    return f"{n:,} of {n + good:,} rows are left out (the first: {problems[0]})."
