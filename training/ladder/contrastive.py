"""Pull the texts of one label together and push others apart, before a head is fitted: SetFit's idea.

    tuned = contrasted(prepared, recipe, report=report)        # adapters on, no head of its own
    states = FinalStates(torch_classifier(merged, tokenizer, name_or_path="x"), name="x")
    head = LinearHead.fit(states, texts, labels, names=names, validation=validation)

SetFit (Tunstall et al. 2022, arXiv 2209.11055) tunes a sentence encoder on pairs of texts. Here all pairs of
a batch take part at once (the supervised contrastive loss, Khosla et al. 2020, arXiv 2004.11362), what is
tuned are adapters above the frozen trunk, and nothing is downloaded. Batches are drawn by the recipe's seed.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from peft import PeftModel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from inference.trunk import headless, trunk_skipped
from training.fit.prepare import Prepared, Report
from training.fit.rows import TrainerRows, noisy_states
from training.model.classifier import add_lora, final_states
from training.recipes import Recipe

BATCH_SIZE = 32
TEMPERATURE = 0.1
EPOCHS = 4
FEW_EPOCHS, FEW = 12, 300
"""Fewer texts than `FEW` are seen more often."""
_AT_ONCE = 32


def epochs_for(count: int) -> int:
    """Return the number of epochs for so many texts."""
    return EPOCHS if count >= FEW else FEW_EPOCHS


def contrasted(prepared: Prepared, recipe: Recipe, *, report: Report) -> PeftModel:
    """Return the prepared base with adapters that were tuned on pairs; the epoch is chosen on validation.

    After each epoch a logistic regression is fitted to the training texts' states, and the adapters of the
    one that is right most often on the validation rows are kept. Nothing else can be trained from the same
    preparation afterwards. A batch in which no two texts share a label teaches nothing and is left out.
    """
    torch.manual_seed(recipe.seed)
    model = add_lora(prepared.untouched, recipe, prepared.trunk)
    rows, labels = prepared.train, torch.tensor(prepared.train.labels)
    epochs, order = epochs_for(len(rows)), torch.Generator().manual_seed(recipe.seed)
    trained = [weight for name, weight in model.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = epochs * math.ceil(len(rows) / BATCH_SIZE)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    best, kept = -1.0, [weight.detach().clone() for weight in trained]
    with ExitStack() as stack:
        stack.enter_context(headless(model.get_base_model()))
        stack.enter_context(prepared.precision.training())
        if prepared.trunk:
            stack.enter_context(trunk_skipped(model, prepared.trunk))
            stack.enter_context(noisy_states(model, recipe.state_noise))
        for epoch in range(epochs):
            model.train()
            batches = torch.split(torch.randperm(len(rows), generator=order), BATCH_SIZE)
            for step, batch in enumerate(batches):
                with prepared.precision.on(model):  # one a step: it keeps the weights that it has cast
                    states = model(**_inputs(rows, batch.tolist())).logits
                loss = contrastive_loss(states, labels[batch])
                if loss is not None:
                    torch.autograd.backward(loss)
                    nn.utils.clip_grad_norm_(trained, 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                decay.step()
                report.progress(epoch * len(batches) + step + 1, steps)
            model.eval()
            if (right := _right(model, prepared)) > best:
                best, kept = right, [weight.detach().clone() for weight in trained]
    with torch.no_grad():
        for weight, value in zip(trained, kept, strict=True):
            weight.copy_(value)
    return model


def contrastive_loss(states: Tensor, labels: Tensor) -> Tensor | None:
    """Return the supervised contrastive loss of states (texts, hidden); None where no label comes twice."""
    alike = labels[:, None] == labels
    alike.fill_diagonal_(fill_value=False)
    some = alike.any(1)
    if not some.any():
        return None
    directions = functional.normalize(states.float(), dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool)
    closeness = (directions @ directions.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    shares = closeness.log_softmax(1).masked_fill(~alike, 0.0)
    return -(shares.sum(1)[some] / alike.sum(1)[some]).mean()


def _right(model: PeftModel, prepared: Prepared) -> float:
    """Return the accuracy on the validation rows of a head that is fitted to the training rows' states."""
    learnt, held_out = (
        final_states(model.get_base_model(), _batches(rows), precision=prepared.precision).numpy()
        for rows in (prepared.train, prepared.validation)
    )
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    head.fit(learnt, prepared.train.labels)
    return float(head.score(held_out, prepared.validation.labels))


def _batches(rows: TrainerRows) -> Iterator[dict[str, Tensor]]:
    for at in range(0, len(rows), _AT_ONCE):
        yield _inputs(rows, range(at, min(at + _AT_ONCE, len(rows))))


def _inputs(rows: TrainerRows, numbers: Sequence[int]) -> dict[str, Tensor]:
    batch = rows.collate([rows[row] for row in numbers])
    return {name: value for name, value in batch.items() if name not in ("labels", "targets")}
