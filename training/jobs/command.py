"""`python -m training train RECIPE --on jobs[:MACHINE]`: check, say what it costs, ask, start.

    run = rent(recipe, "jobs:l4x1", ask=ask, say=print)         # a Run like any other; follow it as one

Data, base, machine and login are checked here, before anything is sent or paid. Knows nothing about terminals
but a line to print and a question to ask.
"""

import re
import secrets
from collections.abc import Callable
from pathlib import Path

from transformers import AutoConfig

from inference.common.errors import BaseError
from inference.common.hub import HubRefused, hub_session
from inference.common.progress import agreed
from training.fit.prepare import load_data
from training.jobs.bundle import Bundle, pack
from training.jobs.hub import PATIENT, JobsHub
from training.jobs.machines import JobEstimate, Shape, estimate_job, find_flavor, flavors, parse_target
from training.jobs.record import Rental, RentedError, keep
from training.model.bases import EMBEDDED, GPT2
from training.model.classifier import trunk_depth
from training.recipes import Recipe
from training.runs import process
from training.runs import run as jobs

_SMOLLM2_CONFIG = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def rent(
    recipe: Recipe,
    target: str,
    *,
    run_dir: Path | None = None,
    job_timeout: str = "",
    ask: Callable[[str], bool],
    say: Callable[[str], None],
) -> jobs.Run:
    """Start a run on a rented machine, once `ask` has said yes. Raises RentedError, HubError, DataError …"""
    name, timeout_s = parse_target(target), seconds_of(job_timeout) if job_timeout else 0
    bundle = pack(recipe)
    with hub_session(PATIENT):
        hub = JobsHub.open()
        user = hub.user()
        flavor = find_flavor(name, flavors(hub.hardware()))
        data = load_data(recipe)
        shape = base_shape(recipe, hub)
    estimate = estimate_job(recipe, data, shape, flavor, timeout_s=timeout_s)
    stem = re.sub(r"[^\w-]+", "-", run_dir.name if run_dir else recipe.name)[:60].strip("-_") or "run"
    nonce = secrets.token_hex(4)
    rental = Rental(
        flavor=flavor.name,
        gpu=bool(flavor.gpu),
        usd_per_hour=flavor.usd_per_hour,
        price_source=flavor.price_source,
        namespace=user,
        nonce=nonce,
        bundle=f"{user}/tweettune-job-{stem}-{nonce}",
        model=f"{user}/tweettune-{stem}-{nonce}",
        estimated_s=round(estimate.seconds, 1),
        timeout_s=estimate.timeout_s,
    )
    for sentence in what_will_happen(rental, estimate, bundle, shape):
        say(sentence)
    if not ask("Rent it?"):
        raise RentedError("Nothing was sent and nothing was rented.")
    run = jobs.create_run(recipe, run_dir=run_dir)
    keep(run.path, rental)
    process.start(run)
    return run


def what_will_happen(rental: Rental, estimate: JobEstimate, bundle: Bundle, shape: Shape) -> list[str]:
    """Describe what a yes agrees to."""
    return [
        f"The Hub's account {rental.namespace} rents a machine to train from {shape.name}.",
        *estimate.sentences(),
        f"Sent, to the private data set {rental.bundle}: {'; '.join(bundle.sentences())}. "
        "It is deleted when the job has ended.",
        "The job gets your token as the secret HF_TOKEN, to fetch that and to push the model.",
        f"The model goes to the private repository {rental.model}, which stays, and is fetched from there.",
    ]


def yes_or_no(question: str) -> bool:
    """Ask at the terminal. Raises RentedError where nobody can answer."""
    answer = agreed(question)
    if answer is None:
        raise RentedError(f"{question} Nobody is here to answer, so nothing was rented. Say so with --yes.")
    return answer


def seconds_of(text: str) -> int:
    """Return the seconds of "90m", "2h" or "1800". Raises RentedError below a minute and above a week."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip())
    seconds = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 60 <= seconds <= 7 * 86400:
        raise RentedError(f"--job-timeout is {text!r}. Give a time from 1m to 7d, such as 90m or 2h.")
    return seconds


def base_shape(recipe: Recipe, hub: JobsHub) -> Shape:
    """Return the shape of a recipe's base, from its config on the Hub. Raises BaseError if there is none."""
    if recipe.base == "auto":
        name, config = f"{GPT2} (the base is auto, and the job reaches the Hub)", AutoConfig.for_model("gpt2")
    elif recipe.base == EMBEDDED:
        name, config = "the embedded SmolLM2-135M", AutoConfig.for_model("llama", **_SMOLLM2_CONFIG)
    else:
        try:
            path = hub.ask(
                f"read {recipe.base}",
                lambda: hub.api.hf_hub_download(recipe.base, "config.json"),
                repo=recipe.base,
            )
        except HubRefused as error:
            raise BaseError(
                f"The base {recipe.base!r} can't be downloaded for a job: {error.why}. {error.todo}."
            ) from error
        name, config = recipe.base, AutoConfig.from_pretrained(Path(path).parent)
    width, heads = config.hidden_size, config.num_attention_heads
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    gated = 3 if hasattr(config, "intermediate_size") else 2
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    layer = 2 * width * width * (1 + key_heads / heads) + gated * width * inner
    return Shape(
        name=name,
        layers=config.num_hidden_layers,
        layer_parameters=round(layer),
        parameters=round(layer * config.num_hidden_layers + width * config.vocab_size),
        trunk=trunk_depth(recipe, config),
    )
