"""The metadata of a model card: the YAML that the Hub reads, and the files in `.eval_results/`.

    model_metadata(facts, name="tweets", adapter_only=False).to_yaml()
    eval_results(facts, repo_id="ada/tweets")        # {".eval_results/mteb--….yaml": b"…"}, or {}

Follows the Hub's specification (hub-docs: modelcard.md, eval_results.yaml). What is not known is left out: a
licence, a language or a data set is never guessed.
"""

import re

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # not in its __all__

from inference.common.text import one_line
from training.publish.card.examples import EXAMPLES, expected_label
from training.publish.card.facts import CardFacts

LICENCES = {"openai-community/gpt2": "mit", "HuggingFaceTB/SmolLM2": "apache-2.0"}
"""Licences of the bases that this project knows, by the beginning of their names."""
ENGLISH_DATA = ("mteb/tweet_sentiment_extraction", "tweet_eval", "cardiffnlp/tweet_eval")
_METRICS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("accuracy", "accuracy", "Accuracy", {}),
    ("f1", "macro_f1", "Macro F1", {"average": "macro"}),
    ("recall", "macro_recall", "Macro recall", {"average": "macro"}),
)
_WIDGET_GROUPS = ("plain", "negation", "emoji", "irony")


def licence(facts: CardFacts) -> str | None:
    """Return the licence that the base's own asks for, None where it isn't known."""
    return next((name for start, name in LICENCES.items() if facts.base.name.startswith(start)), None)


def language(facts: CardFacts) -> str | None:
    """Return the language of the training data, None where it isn't known."""
    source = facts.data.source
    return "en" if source.kind == "embedded" or source.name in ENGLISH_DATA else None


def model_metadata(facts: CardFacts, *, name: str, adapter_only: bool = False) -> ModelCardData:
    """Return the card's metadata. `name` goes to the model-index."""
    tags = {
        "tweettune": True,
        "sentiment-analysis": expected_label("positive", facts.labels) is not None,
        "lora": facts.has_adapter,
        "onnx": bool(facts.onnx_files) and not adapter_only,
    }
    first = {example.group: example.text for example in reversed(EXAMPLES)}
    results = _results(facts)
    return ModelCardData(
        language=language(facts),
        license=licence(facts),
        library_name="peft" if adapter_only else "transformers",
        pipeline_tag="text-classification",
        base_model=facts.base.hub_id,
        base_model_relation=("adapter" if adapter_only else "finetune") if facts.base.hub_id else None,
        datasets=[facts.data.source.hub_id] if facts.data.source.hub_id else None,
        metrics=[metric for metric, *_ in _METRICS] if results else None,
        tags=[tag for tag, fits in tags.items() if fits],
        widget=[{"example_title": group.capitalize(), "text": first[group]} for group in _WIDGET_GROUPS],
        model_name=one_line(name, longest=96) if results else None,
        eval_results=results or None,
    )


def _results(facts: CardFacts) -> list[EvalResult]:
    scores, source = facts.tuned_scores, facts.data.source
    if not facts.evaluation or not scores:
        return []
    name = one_line(source.name or "unknown data", longest=96)
    kind = source.hub_id or re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unknown"
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=kind,
            dataset_name=name,
            dataset_config=source.config,
            dataset_split=facts.evaluation.split,
            dataset_revision=source.revision or None,
            metric_type=metric,
            metric_name=title,
            metric_value=round(getattr(scores, key).value, 4),
            metric_args=arguments or None,
        )
        for metric, key, title, arguments in _METRICS
    ]


def eval_results(facts: CardFacts, *, repo_id: str | None) -> dict[str, bytes]:
    """Return the file of `.eval_results/`, by its path, with the accuracy on the data set's test split.

    The format names a data set of the Hub, so data of other places has none; its scores stand in the
    model-index. It is shown on a leaderboard where that data set is a registered benchmark.
    """
    source, scores, evaluation = facts.data.source, facts.tuned_scores, facts.evaluation
    if not source.hub_id or not scores or not evaluation:
        return {}
    accuracy = scores.accuracy
    interval = f"95 % interval {100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} percent"
    entry = EvalResultEntry(
        dataset_id=source.hub_id,
        task_id=source.config or "default",
        value=round(accuracy.value, 4),
        dataset_revision=source.revision or None,
        source_url=f"https://huggingface.co/{repo_id}/blob/main/evaluation.json" if repo_id else None,
        source_name="evaluation.json" if repo_id else None,
        notes=f"accuracy on {evaluation.n} rows of the {evaluation.split} split, {interval}",
    )
    path = f".eval_results/{source.hub_id.replace('/', '--')}.yaml"
    return {path: yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False).encode()}
