"""The shape of the code: imports point one way, heavy libraries stay where they belong, files stay short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGES = ("app", "ui", "training", "inference")
FILES = sorted(
    path
    for package in PACKAGES
    for path in [*REPOSITORY.glob(f"{package}.py"), *REPOSITORY.glob(f"{package}/**/*.py")]
)
EVERY_FILE = (
    FILES
    + sorted((REPOSITORY / "tests").glob("**/*.py"))
    + sorted((REPOSITORY / "benchmarks").glob("**/*.py"))
)
by_name = pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(REPOSITORY)))


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_import_only=False) -> set[str]:
    """Return the modules that a file imports; names imported from a module count as modules."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    nodes = tree.body if at_import_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_point_one_way(path):
    """app.py → ui → training → inference, and nothing outside asks for benchmarks or tests."""
    place = PACKAGES.index(path.relative_to(REPOSITORY).with_suffix("").parts[0])
    above = {*PACKAGES[:place], "tests", "benchmarks", "conftest"}
    assert not packages(path) & above


HOME_OF = {
    "gradio": ("app.py", "ui"),
    "fastapi": ("app.py", "inference"),
    "uvicorn": ("app.py", "ui", "inference"),
    "onnx": ("inference",),
    "onnxruntime": ("inference",),
    "tweepy": ("inference",),
    "ray": ("inference",),
    "websockets": ("inference",),
    "requests": ("inference",),
    "urllib3": ("inference",),
    "peft": ("training",),
    "datasets": ("training",),
    "optuna": ("training",),
    "evaluate": ("training",),
}


@pytest.mark.parametrize("library", HOME_OF)
def test_a_library_stays_where_it_belongs(library):
    users = {path.relative_to(REPOSITORY).parts[0] for path in FILES if library in packages(path)}
    assert users <= set(HOME_OF[library])


def test_there_is_no_import_cycle():
    """Importing at the top of a module what imports that module again would fail, or depend on the order."""
    names = {module_name(path): path for path in FILES}
    graph = {
        name: {i for i in imports(path, at_import_only=True) if i in names and i != name}
        for name, path in names.items()
    }
    order: list[str] = []

    def visit(name, above=()):
        assert name not in above, f"cycle: {' → '.join([*above, name])}"
        if name not in order:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            order.append(name)

    for name in graph:
        visit(name)
    assert order.index("inference.errors") < order.index("training.pipeline")


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
    assert not found & {
        "torch",
        "transformers",
        "training",
        "ui",
        "gradio",
        "peft",
        "datasets",
        "optuna",
        "evaluate",
        "sklearn",
        "pandas",
    }


def test_looking_at_runs_and_recipes_loads_nothing_heavy():
    heavy = {"torch", "transformers", "datasets", "peft", "gradio", "sklearn", "pandas", "scipy", "evaluate"}
    assert not loaded("import training.recipes, training.jobs, training.cli") & heavy
    assert (
        not loaded("import inference, inference.errors, inference.paths, inference.cli, inference.labels")
        & heavy
    )


@by_name
def test_files_are_at_most_400_lines_and_functions_90(path):
    content = path.read_text(encoding="utf-8")
    assert content.count("\n") <= 400
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 90, f"{node.name} has {length} lines"


def test_nineteen_functions_of_twenty_are_under_50_lines():
    lengths = sorted(
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[int(len(lengths) * 0.95)] < 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_module_says_what_it_does(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


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
    others = [path for path in (REPOSITORY / "tests").glob("*.py") if path != Path(__file__)]
    assert not [path.name for path in others if word.search(path.read_text(encoding="utf-8"))]


def test_every_setting_of_a_recipe_is_used_somewhere():
    """A setting that nothing reads would be a promise that nothing keeps."""
    tree = ast.parse((REPOSITORY / "training" / "recipes.py").read_text(encoding="utf-8"))
    [recipe] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Recipe"]
    names = {node.target.id for node in recipe.body if isinstance(node, ast.AnnAssign)}
    others = "".join(
        p.read_text(encoding="utf-8")
        for p in (REPOSITORY / "training").glob("*.py")
        if p.name != "recipes.py"
    )
    assert len(names) > 30
    assert not [name for name in names if not re.search(rf"\b{name}\b", others)]
