"""The model card: rendered from an artifact's records, and never by hand.

    write_card(artifact, run=run.path)                          # README.md and assets/ beside the weights
    card = render_card(artifact, repo_id="ada/tweets", verified=verified)
    card.text, card.files                                       # what a push sends

The prose and the code of the card are in .huggingface/model_card.md; `facts` is what it may say, `text` its
tables and sentences, `pictures` its charts. The same artifact gives the same card, byte for byte: nothing is
taken from the clock or the network.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from inference.artifact import ADAPTER, ONNX_FOLDER
from inference.common.text import one_line
from inference.engine.parity import FLOAT32, INT8, STANDARD
from training.publish.card import metadata, text
from training.publish.card.examples import SWAPS
from training.publish.card.facts import ASSETS, CALIBRATION, CONFUSION, CURVES, CardFacts, read_facts
from training.publish.card.markdown import fill
from training.publish.card.pictures import calibration_picture, confusion_picture, curves_picture
from training.publish.rights import check_name
from training.publish.verify import Verified

_SEAL = re.compile(r"<!-- Written by TweetTune, sum ([0-9a-f]{16}) -->\n\Z")


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
    card = render_card(artifact, run=run)
    (artifact / ASSETS).mkdir(exist_ok=True)
    for name, content in card.files.items():
        if name.startswith(ASSETS):
            (artifact / name).write_bytes(content)
    (artifact / "README.md").write_text(card.text, encoding="utf-8")


def render_card(
    artifact: Path,
    *,
    run: Path | None = None,
    repo_id: str | None = None,
    verified: Verified | None = None,
    adapter_only: bool = False,
) -> Card:
    """Return the card of an artifact as a repository shows it.

    `repo_id` is filled into code and metadata; `adapter_only`: the repository holds the LoRA weights alone,
    at its root. Raises ArtifactError for no model or a torn record, PublishError for an impossible name.
    """
    if repo_id is not None:
        check_name(repo_id)
    facts = read_facts(artifact, run=run)
    name = one_line(
        repo_id.split("/")[-1] if repo_id else f"tweettune-{facts.recipe.name or 'model'}", longest=96
    )
    pictures = _pictures(facts)
    choice = INT8 if facts.parity.choice == "int8" else FLOAT32
    body = fill(
        "model_card.md",
        card_data=metadata.model_metadata(facts, name=name, adapter_only=adapter_only).to_yaml().strip(),
        name=name,
        facts=facts,
        text=text,
        repo_id=repo_id,
        where=repo_id or ".",
        verified=verified,
        adapter_only=adapter_only,
        adapter_folder="" if adapter_only else ADAPTER,
        onnx_folder=ONNX_FOLDER,
        onnx_file=choice if choice in facts.onnx_files else next(iter(facts.onnx_files), ""),
        standard=STANDARD if STANDARD in facts.onnx_files else "",
        pictures={path: _width(content) for path, content in pictures.items()},
        confusion=CONFUSION,
        calibration=CALIBRATION,
        curves=CURVES,
        language=metadata.language(facts),
        licence=metadata.licence(facts),
        swapped=SWAPS.format("…"),
    )
    body += "\n"
    files = {**pictures, **metadata.eval_results(facts, repo_id=repo_id)}
    return Card(f"{body}<!-- Written by TweetTune, sum {_sum(body)} -->\n", files)


def is_untouched(card: str) -> bool:
    """Whether a card is, to the letter, one that TweetTune has written: its last line carries its sum."""
    found = _SEAL.search(card)
    return found is not None and _sum(card[: found.start()]) == found[1]


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pictures(facts: CardFacts) -> dict[str, bytes]:
    tuned, base, found = facts.tuned_scores, facts.base_scores, {}
    if matrix := text.matrix_of(facts):
        found[CONFUSION] = confusion_picture(matrix, facts.labels)
    if tuned and tuned.calibration:
        found[CALIBRATION] = calibration_picture(tuned.calibration, base.calibration if base else ())
    if facts.history:
        found[CURVES] = curves_picture(facts.history.loss, facts.history.validation)
    elif facts.drawn_curves:
        found[CURVES] = facts.drawn_curves
    return found


def _width(png: bytes) -> int:
    """Return the width to show a picture at: half of its pixels, since it is drawn for dense screens."""
    return int.from_bytes(png[16:20], "big") // 2
