"""What the local Hub says about the metadata of a card, as POST /api/validate-yaml does.

    errors, warnings = check_card("---\\nlicense: mit\\n---\\n# Title", "model")

A part of the real rules only: the YAML itself, the form of `model-index`, types of common fields, and what
the front matter of a Space must have. A card that passes here can still be refused by the real Hub.
"""

import re

import yaml

from tests.servers.hub_repos import front_matter

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
TEXTS = {
    "model": {"license", "license_name", "library_name", "pipeline_tag", "license_link"},
    "dataset": {"pretty_name", "license_name", "license_link"},
    "space": {"title", "emoji", "sdk", "app_file", "short_description", "license", "suggested_hardware"},
}
LISTS = {"tags", "datasets", "metrics", "models", "preload_from_hub", "hf_oauth_scopes", "task_categories"}
SCOPES = {
    *("email", "read-repos", "write-repos", "manage-repos", "contribute-repos", "inference-api", "jobs"),
    *("read-billing", "webhooks", "read-collections", "write-collections", "openid", "profile"),
}


def check_card(readme: str, kind: str) -> tuple[list[str], list[str]]:
    """Return the errors and the warnings of a card's metadata."""
    try:
        card = front_matter(readme)
    except yaml.YAMLError as error:
        return [f"YAML: {' '.join(str(error).split())}"], []
    if not card:
        missing = "empty or missing yaml metadata in repo card"
        return ([f"Missing configuration in README: {missing}"], []) if kind == "space" else ([], [missing])
    errors = [
        f'"{name}" must be a string'
        for name in TEXTS[kind] & set(card)
        if not isinstance(card[name], str) or not card[name]
    ]
    errors += [
        f'"{name}" must be an array of strings'
        for name in LISTS & set(card)
        if not isinstance(card[name], list) or not all(isinstance(item, str) for item in card[name])
    ]
    errors += _of_model(card) if kind == "model" else _of_space(card) if kind == "space" else []
    return errors, []


def _of_model(card: dict) -> list[str]:
    errors = []
    bases = card.get("base_model", [])
    for base in [bases] if isinstance(bases, str) else bases:
        if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", base):
            errors.append('"base_model" with value ' + repr(base) + " is not valid: use a model id")
    if card.get("base_model_relation") not in (None, "finetune", "adapter", "merge", "quantized"):
        errors.append('"base_model_relation" must be one of finetune, adapter, merge, quantized')
    for model in card.get("model-index", []):
        if not isinstance(model.get("name"), str):
            errors.append('"model-index[].name" is required')
        for result in model.get("results", []):
            errors += _of_result(result)
    return errors


def _of_result(result: dict) -> list[str]:
    errors = []
    if not isinstance((result.get("task") or {}).get("type"), str):
        errors.append('"model-index[].results[].task.type" is required')
    dataset = result.get("dataset") or {}
    errors += [
        f'"model-index[].results[].dataset.{name}" is required'
        for name in ("name", "type")
        if not isinstance(dataset.get(name), str)
    ]
    if not result.get("metrics"):
        errors.append('"model-index[].results[].metrics" must not be empty')
    for metric in result.get("metrics") or []:
        if not isinstance(metric.get("type"), str) or "value" not in metric:
            errors.append('"model-index[].results[].metrics[]" needs a type and a value')
    return errors


def _of_space(card: dict) -> list[str]:
    errors = []
    if card.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
        errors.append('"sdk" must be one of gradio, docker, static')
    for name in ("colorFrom", "colorTo"):
        if card.get(name) not in {None, *COLOURS}:
            errors.append(f'"{name}" must be one of {", ".join(sorted(COLOURS))}')
    if len(str(card.get("short_description", ""))) > 60:
        errors.append('"short_description" length must be less than or equal to 60 characters long')
    for name in ("sdk_version", "python_version"):
        if not isinstance(card.get(name, ""), str):
            errors.append(f'"{name}" must be a string: quote it')
    if unknown := set(card.get("hf_oauth_scopes", [])) - SCOPES:
        errors.append(f'"hf_oauth_scopes" does not know {", ".join(sorted(unknown))}')
    return errors
