"""The shape of the code: imports point one way, heavy libraries stay where they belong, nothing is hidden."""

import ast
import functools
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import get_token

from tests.support import REPOSITORY

PACKAGES = ("app", "ui", "training", "inference")
FILES = sorted(
    path
    for package in PACKAGES
    for path in [*REPOSITORY.glob(f"{package}.py"), *REPOSITORY.glob(f"{package}/**/*.py")]
)
TESTS = sorted((REPOSITORY / "tests").glob("**/*.py"))
EVERY_FILE = [*FILES, *TESTS, *sorted((REPOSITORY / "benchmarks").glob("**/*.py"))]

FLOORS = {
    "inference": (
        {"common"},
        {"artifact", "labels", "prompt", "tables", "trunk"},
        {"engine", "reference", "selective"},
        {"classifier"},
        {"baselines"},
        {"explain", "export", "live", "scoring", "serving", "side_by_side"},
        {"cli"},
        {"__init__", "__main__"},
    ),
    "training": (
        {"recipes"},
        {"data", "model"},
        {"evaluate"},
        {"runs"},
        {"audit", "doctor", "publish"},
        {"fit"},
        {"ladder", "studies"},
        {"jobs"},
        {"worker"},
        {"cli"},
        {"__init__", "__main__"},
    ),
    "ui": (
        {"translations", "theme", "gpu"},
        {"sentences"},
        {"html"},
        {"account", "plots"},
        {"pushes"},
        {"state"},
        {"compare", "train"},
        {"live"},
        {"delivery", "page"},
        {"server"},
        {"__init__"},
    ),
}
"""The rooms of each package (its folders, and the files at its root), the ground floor first. What stands on
a floor imports only what stands below it, and itself."""


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(path: Path) -> set[str]:
    """Return all that a file imports, lazily too; names imported from a module count as modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = {module_name(path) for path in FILES}


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def test_the_scan_sees_the_code():
    assert {path.relative_to(REPOSITORY).parts[0] for path in FILES} == {
        "app.py",
        "ui",
        "training",
        "inference",
    }
    assert len(FILES) > 40


def test_imports_point_one_way():
    """app.py → ui → training → inference, and nothing outside asks for benchmarks or tests."""
    for path in FILES:
        place = PACKAGES.index(path.relative_to(REPOSITORY).with_suffix("").parts[0])
        assert not packages(path) & {*PACKAGES[:place], "tests", "benchmarks", "conftest"}, path


def room_of(module: str) -> tuple[str, str]:
    """Return the package and the room of a module: the folder or the file below the package."""
    package, _, rest = module.partition(".")
    return package, rest.split(".")[0] or "__init__"


def test_a_room_imports_only_what_stands_below_it():
    for path in FILES:
        package, room = room_of(module_name(path))
        floors = FLOORS.get(package, ({room},))  # app.py has but one
        floor_of = {name: number for number, floor in enumerate(floors) for name in floor}
        assert room in floor_of, f"{package}/{room} stands on no floor: add it to FLOORS"
        above = {
            found
            for found in imports(path) & MODULES
            if (to := room_of(found))[0] == package
            and to[1] not in (room, "__init__")
            and floor_of[to[1]] >= floor_of[room]
        }
        assert not above, f"{path.relative_to(REPOSITORY)} imports upwards: {', '.join(sorted(above))}"


HOME_OF = {
    "gradio": ("app.py", "ui"),
    "fastapi": ("app.py", "inference"),
    "uvicorn": ("app.py", "ui", "inference"),
    "onnx": ("inference",),
    "onnxruntime": ("inference",),
    "tweepy": ("inference",),
    "bm25s": ("inference",),
    "ray": ("inference",),
    "websockets": ("inference",),
    "requests": ("inference",),
    "urllib3": ("inference",),
    "peft": ("training",),
    "datasets": ("training",),
    "optuna": ("training",),
    "statsmodels": ("training",),
    "evaluate": ("training",),
    "matplotlib": ("training",),
}


@pytest.mark.parametrize("library", HOME_OF)
def test_a_library_stays_where_it_belongs(library):
    users = {path.relative_to(REPOSITORY).parts[0] for path in FILES if library in packages(path)}
    assert users <= set(HOME_OF[library])


def test_there_is_no_circle_of_modules():
    """A circle, of lazy imports too, would mean that two modules are one thing."""
    names = {module_name(path): path for path in FILES}
    graph = {
        name: {found for found in imports(path) if found in names and found != name}
        for name, path in names.items()
    }
    order: list[str] = []

    def visit(name, above=()):
        assert name not in above, f"circle: {' → '.join([*above[above.index(name) :], name])}"
        if name not in order:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            order.append(name)

    for name in graph:
        visit(name)
    assert order.index("inference.common.errors") < order.index("training.fit.run")


def test_no_import_of_our_own_is_hidden_in_a_string():
    """`import_module("inference…")` would hide an arrow from these tests, from mypy and from the reader."""
    hidden = re.compile(r"import_module\(\s*[\"'](?:inference|training|ui)\b")
    assert not [path for path in FILES if hidden.search(path.read_text(encoding="utf-8"))]


def test_the_tests_see_nothing_of_a_user():
    ours = Path(os.environ["HF_HOME"]).parent
    assert Path.home().parent == ours and ours.name.startswith("tweettune-tests-")
    assert get_token() is None and urllib.request.getproxies() == {}
    assert not os.environ.keys() & {
        "TZ",
        "LC_ALL",
        "COLUMNS",
        "TERM",
        "DISPLAY",
        "PYTHONWARNINGS",
        "XDG_CACHE_HOME",
    }


def loaded(statement: str) -> set[str]:
    """Return the top-level packages that a statement loads in a new process."""
    code = f"{statement}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_importing_inference_loads_neither_torch_nor_a_trainers_library():
    found = loaded("import inference, inference.classifier, inference.cli; inference.Classifier")
    assert {"inference", "tokenizers"} <= found
    heavy = {"torch", "transformers", "training", "ui", "gradio", "peft", "datasets", "optuna", "evaluate"}
    assert not found & {*heavy, "sklearn", "pandas", "matplotlib"}


def test_looking_at_runs_and_recipes_loads_nothing_heavy():
    heavy = {
        *("torch", "transformers", "datasets", "peft", "gradio", "sklearn", "pandas", "scipy", "evaluate"),
        "matplotlib",
    }
    looking = "import training.recipes, training.runs.run, training.cli.main"
    assert not loaded(f"{looking}, training.publish, training.jobs.follow") & heavy
    assert not loaded("import inference, inference.common.errors, inference.cli, inference.labels") & heavy


def test_a_file_is_one_thing_and_a_function_one_story():
    """A guide with a little room: source files under 700 lines, no function over 90."""
    for path in EVERY_FILE:
        content = path.read_text(encoding="utf-8")
        assert content.count("\n") <= 700 or path in TESTS, path
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 90, f"{path}: {node.name} has {length} lines"


def test_a_module_says_what_it_does():
    assert not [path for path in FILES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


def test_no_file_holds_a_machines_path_a_note_to_self_or_a_caught_everything():
    broad = re.compile(r"except Exc" + r"eption\b|except" + ":")
    note = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    place = re.compile(r"(?<![\w.])/(work|home/\w+|Users/\w+|root)/")
    for path in [
        *EVERY_FILE,
        REPOSITORY / "Makefile",
        REPOSITORY / "pyproject.toml",
        *REPOSITORY.glob("*.txt"),
    ]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, (line, next_line) in enumerate(zip(lines, [*lines[1:], ""], strict=True), 1):
            translated = next_line.strip().startswith("raise ")  # into an error of ours: nothing is swallowed
            for kind in (note, place) if translated else (broad, note, place):
                assert not kind.search(line), f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"


def test_no_test_mocks_our_own_code():
    word = re.compile(r"unittest\.mock|MagicMock|from mock|mocker")
    others = [path for path in TESTS if path != Path(__file__)]
    assert not [path.name for path in others if word.search(path.read_text(encoding="utf-8"))]


def test_every_setting_of_a_recipe_is_read_somewhere():
    """A setting that nothing reads would be a promise that nothing keeps."""
    recipes = REPOSITORY / "training" / "recipes" / "__init__.py"
    [recipe] = [
        node
        for node in ast.parse(recipes.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Recipe"
    ]
    names = {node.target.id for node in recipe.body if isinstance(node, ast.AnnAssign)}
    read = {
        node.attr
        for path in (REPOSITORY / "training").glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert len(names) > 30
    assert not names - read
