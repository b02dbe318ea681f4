"""The Trainer's input: labelled rows as token ids, or as the trunk's output states.

    rows = encoded_rows(tokenizer, dataset)                  # -> EncodedRows
    cached = cache_trunk(classifier, rows, layers=20, path=run / "trunk-train")
    cached.collate([cached[0], cached[1]])                           # -> what the model takes

The cache lies on disk as float32 (exact, about 60 kB a tweet for a hidden size of 576) and is mapped into
memory, so all the tweets of a data set fit on a small machine; a resumed run finds it again.
Knows nothing about the model's head or about training.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict

import datasets
import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from inference.classifier import Progress, budgeted_batches, cutting, encode, longest_first, no_progress
from inference.common.store import write_json
from inference.engine.precision import FLOAT32, Precision
from inference.engine.pytorch import TorchEngine
from inference.trunk import backbone_of, pad_ids, pad_states, trunk_batch


class TrainerRow(TypedDict):
    """A labelled text: token ids, or their states after the trunk, shape (tokens, hidden)."""

    labels: int
    targets: NotRequired[Tensor]
    """Target probabilities in place of the label, shape (labels,)."""
    token_ids: NotRequired[list[int]]
    state: NotRequired[Tensor]


@dataclass(frozen=True)
class EncodedRows(Dataset[TrainerRow]):
    """Token ids and labels."""

    token_ids: list[list[int]]
    labels: list[int]
    truncated: int
    pad_id: int
    pad_to: int = 0
    """Tokens every text is padded to; 0: the longest of its batch."""
    targets: Tensor | None = None
    """Targets in place of the labels, shape (rows, labels)."""

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def lengths(self) -> list[int]:
        return [len(ids) for ids in self.token_ids]

    @property
    def padded_tokens(self) -> int:
        """Tokens in all, pads included where every text is padded to one length."""
        return self.pad_to * len(self) if self.pad_to else sum(self.lengths)

    def __getitem__(self, row: int) -> TrainerRow:
        return {"token_ids": self.token_ids[row], **_taught(self, row)}

    def collate(self, items: Sequence[TrainerRow]) -> dict[str, Tensor]:
        """Return one batch: right-padded ids, mask and labels."""
        batch = pad_ids([item["token_ids"] for item in items], self.pad_id, pad_to=self.pad_to)
        return {**batch, **_answers(items)}

    def take(self, rows: Sequence[int]) -> "EncodedRows":
        return replace(
            self,
            token_ids=[self.token_ids[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            targets=None if self.targets is None else self.targets[list(rows)],
        )

    def sorted_by_length(self) -> "EncodedRows":
        """Return the rows with the longest first: for a validation split, whose order does not matter."""
        return self.take(longest_first(self.lengths))


@dataclass(frozen=True)
class TrunkRows(Dataset[TrainerRow]):
    """Trunk states and labels, in the order of the rows they were computed from."""

    states: np.memmap[tuple[int, int], np.dtype[np.float32]]
    """All rows' tokens after each other, shape (tokens, hidden)."""
    starts: list[int]
    """Where each row begins."""
    lengths: list[int]
    """Tokens of each row."""
    labels: list[int]
    targets: Tensor | None = None
    """Targets in place of the labels, shape (rows, labels)."""

    def __len__(self) -> int:
        return len(self.labels)

    def state(self, row: int) -> Tensor:
        start = self.starts[row]
        return torch.from_numpy(np.array(self.states[start : start + self.lengths[row]]))

    def take(self, rows: Sequence[int]) -> "TrunkRows":
        """Return some of the rows; their states stay where they are."""
        starts, lengths, labels = (
            [column[row] for row in rows] for column in (self.starts, self.lengths, self.labels)
        )
        targets = None if self.targets is None else self.targets[list(rows)]
        return TrunkRows(self.states, starts, lengths, labels, targets)

    def __getitem__(self, row: int) -> TrainerRow:
        return {"state": self.state(row), **_taught(self, row)}

    def collate(self, items: Sequence[TrainerRow]) -> dict[str, Tensor]:
        """Return one batch: left-padded states, mask and labels."""
        batch = pad_states([item["state"] for item in items])
        return {**batch, **_answers(items)}


TrainerRows = EncodedRows | TrunkRows


def taught(rows: TrainerRows, targets: Tensor) -> TrainerRows:
    """Return rows with target probabilities, shape (rows, labels); their labels are the likeliest."""
    return replace(rows, targets=targets, labels=targets.argmax(1).tolist())


def sharpened(answers: Tensor, temperature: float) -> Tensor:
    """Return probabilities, shape (rows, labels), as they are at another temperature: surer below 1."""
    return torch.softmax(answers.clamp(min=1e-9).log() / temperature, dim=1)


def _taught(rows: TrainerRows, row: int) -> TrainerRow:
    found: TrainerRow = {"labels": rows.labels[row]}
    return found if rows.targets is None else {**found, "targets": rows.targets[row]}


def _answers(items: Sequence[TrainerRow]) -> dict[str, Tensor]:
    found = {"labels": torch.tensor([item["labels"] for item in items])}
    if "targets" in items[0]:
        found["targets"] = torch.stack([item["targets"] for item in items])
    return found


def encoded_rows(
    tokenizer: PreTrainedTokenizerFast, dataset: datasets.Dataset, *, padding: str = "longest"
) -> EncodedRows:
    """Tokenize a split (columns text and label) as the Classifier does; texts too long are cut and counted.

    `padding`: "longest" of the batch, or "max": each text to the tokenizer's limit.
    """
    limit, pad_id = tokenizer.model_max_length, tokenizer.pad_token_id
    encoded = encode(cutting(tokenizer.backend_tokenizer, limit), dataset["text"][:], pad_id=pad_id)
    return EncodedRows(
        encoded.token_ids,
        [int(label) for label in dataset["label"]],
        sum(encoded.truncated),
        pad_id,
        limit if padding == "max" else 0,
    )


def cache_trunk(
    model: PreTrainedModel,
    rows: EncodedRows,
    *,
    layers: int,
    path: Path,
    progress: Progress = no_progress,
    precision: Precision = FLOAT32,
) -> TrunkRows:
    """Compute the trunk's states of all rows into `path`.f32, or take them from there when they are whole.

    Raises OSError when the disk is full.
    """
    hidden = int(model.config.hidden_size)
    starts = [0, *np.cumsum(rows.lengths).tolist()]
    ids = zlib.crc32(np.concatenate(rows.token_ids).astype(np.int64).tobytes())
    key = {"layers": layers, "hidden": hidden, "starts": starts, "ids": ids}
    if precision.name != "float32":
        key["precision"] = precision.name
    file, record = path.with_suffix(".f32"), path.with_suffix(".json")
    bytes_a_token = 4 * hidden
    if not _whole(record, key, file, starts[-1] * bytes_a_token):
        record.unlink(missing_ok=True)
        done = 0
        with file.open("wb") as out:  # not a writable map: that would end by SIGBUS on a full disk
            for batch in budgeted_batches(rows.lengths, tokens=TorchEngine.batch_tokens):
                with precision.on(model):
                    computed = trunk_batch(model, [rows.token_ids[row] for row in batch], layers)
                for row, state in zip(batch, computed, strict=True):
                    out.seek(starts[row] * bytes_a_token)
                    out.write(state.float().cpu().numpy().tobytes())
                done += sum(len(rows.token_ids[row]) for row in batch)
                progress(done, starts[-1])
        write_json(record, key)
    progress(starts[-1], starts[-1])
    states = np.memmap(file, mode="r", dtype=np.float32, shape=(starts[-1], hidden))
    return TrunkRows(states, starts[:-1], rows.lengths, rows.labels)


def _whole(record: Path, key: dict[str, object], file: Path, size: int) -> bool:
    try:
        return bool(json.loads(record.read_text(encoding="utf-8")) == key) and file.stat().st_size == size
    except (OSError, ValueError):
        return False


@contextmanager
def noisy_states(model: PreTrainedModel | PeftModel, share: float) -> Iterator[None]:
    """Within it, a model that trains on trunk states (`inputs_embeds`) sees them with noise: for few labels.

    The trunk gives every epoch the very same states, and a top that sees a thousand texts again and again
    learns them by heart. Uniform noise, as a share of each token's own mean magnitude, is drawn anew in each
    step. The idea is NEFTune's (Jain et al. 2023, arXiv 2310.05914), which adds it to the embeddings; here it
    enters above the trunk. In evaluation mode nothing is added.
    """

    def add(
        backbone: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]] | None:
        states = kwargs.get("inputs_embeds")
        if not isinstance(states, Tensor) or not backbone.training:
            return None
        reach = share * states.abs().mean(-1, keepdim=True)  # a pad is all zeros, and stays so
        return args, {**kwargs, "inputs_embeds": states + (2 * torch.rand_like(states) - 1) * reach}

    hook = backbone_of(model).register_forward_pre_hook(add, with_kwargs=True) if share else None
    try:
        yield
    finally:
        if hook:
            hook.remove()
