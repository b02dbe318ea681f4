"""Adapt a base to a domain: its training as a language model goes on, on texts without labels.

    adapt(run, log, stop)                    # the work of a run of the kind "adapt"
    Adapted.read(run.path).sentences()       # when it is finished

    runs/<id>/artifact/              the adapted base: a plain Transformers folder, for `train --base`
              checkpoints/           to resume from
              adapt.json             bits per character before and after, and how both models go on

The texts stand after each other in blocks of one length, an end of text after each. That end is learnt,
though it pads the last block too: what is not learnt is marked by its place, not by its token. No held-out
row of the labelled data set is learnt, nor a duplicate of one; some texts of the corpus are held out as well.
"""

import itertools
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer

from inference.common.errors import DataError
from inference.common.store import write_bytes, write_json
from inference.trunk import pad_ids
from training.data.splits import held_out_size, remove_duplicates
from training.data.unlabelled import UnlabelledTexts, read_unlabelled
from training.evaluate.perplexity import IGNORED, bits_of, compared, end_of_text, general_texts, ids_of
from training.fit.phases import TRAIN_COST
from training.fit.prepare import load_data, precision_of
from training.fit.run import Stopping
from training.fit.trainer import Curves, arguments, last_checkpoint
from training.model.bases import ADAPTED, check_no_classifier, resolve_base
from training.model.classifier import LanguageModel, freeze_trunk, load_language_model, trunk_depth
from training.recipes import Recipe
from training.runs.log import RunLog
from training.runs.process import Cancelled, check_room
from training.runs.run import Run
from training.studies.adapt_order import LEAST_TEXTS, Adapted, AdaptOrder, Generation
from training.studies.pictures import adapted_picture

GENERATIONS, PROMPT_TOKENS, NEW_TOKENS = 5, 5, 32


@dataclass(frozen=True)
class Blocks(Dataset[list[int]]):
    """Texts packed into blocks of one length; the last one may be shorter."""

    blocks: Sequence[list[int]]
    end: int

    @classmethod
    def packed(cls, texts: Sequence[list[int]], *, length: int, end: int) -> "Blocks":
        """Put the token ids of texts after each other, `end` before the first and after each of them."""
        ids = [end, *(token for text in texts for token in [*text, end])]
        return cls([ids[at : at + length] for at in range(0, len(ids) - 1, length)], end)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.blocks))

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, row: int) -> list[int]:
        return self.blocks[row]

    def collate(self, items: Sequence[list[int]]) -> dict[str, Tensor]:
        """Return one batch of shape (blocks, tokens): what fills a short block up is no label."""
        batch = pad_ids(items, self.end)
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)}


def adapt(run: Run, log: RunLog, stop: Stopping) -> None:
    """Take an adaptation from its order to its base. Killed at any moment, it can be called again."""
    if (run.path / Adapted.FILE).is_file():  # killed while it tidied up
        return _tidy(run)
    order = AdaptOrder.from_json(run.order)
    recipe = order.settings
    with log.phase("prepare"):
        general = general_texts(order.general)
        learnt, held_out = _texts(run, log, order, recipe)
        lm = _base(recipe, run, log)
        packed = [_packed(lm, texts, recipe) for texts in (learnt, held_out)]
        started = time.perf_counter()
        general_before = bits_of(lm.model, lm.tokenizer, general, progress=log.progress)
        each = (time.perf_counter() - started) / sum(map(len, ids_of(lm.tokenizer, general)))
        forward = recipe.epochs * (packed[0].tokens * TRAIN_COST["full"] + packed[1].tokens)
        evaluation_s = each * packed[1].tokens
        log.plan({"before": evaluation_s, "train": each * forward, "after": evaluation_s})
    with log.phase("before"):
        domain_before = bits_of(lm.model, lm.tokenizer, held_out, progress=log.progress)
        before = _generations(lm, held_out, recipe.seed)
    with log.phase("train"):
        stop.gently = True
        whole = _train(lm, packed, recipe, run.path / "checkpoints", log=log, stop=stop)
        stop.gently = False
        if not whole or stop.asked:
            raise Cancelled
    with log.phase("after"):
        domain_after = bits_of(lm.model, lm.tokenizer, held_out, progress=log.progress)
        after = _generations(lm, held_out, recipe.seed)
        found = Adapted(
            base=lm.base.name,
            texts=len(learnt),
            tokens=packed[0].tokens,
            domain=compared(domain_before, domain_after, held_out),
            general=compared(general_before, bits_of(lm.model, lm.tokenizer, general), general),
            generations=tuple(
                Generation(prompt=prompt, before=one, after=other)
                for (prompt, one), (_, other) in zip(before, after, strict=True)
            ),
        )
    _save(lm, run, found)


def _base(recipe: Recipe, run: Run, log: RunLog) -> LanguageModel:
    """Load the base. Raises BaseError for a classifier, and NotEnoughRoom."""
    if unchecked := check_room(recipe, run.path):
        log.note(unchecked)
    base = resolve_base(recipe.base)
    log.note(f"Base: {base.name} ({base.reason}).")
    check_no_classifier(base)
    return load_language_model(base)


def _packed(lm: LanguageModel, texts: Sequence[str], recipe: Recipe) -> Blocks:
    limit = getattr(lm.model.config, "max_position_embeddings", None) or recipe.max_length
    ids, end = ids_of(lm.tokenizer, texts), end_of_text(lm.tokenizer)
    return Blocks.packed(ids, length=min(recipe.max_length, limit), end=end)


def _texts(run: Run, log: RunLog, order: AdaptOrder, recipe: Recipe) -> tuple[list[str], list[str]]:
    """Return the corpus' texts to learn from and those held out, after the leak gate."""
    path = Path(order.corpus)
    before = next(iter(run.events("data")), None)
    data = load_data(recipe, before)
    known = replace(data.splits, train=data.splits.train.select([]))  # training texts may be learnt from
    corpus = read_unlabelled(recipe.data, known, str(path.absolute()), text_column=order.text_column)
    if before and before.get("corpus", {}).get("sha256") != corpus.sha256:
        raise DataError(f"{path.name} has changed since the run began. Put it back, or start a new run.")
    log.event("data", **{**data.to_json(), "sentences": [corpus.sentence]}, corpus=corpus.to_json())
    return _held_out(corpus, recipe, log)


def _held_out(corpus: UnlabelledTexts, recipe: Recipe, log: RunLog) -> tuple[list[str], list[str]]:
    texts = corpus.texts
    if len(texts) < LEAST_TEXTS:
        raise DataError(
            f"{corpus.name} has {len(texts)} texts that can be learnt from, and an adaptation needs "
            f"{LEAST_TEXTS} or more. Give more text, a text a row."
        )
    drawn = np.random.RandomState(recipe.seed).permutation(len(texts))
    held_out = sorted(drawn[: held_out_size(len(texts))])
    rest = sorted(set(range(len(texts))) - set(held_out))
    parts = {
        "train": [texts[row] for row in rest],
        "validation": [],
        "test": [texts[row] for row in held_out],
    }
    kept = remove_duplicates(parts, mode=recipe.leak_gate).kept["train"]
    if len(kept) < len(rest):
        log.note(f"Near duplicates of held-out texts, which are not learnt: {len(rest) - len(kept):,}.")
    log.note(f"{len(kept):,} texts are learnt from, {len(held_out):,} held out.")
    return [parts["train"][row] for row in kept], parts["test"]


def _train(
    lm: LanguageModel,
    packed: Sequence[Blocks],
    recipe: Recipe,
    checkpoints: Path,
    *,
    log: RunLog,
    stop: Stopping,
) -> bool:
    """Go on with the language model's training; False when it was stopped midway."""
    train, held_out = packed
    freeze_trunk(lm.model, trunk_depth(recipe, lm.model.config))
    precision = precision_of(
        recipe, lm.model, tokens=min(recipe.batch_size, len(train)) * (train.tokens // len(train))
    )
    log.note(f"Computed in {precision.name}: {precision.reason}")
    steps = math.ceil(len(train) / (recipe.batch_size * recipe.gradient_accumulation_steps))
    every = max(steps // recipe.evals_per_epoch, 1)
    curves, cached = Curves(log, lambda: stop.asked), lm.model.config.use_cache
    trainer = Trainer(
        model=lm.model,
        args=arguments(recipe, checkpoints, every=every, best="loss", greater=False, precision=precision),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=train.collate,
        callbacks=[curves],
    )
    with precision.training():
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    lm.model.config.use_cache = cached  # the Trainer has switched it off, and the base is saved as it was
    trainer.accelerator.unwrap_model(lm.model, keep_fp32_wrapper=False)  # its forward casts no more
    return not curves.stopped


def _generations(lm: LanguageModel, held_out: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Return the first tokens of some held-out texts, and how a model goes on after them."""
    end, found = end_of_text(lm.tokenizer), []
    openings = (ids[:PROMPT_TOKENS] for ids in ids_of(lm.tokenizer, held_out) if len(ids) > PROMPT_TOKENS)
    for number, opening in enumerate(itertools.islice(openings, GENERATIONS)):
        ids = torch.tensor([[end, *opening]], device=lm.model.device)
        torch.manual_seed(seed + number)
        with torch.inference_mode():
            said = lm.model.eval().generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_p=0.9,
                max_new_tokens=NEW_TOKENS,
                eos_token_id=end,
                pad_token_id=end,
            )
        new = lm.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
        found.append((lm.tokenizer.decode(opening), new))
    return found


def _save(lm: LanguageModel, run: Run, found: Adapted) -> None:
    partial = run.path / "artifact.partial"
    shutil.rmtree(partial, ignore_errors=True)
    lm.model.save_pretrained(partial)
    lm.tokenizer.save_pretrained(partial)
    corpus = Path(run.order["corpus"]).name
    write_json(partial / ADAPTED, {"base": found.base, "corpus": corpus, "texts": found.texts})
    shutil.rmtree(run.artifact, ignore_errors=True)
    partial.rename(run.artifact)
    write_bytes(run.path / "adapt.png", adapted_picture(found))
    found.write(run.path)
    _tidy(run)


def _tidy(run: Run) -> None:
    shutil.rmtree(run.path / "checkpoints", ignore_errors=True)
