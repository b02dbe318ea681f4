"""Where a model comes from, as a card tells it: data, leak gate, recipe, time, versions.

    data_table(facts); leak_sentences(facts); recipe_block(facts)

Each returns "" or an empty list where its records are missing. No path of the machine that trained leaves:
a base and a data set are named, never located. Knows nothing about scores.
"""

import json
from collections.abc import Container, Mapping
from typing import Any

from inference.common.wording import in_words
from training.publish.card_facts import CALIBRATION, CURVES, Facts, at
from training.publish.markdown import code, table, text

MOST_NAMED = 8
_ROWS = {"used": "used", "kept": "after cleaning and leak gate", "read": "in the source"}
_NOT_TOLD = ("name", "description")  # said elsewhere
_LEAKS = (
    ("train/test", "training", "test"),
    ("train/validation", "training", "validation"),
    ("validation/test", "validation", "test"),
)


def what_it_is(facts: Facts) -> str:
    """Return one sentence on what the model does and where it comes from."""
    names = [f"**{text(label)}**" for label in facts.labels]
    if len(names) > MOST_NAMED:
        shown = f"{', '.join(names[:MOST_NAMED])} or one of {len(names) - MOST_NAMED} more labels"
    else:
        shown = " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
    parts = [f"Classifies short posts as {shown}."]
    if facts.base_name:
        parts.append(f"Fine-tuned from {base_link(facts)}")
        how = {"lora": "by LoRA", "full": "in full"}.get(str(facts.at("recipe", "method")), "")
        size = facts.at("sizes", "train")
        on = f"on {size:,} labelled texts of {data_link(facts)}" if size else ""
        time = f"in {in_words(facts.seconds)}" if facts.seconds else ""
        parts[-1] = " ".join(part for part in (parts[-1], how, on, time) if part) + "."
    return " ".join(parts)


def headline(facts: Facts) -> str:
    """Return the main result in one sentence: accuracy with interval and n, the base's, and the verdict."""
    score, n = facts.evaluation.get("accuracy"), facts.evaluation.get("n")
    if not score or not n:
        return ""
    base = at(facts.evaluation, "base", "accuracy")
    against = f"; the untouched base has {_share(base)}" if base else ""
    split = text(facts.evaluation.get("split") or "test")
    return f"Accuracy {_share(score, '95 % interval ')} on {n:,} rows of the locked {split} split{against}."


def _share(score: Mapping[str, float], name: str = "") -> str:
    value, low, high = (100 * score[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({name}{low:.1f} to {high:.1f})"


def bag_sentence(facts: Facts) -> str:
    """Say what the bag of words is, or why there is none."""
    record = facts.evaluation.get("bag_of_words") or {}
    if record.get("words"):
        return f"“Bag of words” is {text(record['words'])}; it took {in_words(record.get('seconds') or 0)}."
    if record.get("left_out"):
        return f"There is no bag of words: {text(record['left_out'])}."
    return ""


def why_no_energy(facts: Facts) -> str:
    """Say why there is no estimate of the energy."""
    if facts.at("machine", "gpu"):
        return "Not estimated: a graphics card took part, and nothing measured what it drew."
    return "Not estimated: the run's time or machine was not recorded."


def missing(facts: Facts, files: Container[str]) -> list[str]:
    """Name what this card can't tell, since the version that trained the model did not record it."""
    wanted = {
        "scores": facts.evaluation,
        "a bag of words on the same rows": facts.evaluation.get("bag_of_words"),
        "the calibration's bins": CALIBRATION in files,
        "the learning curves": CURVES in files,
        "answers to the sentences that show limits": facts.examples,
        "recipe, data and machine": facts.provenance,
    }
    return [name for name, there in wanted.items() if not there]


def base_link(facts: Facts) -> str:
    """Return the base's name, as a link where the Hub has it."""
    name = text(facts.base_name)
    return f"[{name}](https://huggingface.co/{facts.base_id})" if facts.base_id else name


def data_link(facts: Facts) -> str:
    """Return the data set's name, as a link where the Hub has it."""
    name = text((facts.at("data", "source") or {}).get("name") or "an unnamed data set")
    return f"[{name}](https://huggingface.co/datasets/{facts.dataset_id})" if facts.dataset_id else name


def data_table(facts: Facts) -> str:
    """Return what the data is and how many rows of it were used, by split and label."""
    source = facts.at("data", "source")
    if not source:
        return ""
    rows = [
        ["data set", data_link(facts)],
        ["licence", text(source.get("licence") or "not stated by the data")],
    ]
    if source.get("revision"):
        rows.append(["revision", code(source["revision"])])
    if source.get("sha256"):
        rows.append(["SHA-256", code(source["sha256"])])
    for split, counts in (facts.at("data", "rows") or {}).items():
        numbers = [f"{counts[key]:,} {words}" for key, words in _ROWS.items() if counts.get(key) is not None]
        shown = ", of ".join(numbers)
        balance = (facts.at("data", "class_balance", split)) or {}
        labels = ", ".join(f"{text(label)} {n:,}" for label, n in list(balance.items())[:20])
        rows.append([text(split), f"{shown} ({labels})" if labels else shown])
    return table(["", ""], rows, left=2)


def data_sentences(facts: Facts) -> list[str]:
    """Return what was dropped, mended or held out, in words, without the lines that the table has."""
    sentences = facts.at("data", "sentences") or []
    told = ("Data:", "Rows used:")
    return [text(one) for one in sentences if not str(one).startswith(told) and "exact twin" not in str(one)]


def leak_sentences(facts: Facts) -> list[str]:
    """Return how many rows the leak gate took out, by pair of splits."""
    removed = facts.at("data", "twins_removed")
    if not isinstance(removed, Mapping):
        return []
    return [
        f"{removed[key]:,} {source} rows with a twin in {other}"
        for key, source, other in _LEAKS
        if key in removed
    ]


def training_table(facts: Facts) -> str:
    """Return how it was trained and what that took."""
    recipe, told = facts.at("recipe") or {}, facts.at
    rows: list[tuple[str, Any]] = [
        ("recipe", recipe and text(recipe.get("name") or "unnamed")),
        ("method", _method(facts)),
        ("epochs, learning rate", _schedule(facts)),
        ("texts cut at their end", _cut(facts)),
        ("seed", told("seed")),
        ("time", facts.seconds and _time(facts)),
        ("machine", _machine(facts)),
        ("base revision", told("base", "revision") and code(told("base", "revision"))),
        ("versions", ", ".join(f"{text(name)} {text(v)}" for name, v in (told("versions") or {}).items())),
    ]
    shown = [[name, str(value)] for name, value in rows if value not in (None, "", {})]
    return table(["", ""], shown, left=2) if shown else ""


def _method(facts: Facts) -> str:
    recipe, trunk, depth = facts.at("recipe") or {}, facts.at("trunk_layers"), facts.at("depth")
    if not recipe.get("method"):
        return ""
    rank = f", rank {recipe['lora_r']}" if recipe.get("lora_r") else ""
    lora = f"LoRA{rank}" if recipe["method"] == "lora" else "all weights"
    if not depth:
        return lora
    where = f"on the upper {depth - (trunk or 0)} of {depth} layers" if trunk else f"on all {depth} layers"
    return f"{lora} {where}"


def _schedule(facts: Facts) -> str:
    recipe = facts.at("recipe") or {}
    if "epochs" not in recipe or "learning_rate" not in recipe:
        return ""
    batch = int(recipe.get("batch_size", 0)) * int(recipe.get("gradient_accumulation_steps", 1))
    return f"{recipe['epochs']:g}, {recipe['learning_rate']:g}" + (f", batches of {batch}" if batch else "")


def _cut(facts: Facts) -> str:
    cut, length = facts.at("truncated") or {}, facts.at("recipe", "max_length")
    test = facts.evaluation.get("truncated")
    counts = [f"{n:,} {name}" for name, n in (*cut.items(), ("test", test)) if n is not None]
    return f"{', '.join(counts)} (longer than {length} tokens)" if counts and length else ""


def _time(facts: Facts) -> str:
    parts = ", ".join(f"{text(name)} {in_words(s)}" for name, s in facts.at("duration_s").items())
    again = facts.history.starts if facts.history else 1
    since = f"; of the last of {again} starts, since the run was interrupted" if again > 1 else ""
    return f"{in_words(facts.seconds or 0)} ({parts}{since})"


def _machine(facts: Facts) -> str:
    machine = facts.at("machine") or {}
    if not machine.get("cores"):
        return ""
    gpu = f", {text(machine['gpu'])}" if machine.get("gpu") else ""
    memory = f", {machine['memory_gb']:g} GB" if machine.get("memory_gb") else ""
    processor = text(machine.get("processor") or machine.get("platform") or "CPU")
    return f"{machine['cores']} cores of {processor}{memory}{gpu}"


def curve_sentence(facts: Facts) -> str:
    """Say which check on validation was the best, since its weights are kept, and what the last one gave."""
    curve = facts.history.curve("macro_f1") if facts.history else ()
    if not curve:
        return ""
    epoch, best = max(curve, key=lambda point: (point[1], -point[0]))
    return (
        f"Kept are the weights of the best of {len(curve)} checks on the validation split, after epoch "
        f"{epoch:g} (macro-F1 {100 * best:.1f}); the last check gave {100 * curve[-1][1]:.1f}."
    )


def recipe_block(facts: Facts) -> str:
    """Return the recipe's settings as TOML; base and data set as they were taken, unless they were paths."""
    recipe, source = facts.at("recipe") or {}, facts.at("data", "source") or {}
    embedded = {
        "base": "Q4" in str(facts.at("base", "revision")),
        "dataset": source.get("kind") == "embedded",
    }
    config = f":{facts.dataset_config}" if facts.dataset_config else ""
    ids = {"base": facts.base_id, "dataset": facts.dataset_id and f"{facts.dataset_id}{config}"}
    taken = {name: "embedded" if embedded[name] else ids[name] for name in ids}
    told = {key: taken.get(key, value) for key, value in recipe.items() if key not in _NOT_TOLD}
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=True)}" for key, value in told.items() if value is not None
    ]
    return "\n".join(lines)
