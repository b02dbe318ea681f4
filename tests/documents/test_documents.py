"""Documents are tests: what README and docs/ say about commands, settings, numbers and files is true."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, SpaceHardware

from benchmarks import tables
from benchmarks.__main__ import BENCHMARKS
from inference import __version__
from inference import cli as inference_cli
from inference.serving import schema
from inference.tables.formats import FORMATS
from training.cli import main as training_cli
from training.data.load import HUB_DATASET
from training.evaluate.scores import read_evaluation
from training.model.bases import GPT2
from training.recipes import available_recipes, load_recipe, settings
from ui.account import settings as owners_settings

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = "\n\n".join(path.read_text(encoding="utf-8") for path in tables.DOCUMENTS)
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", ALL, re.DOTALL | re.MULTILINE)
PARSERS = {"training": training_cli.parser(), "inference": inference_cli.parser()}
INDIRECT = {
    "authlib": "gr.LoginButton needs it on a Space",
    "itsdangerous": "gr.LoginButton needs it on a Space",
    "gguf": "Transformers reads gguf_file= with it",
    "httptools": "uvicorn takes it where it is installed",
    "uvloop": "uvicorn takes it where it is installed",
}
OF_LAUNCHERS = {"RANK", "WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"}
"""Set by `accelerate launch` for its processes, and by nobody else."""
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def blocks(language: str) -> list[str]:
    return [body for name, body in FENCED if name == language]


def commands() -> list[list[str]]:
    lines = [line for body in blocks("sh") for line in body.splitlines()]
    inline = re.findall(r"`(python -m [^`]+)`", ALL)
    return [words for line in [*lines, *inline] if (words := shlex.split(line, comments=True))]


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def front_matter() -> dict:
    return yaml.safe_load(README.split("---\n")[1])


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [ROOT / "app.py", *found]


# --- tables and numbers


def test_the_readme_fits_five_screens():
    """Its first screen says what it is, shows it, and gives one table and two commands."""
    assert README.count("\n") <= 210
    first = README.split("## Ten commands")[0]
    assert all(part in first for part in ("![", "<!-- table:ladder -->", "make demo", "make test"))


def test_every_page_is_linked_from_the_readme():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in README


def test_tables_equal_their_sources():
    texts = [path.read_text(encoding="utf-8") for path in tables.DOCUMENTS]
    for text in texts:
        assert tables.rendered(text) == text, "run `python -m benchmarks.tables`"
        assert text.count("<!-- table:") == text.count("<!-- /table -->")
    names = [name for text in texts for name in re.findall(r"<!-- table:(\w+) -->", text)]
    assert sorted(names) == sorted({*BENCHMARKS, *tables.FROM_CODE})


RESULTS = {
    "benchmark": "quality",
    "machine": {"cores": 2, "memory_gb": 15.6, "gemm_gflops": 107.3},
    "base": {"name": "owner/base"},
    "data": {"name": "made-up tweets"},
    "rows": [
        {"name": "majority", "n": 3534, "accuracy": {"value": 0.405, "low": 0.39, "high": 0.42}},
        {
            "name": "q",
            "n": 3534,
            "accuracy": {"value": 0.7449, "low": 0.731, "high": 0.7591},
            "minutes": 4.02,
        },
    ],
    "ratios": [{"name": "slow / quick", "base": "owner/base", "ratio": 312.4}],
    "comparison": {"sentence": "It is real."},
}


def test_a_results_file_becomes_a_table_with_intervals(tmp_path):
    (tmp_path / "quality.json").write_text(json.dumps(RESULTS))
    text = tables.rendered("a\n<!-- table:quality -->\nold\n<!-- /table -->\nb\n", tmp_path)
    assert text.splitlines() == [
        "a",
        "<!-- table:quality -->",
        "|  | n | accuracy, % | minutes |",
        "|---|---:|---:|---:|",
        "| majority | 3,534 | 40.5 (39.0 to 42.0) | – |",
        "| q | 3,534 | 74.5 (73.1 to 75.9) | 4.0 |",
        "",
        "|  | network | ratio |",
        "|---|---|---:|",
        "| slow / quick | owner/base | 312 |",
        "",
        "It is real. In brackets: 95 % intervals. Data: made-up tweets. Base: owner/base. "
        "Machine: 2 cores, 16 GB of memory, 107 GFLOP/s in a float32 matrix product.",
        "<!-- /table -->",
        "b",
    ]


@pytest.mark.parametrize("content", [None, '{"rows": []}'])
def test_a_missing_results_file_leaves_not_measured_yet(tmp_path, content):
    if content:
        (tmp_path / "speed.json").write_text(content)
    text = tables.rendered("<!-- table:speed -->\n<!-- /table -->", tmp_path)
    assert tables.NOT_MEASURED in text
    assert tables.rendered(text, tmp_path) == text


# --- commands


def test_the_commands_parse():
    parsed = [words for words in commands() if words[:2] == ["python", "-m"] and words[2] in PARSERS]
    assert len(parsed) > 10
    for words in parsed:
        PARSERS[words[2]].parse_args(words[3:])


def test_every_command_has_an_example_and_every_option_a_row():
    shown = {words[3] for words in commands() if words[:2] == ["python", "-m"] and len(words) > 3}
    options = ALL.split("<!-- table:options -->")[1].split("<!-- /table -->")[0]
    for command, arguments in tables.commands():
        assert command in shown, f"{command} has no example"
        for name, help in arguments:
            assert help, f"{command} {name} has no help"
            shown_name = name.replace("|", r"\|")
            rows = [line for line in options.splitlines() if line.startswith(f"| `{shown_name}` |")]
            assert any(f"`{command}`" in row or "| all |" in row for row in rows), f"{command} {name}"


def test_modules_and_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"\.PHONY: (.*)", makefile)[1].split())
    named = set(re.findall(r"`make (\w+)`", ALL)) | {w[1] for w in commands() if w[0] == "make"}
    assert targets - {"help", "browser"} <= named <= targets
    for words in commands():
        if words[:2] == ["python", "-m"]:
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words
        else:
            assert words[0] in ("make", "hf", "source", "python", "pip", "curl", "accelerate"), words
            assert words[0] != "python" or (ROOT / words[1]).exists()


def test_the_app_has_the_options_shown():
    app = (ROOT / "app.py").read_text(encoding="utf-8")
    (words,) = (words for words in commands() if words[:2] == ["python", "app.py"])
    shown = {word for word in words if word.startswith("--")}
    assert shown == set(re.findall(r'add_argument\(\s*"(--\w+)"', app))


# --- recipes, data, environment


def test_recipes_and_settings_are_named():
    for name in [*available_recipes(), *(setting.name for setting in settings())]:
        assert f"`{name}`" in ALL
    for ending in FORMATS:
        assert f"`{ending}`" in ALL
    for key in re.findall(r"--set ([a-z_]+)=", ALL):
        assert key in {setting.name for setting in settings()}


def test_the_recipe_shown_is_a_recipe(tmp_path):
    (shown,) = blocks("toml")
    (tmp_path / "my-recipe.toml").write_text(shown, encoding="utf-8")
    recipe = load_recipe(tmp_path / "my-recipe.toml")
    assert set(tomllib.loads(shown)) <= {setting.name for setting in settings()}
    assert recipe.depth == 8


def test_every_key_of_a_request_is_named():
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    known = {
        name
        for kind in (
            schema.HubParameters,
            schema.PredictRequest,
            schema.HubRequest,
            schema.CompareRequest,
            schema.RetrieveRequest,
            schema.LabelledTexts,
        )
        for name in kind.model_fields
    }
    assert {name for name in known if not re.search(rf'[`"]{name}\b', page)} <= {"parameters"}


def test_environment_variables_are_those_the_code_reads():
    read = set()
    for path in sources("inference", "training", "ui"):
        code = path.read_text(encoding="utf-8")
        read |= set(re.findall(r'(?:environ\.get|getenv)\("(\w+)"', code))
        for constant in re.findall(r"environ\.get\(([A-Z_]+)", code):
            read |= set(re.findall(rf'^{constant} = "(\w+)"', code, re.MULTILINE))
    table = ALL.split("| variable |")[1].split("\n\n")[0]
    documented = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted(
        read - {"PYTHONPATH"} - OF_LAUNCHERS - {each.name.upper() for each in owners_settings()}
    )


# --- the Space


def test_front_matter_fits_the_requirements():
    space = front_matter()
    pins = dict(line.split("#")[0].strip().split("==") for line in requirements("requirements.txt"))
    assert space["sdk"] == "gradio"
    assert space["sdk_version"] == pins["gradio"]
    assert space["suggested_hardware"] in {each.value for each in SpaceHardware}
    assert re.fullmatch(r"[1-9]\d*(s|m|h)|[1-9]\d*", space["startup_duration_timeout"])
    for entry in space["preload_from_hub"]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+ [\w./-]+(,[\w./-]+)*( [0-9a-f]{40})?", entry), entry
    assert space["python_version"] == "3.11"
    assert (ROOT / space["app_file"]).is_file()
    assert {space["colorFrom"], space["colorTo"]} <= COLOURS
    assert len(space["short_description"]) <= 60
    assert space["license"] == "apache-2.0"
    assert space["hf_oauth"] is True
    assert space["hf_oauth_scopes"] == ["contribute-repos"], "the least that publishes a visitor's own model"
    assert space["models"] == [GPT2]
    assert space["datasets"] == [HUB_DATASET]
    assert all(line.split()[0] == GPT2 for line in space["preload_from_hub"])


def test_requirements_are_pinned_and_say_why():
    for path in ROOT.glob("requirements*.txt"):
        name = path.name
        for line in requirements(name):
            assert re.match(r"[\w.-]+(\[\w+\])?==[\w.]+( |$)", line), f"{name}: {line}"
            assert name == "requirements-dev.txt" or re.search(r"# \S", line), f"{name}: {line} has no reason"


def test_requirements_are_what_is_imported():
    listed = {re.split("==", line)[0] for line in requirements("requirements.txt")}
    imported = set()
    for path in sources("inference", "training", "ui"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    modules = {MODULES.get(name, name): name for name in listed}
    assert {name for module, name in modules.items() if module not in imported} == set(INDIRECT)
    ours = {"inference", "training", "ui"} | set(sys.stdlib_module_names)
    ours |= {"ray"}  # an extra, in requirements-ray.txt
    ours |= {"starlette", "anyio"}  # what FastAPI is made of
    assert imported - ours - set(modules) == set(), "imported, but not in requirements.txt"


# --- files


def test_links_lead_somewhere():
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            place = path.parent / name if name else path
            assert place.exists(), f"{path.name} links to {link}, which is not there"
            assert not anchor or anchor in anchors(place), (
                f"{path.name} links to {link}, which has no heading"
            )


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and the Hub make of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_house_names_every_folder():
    for package in ("inference", "training", "ui"):
        row = next(line for line in README.splitlines() if line.startswith(f"| [{package}/]"))
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders <= set(re.findall(r"`(\w+)`", row)), package


def test_licence_and_changelog():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "TweetTune authors" in licence
    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- a real run


@pytest.fixture(scope="module")
def workplace(trained_gpt2, tmp_path_factory) -> Path:
    """Return a folder in which `make demo` could have been run, with the tiny base."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(trained_gpt2.run.path, folder / "runs" / "demo")
    return folder


ONE_BY_ONE = """
import json, sys
for code in json.load(sys.stdin):
    exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    print("---")
"""


def test_the_snippets_run_and_agree(workplace):
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE],
        input=json.dumps(blocks("python")),
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TWEETTUNE_HOME": str(workplace)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ours, plain, _ = (said.strip().splitlines() for said in done.stdout.split("---\n"))
    rows = ast.literal_eval(plain[-1])
    assert len(ours) == len(rows) == 2
    for line, row in zip(ours, rows, strict=True):
        label, probabilities = line.split(" ", 1)
        assert label == row[0]["label"]
        for entry in row:
            assert ast.literal_eval(probabilities)[entry["label"]] == pytest.approx(entry["score"], abs=1e-5)


def test_a_run_holds_what_is_said(workplace):
    (listing,) = (body for body in blocks("text") if body.startswith("runs/demo/"))
    run, artifact = (part.splitlines() for part in listing.split("  artifact/ "))
    said = {line.split()[0].rstrip("/") for line in run[1:]} - {"checkpoints"}
    assert {path.name for path in (workplace / "runs/demo").iterdir()} == said | {"artifact"}
    found = {path.name for path in (workplace / "runs/demo/artifact").iterdir()}
    assert found == _artifact_names(artifact[1:])


def _artifact_names(lines: list[str]) -> set[str]:
    names = set()
    for line in lines:
        words = line.split()
        names |= {w.strip(",/") for w in words} if "," in words[0] else {words[0].strip("/")}
    return names


def test_the_model_card_is_filled(workplace):
    card = ModelCard.load(workplace / "runs/demo/artifact/README.md")
    assert "{{" not in card.content
    assert "{%" not in card.content
    assert card.data.pipeline_tag == "text-classification"
    assert len(card.data.eval_results) == 3
    evaluation = read_evaluation(workplace / "runs/demo")
    assert f"{100 * evaluation.tuned.scores.accuracy.value:.1f}" in card.text
    for label in evaluation.labels:
        assert f"\n| {label} |" in card.text
