"""What a job needs, in one private data set: the code of an allow-list, the recipe, and local files of data.

    bundle = pack(recipe)
    bundle.files["recipe.toml"], bundle.files["data/tweets.csv"]       # bytes, or the path of a local file

The data set is mounted in the job as it is, and Python finds the code there. No path of this machine is in
it, and nothing that looks like a token of the Hub.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.common.errors import RecipeError
from inference.common.wording import size
from training.jobs.record import RentedError
from training.publish.errors import NotPublishable
from training.publish.files import Outgoing
from training.publish.scan import check_tokens
from training.recipes import LEFT_OVER, Recipe, change, save_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("inference/**/*.py", "training/**/*.py", "training/recipes/*.toml", ".huggingface/*.md")
NOT_NEEDED = {
    *("gradio", "fastapi", "uvicorn", "httptools", "uvloop", "prometheus_client", "mcp", "tweepy"),
    *("websockets", "requests", "urllib3", "plotly"),
}
"""Pins of requirements.txt that only the app and the server need."""


@dataclass(frozen=True)
class Bundle:
    """The files and pins of a job."""

    files: Mapping[str, bytes | Path]
    """Path in the data set → content, or the local file that has it."""
    requirements: tuple[str, ...]
    """Pinned packages that the job installs."""
    alone: tuple[str, ...]
    """Pins that are installed without their dependencies."""
    data: tuple[Path, ...]
    """Local data files that leave this machine."""

    def sentences(self) -> list[str]:
        code = [source for source in self.files.values() if source not in self.data]
        total = sum(len(s) if isinstance(s, bytes) else s.stat().st_size for s in code)
        return [
            f"the code ({len(code) - 1} files, {size(total)}), the recipe",
            *(f"your data file {path.name} ({size(path.stat().st_size)})" for path in self.data),
        ]


def pack(recipe: Recipe) -> Bundle:
    """Pack a recipe with the code. Raises RecipeError for what only this machine has, RentedError."""
    _check_portable(recipe)
    changes, data = {}, dict[str, Path]()
    source = Path(recipe.dataset)
    if source.exists() and recipe.dataset not in ("auto", "embedded"):
        changes["dataset"] = place = f"data/{_plain(source.resolve().name)}"
        data = {place: source}
        if source.is_dir():
            found = {path.relative_to(source): path for path in sorted(source.rglob("*")) if path.is_file()}
            data = {"/".join([place, *map(_plain, name.parts)]): path for name, path in found.items()}
    for name, place in (("more_data", "data/more-"), ("unlabelled", "data/unlabelled-")):
        given = getattr(recipe, name).strip()
        if given in ("", LEFT_OVER if name == "unlabelled" else ""):
            continue
        if not (added := Path(given).expanduser()).is_file():
            raise RecipeError(
                f"The file of {name}, {added}, does not exist. Give one that does, or leave it out."
            )
        changes[name] = f"{place}{_plain(added.name)}"
        data[changes[name]] = added
    with tempfile.TemporaryDirectory() as folder:
        save_recipe(change(recipe, changes), Path(folder) / "recipe.toml")
        toml = (Path(folder) / "recipe.toml").read_bytes()
    code = sorted({path for pattern in CODE for path in ROOT.glob(pattern) if path.is_file()})
    files: dict[str, bytes | Path] = {path.relative_to(ROOT).as_posix(): path for path in code}
    files |= {"recipe.toml": toml, **data}
    for name, content in files.items():
        try:
            check_tokens([Outgoing.of(name, content)])
        except NotPublishable as error:
            raise RentedError(
                f"{name} holds what looks like a token of the Hub, so nothing was sent. Take it out."
            ) from error
    pins = _pins(ROOT / "requirements.txt")
    embedded = "embedded" in (recipe.base, recipe.dataset)
    return Bundle(
        files=files,
        requirements=tuple(pin for pin in pins if re.split(r"[=\[]", pin)[0] not in NOT_NEEDED),
        alone=tuple(_pins(ROOT / "requirements-embedded.txt")) if embedded else (),
        data=tuple(data.values()),
    )


def _check_portable(recipe: Recipe) -> None:
    if Path(recipe.base).is_dir() or recipe.base.startswith((".", "/", "~")):
        raise RecipeError(
            f"The base {recipe.base} is a folder on this machine, which a job can't see. "
            "Give --base an id on the Hub, or push the folder there first."
        )
    if recipe.teacher.strip():
        raise RecipeError("A teacher's answers are only had on this machine. Leave out --on.")
    if recipe.report_to != "none":
        raise RecipeError("The curves of a job are followed here, not by trackio. Set report_to to none.")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[-80:]


def _pins(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]
