"""The model card: rendered from an artifact's records, and never by hand.

    write_card(artifact, run=run.path)                          # README.md and assets/ beside the weights
    card = render_card(artifact, repo_id="ada/tweets", verified=stamp)
    card.text, card.files                                       # what a push sends
    read_stamp(card.text)                        # -> Stamp(commit=…), None before a verification

The prose is in .huggingface/model_card.md. The same artifact gives the same card, byte for byte: nothing is
taken from the clock or the network. Knows nothing about the Hub's wire format.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

from inference.common.errors import ArtifactError
from training.publish.card_data import estimated_energy, eval_results, language, licence, metadata
from training.publish.card_examples import SWAPS
from training.publish.card_facts import (
    ASSETS,
    CALIBRATION,
    CONFUSION,
    CURVES,
    Facts,
    at,
    read_facts,
    without_scores,
)
from training.publish.card_images import draw_calibration, draw_confusion, draw_curves
from training.publish.card_snippets import snippets
from training.publish.card_story import (
    bag_sentence,
    base_link,
    curve_sentence,
    data_link,
    data_sentences,
    data_table,
    headline,
    leak_sentences,
    missing,
    recipe_block,
    training_table,
    what_it_is,
    why_no_energy,
)
from training.publish.card_tables import (
    calibration_sentence,
    class_table,
    confusion_table,
    examples_sentence,
    examples_tables,
    results_table,
    swaps_sentences,
    verdicts,
)
from training.publish.markdown import plain, text

_SEAL = re.compile(r"<!-- Written by TweetTune, sum ([0-9a-f]{16}) -->\n\Z")
TEMPLATES = Path(__file__).resolve().parent.parent.parent / ".huggingface"
_STAMP = re.compile(
    r"Verified at commit \[`([0-9a-f]{40})`\].*?on (\d+) stored texts.*?at most ([0-9.]+e[+-][0-9]+)",
    re.DOTALL,
)


class Verified(Protocol):
    """What a verification found."""

    @property
    def commit(self) -> str:
        """The commit that was downloaded again, 40 hexadecimal digits."""

    @property
    def n_texts(self) -> int:
        """Texts that were compared."""

    @property
    def largest_difference(self) -> float:
        """The largest difference of a probability."""

    @property
    def onnx_equal(self) -> int | None:
        """Texts to which onnx/ gives the label of the weights, None without one."""


@dataclass(frozen=True)
class Stamp:
    """A verification as a card tells it."""

    commit: str
    n_texts: int
    largest_difference: float
    onnx_equal: int | None = None
    """Texts to which onnx/ gives the label of the weights; `read_stamp` does not read it."""


@dataclass(frozen=True)
class Card:
    """A card, and the files that stand beside it in the repository."""

    text: str
    """README.md: metadata and Markdown."""
    files: dict[str, bytes] = field(default_factory=dict)
    """By path in the repository: pictures in assets/, scores in .eval_results/."""


def write_card(artifact: Path, *, run: Path | None = None) -> None:
    """Write README.md and its pictures into an artifact. `run`: its run's folder, for the curves.

    Raises ArtifactError when there is no model or a record is torn, OSError when the disk is full.
    """
    facts = read_facts(artifact, run=run)
    card = _render(facts, repo_id=None, verified=None, adapter_only=False)
    (artifact / ASSETS).mkdir(exist_ok=True)
    for name, content in card.files.items():
        if name.startswith(ASSETS):
            (artifact / name).write_bytes(content)
    (artifact / "README.md").write_text(card.text, encoding="utf-8")


def render_card(
    artifact: Path,
    *,
    repo_id: str | None = None,
    verified: Verified | None = None,
    adapter_only: bool = False,
) -> Card:
    """Return the card of an artifact as a repository shows it.

    `repo_id` is filled into snippets and metadata; `adapter_only`: the repository holds the LoRA weights
    alone, at its root. Raises ArtifactError for what is no model, a torn record or an impossible name.
    """
    if repo_id is not None:
        check_repo(repo_id)
    return _render(read_facts(artifact), repo_id=repo_id, verified=verified, adapter_only=adapter_only)


def read_stamp(card: str) -> Stamp | None:
    """Return the verification that a card tells of, None where it tells of none."""
    found = _STAMP.search(card)
    return Stamp(found[1], int(found[2]), float(found[3])) if found else None


def is_untouched(card: str) -> bool:
    """Whether a card is, to the letter, one that TweetTune has written: its last line carries its sum."""
    found = _SEAL.search(card)
    return bool(found) and _sum(card[: found.start()]) == found[1]  # type: ignore[index,union-attr]


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_repo(repo_id: str) -> None:
    """Raise ArtifactError, in one sentence, for what can't be a repository's name."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ArtifactError(
            f"{repo_id!r} can't be a repository's name ({' '.join(str(error).split())[:120]}). "
            "Give OWNER/NAME."
        ) from error


def _render(facts: Facts, *, repo_id: str | None, verified: Verified | None, adapter_only: bool) -> Card:
    facts = _fitting(facts)
    name = repo_id.split("/")[-1] if repo_id else f"tweettune-{facts.at('recipe', 'name') or 'model'}"
    data = metadata(facts, name=name, adapter_only=adapter_only)
    files = {**_pictures(facts), **eval_results(facts, repo_id=repo_id)}
    values = _values(facts, files, repo_id=repo_id, adapter_only=adapter_only)
    stamp = verified and Stamp(
        verified.commit, verified.n_texts, verified.largest_difference, verified.onnx_equal
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATES / "model_card.md"),
        name=text(plain(name, limit=96)),
        stamp=stamp,
        repo_id=repo_id,
        **values,
    )
    body = re.sub(r"\n{3,}", "\n\n", str(card)).rstrip() + "\n\n"
    return Card(f"{body}<!-- Written by TweetTune, sum {_sum(body)} -->\n", files)


def _fitting(facts: Facts) -> Facts:
    """Leave out scores of other labels than the model's: they would be told under wrong names."""
    measured = facts.evaluation.get("labels")
    return without_scores(facts) if measured and tuple(measured) != facts.labels else facts


def _pictures(facts: Facts) -> dict[str, bytes]:
    evaluation, found = facts.evaluation, {}
    matrix, bins = evaluation.get("confusion_matrix"), evaluation.get("calibration")
    if matrix and len(matrix) == len(facts.labels):
        found[CONFUSION] = draw_confusion(matrix, facts.labels)
    if bins:
        base = (evaluation.get("base") or {}).get("calibration") or ()
        found[CALIBRATION] = draw_calibration(bins, base)
    if facts.history:
        found[CURVES] = draw_curves(facts.history)
    elif facts.drawn_curves:
        found[CURVES] = facts.drawn_curves
    return found


def _width(png: bytes) -> int:
    """Return the width to show a picture at: half of its pixels, since it is drawn for dense screens."""
    return int.from_bytes(png[16:20], "big") // 2


def _values(
    facts: Facts, files: dict[str, bytes], *, repo_id: str | None, adapter_only: bool
) -> dict[str, Any]:
    """Return what the template is filled with: Markdown of ours, or data that has been escaped."""
    source = facts.at("data", "source") or {}
    energy = estimated_energy(facts)
    return {
        "summary": what_it_is(facts),
        "headline": headline(facts),
        "snippets": snippets(facts, repo_id=repo_id, adapter_only=adapter_only),
        "adapter_only": adapter_only,
        "split": text(facts.evaluation.get("split") or "test"),
        "data_name": data_link(facts),
        "results": results_table(facts),
        "bag": bag_sentence(facts),
        "verdicts": verdicts(facts),
        "classes": class_table(facts),
        "widths": {name: _width(content) for name, content in files.items() if name.endswith(".png")},
        "confusion": CONFUSION if CONFUSION in files else "",
        "confusion_table": confusion_table(facts),
        "calibration": CALIBRATION if CALIBRATION in files else "",
        "calibration_sentence": calibration_sentence(facts),
        "data_table": data_table(facts),
        "data_sentences": data_sentences(facts),
        "data_kind": source.get("kind", ""),
        "leaks": leak_sentences(facts),
        "training": training_table(facts),
        "curves": CURVES if CURVES in files else "",
        "curve_sentence": curve_sentence(facts),
        "energy": energy.sentence if energy else "",
        "no_energy": why_no_energy(facts) if not energy else "",
        "onnx": ""
        if adapter_only
        else " ".join(
            text(at(facts.parity, *path, "why") or "", limit=500) for path in ((), ("standard",))
        ).strip(),
        "recipe": recipe_block(facts),
        "examples": examples_tables(facts),
        "examples_sentence": examples_sentence(facts),
        "swaps": swaps_sentences(facts),
        "swapped": SWAPS.format("…"),
        "language": language(facts),
        "licence": licence(facts),
        "base": base_link(facts) if facts.base_name else "",
        "max_length": facts.max_length or "",
        "missing": missing(facts, files),
    }
