"""Pack what a job needs: the code of an allow-list, the recipe, and a local data file where there is one.

    crate = pack(recipe)
    crate.files         # {"code.zip": b"…", "recipe.toml": b"…", "data/tweets.csv": Path("tweets.csv")}

The same code gives the same archive, byte for byte. No path of this machine is in it, and nothing that looks
like a token of the Hub. Knows nothing about jobs.
"""

import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from inference.common.errors import RecipeError
from inference.common.wording import size
from training.jobs.errors import RentedError
from training.publish.errors import NotPublishable
from training.publish.files import Outgoing
from training.publish.scan import check_tokens
from training.recipes import Recipe, change, save_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = (
    "inference/**/*.py",
    "training/**/*.py",
    "training/recipes/*.toml",
    ".huggingface/*.md",
    "requirements.txt",
    "requirements-embedded.txt",
)
NOT_NEEDED = {
    "gradio",
    "fastapi",
    "uvicorn",
    "httptools",
    "uvloop",
    "prometheus_client",
    "mcp",
    "tweepy",
    "websockets",
    "requests",
    "urllib3",
    "plotly",
}
"""Pins of requirements.txt that only the app and the server need."""


@dataclass(frozen=True)
class Crate:
    """What is sent for a job."""

    files: Mapping[str, bytes | Path]
    """Path in the repository → content, or the local file that has it."""
    requirements: tuple[str, ...]
    """What the job installs, pinned."""
    alone: tuple[str, ...]
    """Those of them that are installed without what they ask for."""
    data: tuple[Path, ...]
    """Local data files that leave this machine."""
    code_sha256: str

    def sentences(self) -> list[str]:
        """Say what is sent, for people."""
        with zipfile.ZipFile(io.BytesIO(_content(self.files["code.zip"]))) as archive:
            code = size(len(_content(self.files["code.zip"])))
            said = [f"the code ({len(archive.namelist())} files, {code}), the recipe"]
        return said + [f"your data file {path.name} ({size(path.stat().st_size)})" for path in self.data]


def _content(source: bytes | Path) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source


def pack(recipe: Recipe, *, root: Path = ROOT) -> Crate:
    """Pack a recipe with the code. Raises RecipeError for a base that only this machine has, RentedError."""
    if Path(recipe.base).is_dir() or recipe.base.startswith((".", "/", "~")):
        raise RecipeError(
            f"The base {recipe.base} is a folder on this machine, which a job can't see. "
            "Give --base an id on the Hub, or push the folder there first."
        )
    source = Path(recipe.dataset)
    local = source.exists() and recipe.dataset not in ("auto", "embedded")
    data = _data_files(source) if local else {}
    remote = change(recipe, {"dataset": _place(source)}) if local else recipe
    if recipe.more_data.strip():
        added = _added_file(recipe.more_data)
        remote = change(remote, {"more_data": f"data/more-{_plain(added.name)}"})
        data[remote.more_data] = added
    code = _code(root)
    alone = tuple(_pins(root / "requirements-embedded.txt")) if _embedded(recipe) else ()
    files: dict[str, bytes | Path] = {"code.zip": code, "recipe.toml": _toml(remote), **data}
    _refuse_tokens(files)
    return Crate(
        files=files,
        requirements=_needed(root) + alone,
        alone=alone,
        data=tuple(data.values()),
        code_sha256=hashlib.sha256(code).hexdigest(),
    )


def _data_files(source: Path) -> dict[str, Path]:
    """Return the files of a local data set, by their path in the crate."""
    if not source.is_dir():
        return {_place(source): source}
    found = [path for path in sorted(source.glob("*")) if path.is_file()]
    return {f"{_place(source)}/{_plain(path.name)}": path for path in found}


def _added_file(more_data: str) -> Path:
    path = Path(more_data.strip()).expanduser()
    if not path.is_file():
        raise RecipeError(
            f"The file of more_data, {path}, does not exist. Give one that does, or leave it out."
        )
    return path


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[-80:]


def _place(source: Path) -> str:
    return f"data/{_plain(source.resolve().name)}"


def _toml(recipe: Recipe) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.toml"
        save_recipe(recipe, path)
        return path.read_bytes()


def _code(root: Path) -> bytes:
    """Return the archive of the allow-list; dates and order are fixed, so that it is always the same."""
    found = sorted({path for pattern in CODE for path in root.glob(pattern) if path.is_file()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in found:
            entry = zipfile.ZipInfo(str(path.relative_to(root)), date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
            _refuse_tokens({entry.filename: path.read_bytes()})
    return buffer.getvalue()


def _refuse_tokens(contents: Mapping[str, bytes | Path]) -> None:
    for name, content in contents.items():
        try:
            check_tokens([Outgoing.of(name, content)])
        except NotPublishable as error:
            raise RentedError(
                f"{name} holds what looks like a token of the Hub, so nothing was sent. Take it out."
            ) from error


def _embedded(recipe: Recipe) -> bool:
    return "embedded" in (recipe.base, recipe.dataset)


def _needed(root: Path) -> tuple[str, ...]:
    """Return the pins that training needs."""
    pins = _pins(root / "requirements.txt")
    return tuple(pin for pin in pins if re.split(r"[=\[]", pin)[0] not in NOT_NEEDED)


def _pins(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]
