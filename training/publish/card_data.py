"""The metadata of a model card: the YAML that the Hub reads, and the files in `.eval_results/`.

    metadata(facts, name="tweets", repo_id="ada/tweets", adapter_only=False).to_yaml()
    eval_results(facts, repo_id="ada/tweets")        # {".eval_results/mteb--….yaml": b"…"}, or {}

Follows the Hub's specification (hub-docs: modelcard.md, eval_results.yaml). What is not known is left out: a
licence, a language or a data set is never guessed. Knows nothing about the card's text.
"""

import re
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # not in its __all__

from training.publish.card_energy import Energy, estimate, known_card
from training.publish.card_examples import EXAMPLES, expected_label
from training.publish.card_facts import Facts, at
from training.publish.markdown import plain

LICENCES = {"openai-community/gpt2": "mit", "HuggingFaceTB/SmolLM2": "apache-2.0"}
"""Licences of the bases that this project knows, by the beginning of their names."""
ENGLISH_DATA = ("mteb/tweet_sentiment_extraction", "tweet_eval", "cardiffnlp/tweet_eval")
_METRICS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("accuracy", "accuracy", "Accuracy", {}),
    ("f1", "macro_f1", "Macro F1", {"average": "macro"}),
    ("recall", "macro_recall", "Macro recall", {"average": "macro"}),
)
_WIDGET_GROUPS = ("plain", "negation", "emoji", "irony")


def licence(facts: Facts) -> str | None:
    """Return the licence that the base's own asks for, None where it isn't known."""
    for start, name in LICENCES.items():
        if facts.base_name.startswith(start):
            return name
    return None


def language(facts: Facts) -> str | None:
    """Return the language of the training data, None where it isn't known."""
    source = facts.at("data", "source") or {}
    known = source.get("kind") == "embedded" or source.get("name") in ENGLISH_DATA
    return "en" if known else None


def metadata(facts: Facts, *, name: str, adapter_only: bool = False) -> ModelCardData:
    """Return the card's metadata. `name` goes to the model-index."""
    sentiment = expected_label("positive", facts.labels) is not None
    tags = {
        "tweettune": True,
        "sentiment-analysis": sentiment,
        "lora": facts.has_adapter,
        "onnx": bool(facts.onnx_files) and not adapter_only,
    }
    results = _results(facts)
    more: dict[str, Any] = {"co2_eq_emissions": _emissions(facts)}
    return ModelCardData(
        language=language(facts),
        license=licence(facts),
        library_name="peft" if adapter_only else "transformers",
        pipeline_tag="text-classification",
        base_model=facts.base_id,
        base_model_relation=("adapter" if adapter_only else "finetune") if facts.base_id else None,
        datasets=[facts.dataset_id] if facts.dataset_id else None,
        metrics=[metric for metric, *_ in _METRICS] if results else None,
        tags=[tag for tag, fits in tags.items() if fits],
        widget=_widget(),
        model_name=plain(name, limit=96) if results else None,
        eval_results=results or None,
        **{key: value for key, value in more.items() if value is not None},
    )


def _widget() -> list[dict[str, str]]:
    first: dict[str, str] = {}
    for example in EXAMPLES:
        first.setdefault(example.group, example.text)
    return [
        {"example_title": group.capitalize(), "text": first[group]}
        for group in _WIDGET_GROUPS
        if group in first
    ]


def _results(facts: Facts) -> list[EvalResult]:
    evaluation, source = facts.evaluation, facts.at("data", "source") or {}
    name = plain(source.get("name") or "unknown data", limit=96)
    kind = facts.dataset_id or re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unknown"
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=kind,
            dataset_name=name,
            dataset_config=facts.dataset_config,
            dataset_split=evaluation.get("split"),
            dataset_revision=source.get("revision"),
            metric_type=metric,
            metric_name=title,
            metric_value=round(float(value), 4),
            metric_args=arguments or None,
        )
        for metric, key, title, arguments in _METRICS
        if (value := at(evaluation, key, "value")) is not None
    ]


def _emissions(facts: Facts) -> dict[str, Any] | None:
    energy = estimated_energy(facts)
    if energy is None:
        return None
    machine = facts.at("machine") or {}
    return {
        "emissions": round(energy.grams_co2, 3),
        "source": f"estimated from the run's seconds, cores{', graphics card' if energy.card else ''} and "
        "memory; the card states the method",
        "training_type": "fine-tuning",
        "hardware_used": plain(
            f"{machine['cores']} cores of {machine.get('processor') or 'a CPU'}"
            f"{f', one {energy.card}' if energy.card else ''}"
        ),
    }


def estimated_energy(facts: Facts) -> Energy | None:
    """Return what the run took, None where its time, machine or graphics card isn't known."""
    seconds, machine = facts.seconds, facts.at("machine") or {}
    card = known_card(str(machine.get("gpu") or ""))
    if seconds is None or not machine.get("cores") or (machine.get("gpu") and not card):
        return None
    memory = float(machine.get("memory_gb") or 0)
    return estimate(seconds=seconds, cores=int(machine["cores"]), memory_gb=memory, card=card)


def eval_results(facts: Facts, *, repo_id: str | None) -> dict[str, bytes]:
    """Return the file of `.eval_results/`, by its path, with the accuracy on the data set's test split.

    The format names a data set of the Hub, so data of other places has none; its scores stand in the
    model-index. It is shown on a leaderboard where that data set is a registered benchmark.
    """
    value, source = at(facts.evaluation, "accuracy"), facts.at("data", "source") or {}
    if not facts.dataset_id or not value:
        return {}
    interval = f"{100 * value['low']:.1f} to {100 * value['high']:.1f}"
    split, n = facts.evaluation.get("split", "test"), facts.evaluation.get("n", 0)
    entry = EvalResultEntry(
        dataset_id=facts.dataset_id,
        task_id=facts.dataset_config or "default",
        value=round(float(value["value"]), 4),
        dataset_revision=source.get("revision"),
        source_url=f"https://huggingface.co/{repo_id}/blob/main/evaluation.json" if repo_id else None,
        source_name="evaluation.json" if repo_id else None,
        notes=f"accuracy on {n} rows of the {split} split, 95 % interval {interval} percent",
    )
    path = f".eval_results/{facts.dataset_id.replace('/', '--')}.yaml"
    return {path: yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False).encode()}
