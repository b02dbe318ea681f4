"""The app as a Space: its model from the Hub or a sentence why not, and runs that outlive a restart."""

import importlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import psutil
import pytest
import torch
from gradio_client.exceptions import AppError

from inference.engine import pytorch
from tests.support import wait_for
from tests.support.hub_fixtures import ADA
from tests.support.served import answers, app, recipe_form, with_run
from tests.support.space_app import session, space, visitor
from training.recipes import load_recipe
from training.runs.run import find_run
from ui import gpu as gpu_module
from ui.account import SpaceSettings
from ui.state import Workbench

pytestmark = pytest.mark.slow
GOAL_S = 10.0


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with one finished run."""
    return with_run(tmp_path_factory.mktemp("made"), trained_gpt2)


def online(hub, token=None):
    return {name: value for name, value in hub.environment(token).items() if name.startswith("HF_")}


def model_state(url):
    return json.loads(answers(f"{url}/healthz") or '{"model": "loading"}')["model"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param("silent", "gave no answer in 3 s", marks=pytest.mark.alone),
        ("down", "can't be reached"),
        ("missing", "the Hub has no public ada/tweets"),
        ("gated", "it is gated"),
    ],
)
def test_without_its_model_the_app_is_up_and_says_so_within_ten_seconds(hub, tmp_path, fault, says):
    model = "ada/tweets"
    environment = online(hub)
    if fault == "silent":
        hub.silence("*", times=None)
    elif fault == "down":
        environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    elif fault == "gated":
        hub.create_repo(model, gated=True, files={"config.json": b"{}"})
    cold = fault == "silent"  # the longest wait, and as a Space really starts
    with space(tmp_path / "home", cold=cold, MODEL_ID=model, **environment) as url:
        began = time.monotonic()  # the page is up, whatever the Hub does
        wait_for(lambda: model_state(url) == "failed", seconds=60)
        seconds = time.monotonic() - began
        with visitor(url) as client, pytest.raises(AppError, match=says):
            client.predict("hello", api_name="/compare")
    print(f"{fault}: {seconds:.1f} s")
    assert seconds < GOAL_S


def test_the_model_of_the_hub_is_loaded_with_its_scores_and_its_base(hub, tmp_path, place, tiny_gpt2):
    files = {
        path.name: path.read_bytes() for path in (place / "runs/first/artifact").iterdir() if path.is_file()
    }
    record = json.loads(files["provenance.json"])
    record["base"] |= {"name": "ada/tiny", "wanted": "ada/tiny"}
    files["provenance.json"] = json.dumps(record).encode()
    hub.create_repo("ada/tweets", private=True, files=files)
    hub.create_repo("ada/tiny", files={path.name: path.read_bytes() for path in tiny_gpt2.iterdir()})
    with app(tmp_path / "home", MODEL_ID="ada/tweets", **online(hub, ADA)) as url:
        wait_for(lambda: model_state(url) == "ready", seconds=60)
        with visitor(url) as client:
            ask = lambda: client.predict("I love this", api_name="/compare")  # noqa: E731
            drawn = wait_for(lambda: (d := ask()).count("ms</span>") == 2 and d, seconds=60, every=0.3)
            scores, *_ = client.predict("all", api_name="/scoreboard")
    assert "ada/tweets" in drawn and "ada/tiny" in drawn
    assert "95 % intervals" in scores


def test_a_run_that_a_restart_broke_off_is_found_and_resumed(tmp_path, tiny_gpt2):
    home = tmp_path / "bucket"
    form = recipe_form("smoke")
    values = dict(zip(form.fields, form.values(load_recipe("smoke")), strict=True)) | {"epochs": 60}
    ada = session("ada")
    with space(home) as url, visitor(url, ada) as client:
        start = ["embedded", "", None, "", "", "", str(tiny_gpt2), "smoke", *values.values()]
        client.predict(*start, api_name="/start_training")
        [known] = client.predict(api_name="/runs")
        run = find_run(home / "runs" / known["id"])
        wait_for(lambda: run.status().pid and (run.path / "events.jsonl").exists(), seconds=60)
        psutil.Process(run.status().pid).kill()  # a restart ends all processes of a Space
    with space(home) as url, visitor(url, ada) as client:
        assert client.predict(api_name="/runs")[0]["state"] == "interrupted"
        assert client.predict("resume", run.id, api_name="/run_action") == f"resume: {run.id}"
        assert client.predict(api_name="/runs")[0]["state"] in ("queued", "running")
        client.predict("cancel", run.id, api_name="/run_action")
        wait_for(lambda: run.status().state in ("cancelled", "failed"), seconds=60)


def test_a_hub_that_falls_silent_on_the_files_is_told_of(hub, tmp_path):
    hub.create_repo("ada/tweets", files={"config.json": b"{}"})
    hub.silence("* /ada/tweets/resolve/*", times=None)
    with space(tmp_path / "home", MODEL_ID="ada/tweets", **online(hub)) as url, visitor(url) as client:
        began = time.monotonic()
        wait_for(lambda: "has not delivered ada/tweets yet" in refused(client), seconds=GOAL_S, every=0.5)
        assert model_state(url) == "loading"
    print(f"told after {time.monotonic() - began:.1f} s")


def refused(client):
    with pytest.raises(AppError) as said:
        client.predict("hello", api_name="/compare")
    return str(said.value)


@pytest.fixture
def published(online, place):
    """Return the Hub of this process, which has the run's model."""
    files = {
        path.name: path.read_bytes() for path in (place / "runs/first/artifact").iterdir() if path.is_file()
    }
    online.create_repo("ada/tweets", files=files)
    return online


def test_a_hub_that_was_away_is_asked_again_until_the_model_is_here(published):
    published.fail("GET /api/models/ada/tweets", status=500, times=None)
    workbench = Workbench(model="ada/tweets", settings=SpaceSettings(), first_pause_s=0.1)
    workbench.load_in_background()
    wait_for(lambda: workbench.model.state == "failed", seconds=60)
    assert "the Hub has trouble (500)" in workbench.model.message
    published.faults.clear()
    wait_for(lambda: workbench.model.state == "ready", seconds=60)
    assert workbench.model.name == "ada/tweets" and not workbench.model.message


def test_a_model_that_somebody_chose_meanwhile_stays(published, place):
    published.fail("GET /api/models/ada/tweets", status=500, times=None)
    workbench = Workbench(model="ada/tweets", settings=SpaceSettings(), first_pause_s=0.3)
    workbench.load_in_background()
    wait_for(lambda: workbench.model.state == "failed", seconds=60)
    workbench.use(str(place / "runs/first/artifact"))
    published.faults.clear()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "load-model"], seconds=60)
    assert workbench.model.name == "first"


# --- ZeroGPU: what `spaces` lends is stood in for, since it is only there


@pytest.fixture
def zero_gpu(monkeypatch):
    """Return `ui.gpu` as it is imported on ZeroGPU, and the list of functions that ask for a GPU."""
    asking = []

    def gpu(duration):
        return lambda function: (
            asking.append((function.__name__, duration)) or (lambda *given: function(*given))
        )

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    monkeypatch.setattr(pytorch.torch.cuda, "is_available", lambda: True)  # so says `spaces`
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    yield importlib.reload(gpu_module), asking
    monkeypatch.undo()
    importlib.reload(gpu_module)


class Network(torch.nn.Module):
    """So many parameters, in no memory."""

    def __init__(self, count):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(count, device="meta"))


def answering(count, says="from here"):
    return SimpleNamespace(model=Network(count), predict=lambda texts, with_latency: [says])


def test_on_zerogpu_a_large_network_borrows_a_gpu_and_a_small_one_does_not(zero_gpu):
    module, asking = zero_gpu
    assert asking == [("_on_a_gpu", module.LONGEST_S)], "seen when the app starts"
    module.DEVICE = "meta"
    made = []

    def load(source):
        made.append(answering(1, "from a GPU"))
        return made[-1]

    def ask(classifier):
        return module.predict(classifier, ["a"], load=load, source="a folder")

    assert [ask(answering(module.WORTH_IT)) for _ in range(2)] == [["from a GPU"]] * 2
    assert len(made) == 1, "loaded by the process that has the GPU, once"
    assert ask(answering(module.WORTH_IT - 1)) == ["from here"]
    assert ask(SimpleNamespace(**vars(answering(1)) | {"model": None})) == ["from here"]
    assert not pytorch.has_gpu(), "in the app's process there is none"


def test_elsewhere_nothing_asks_for_a_gpu(monkeypatch):
    assert gpu_module.predict(answering(gpu_module.WORTH_IT), ["a"], load=None, source="") == ["from here"]
    gpu_module.announce()
    assert "spaces" not in sys.modules
    monkeypatch.setattr(pytorch.torch.cuda, "is_available", lambda: True)
    assert pytorch.has_gpu(), "a GPU of its own is used"


class Service(BaseHTTPRequestHandler):
    """The part of ZeroGPU that a starting app needs."""

    heard: list

    def do_POST(self):
        self.heard.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


NO_TORCH = "import sys\nsys.modules['torch'] = None\n"
"""`spaces` reaches into PyTorch's build for a GPU, and does without PyTorch where there is none."""


def test_with_the_real_package_zerogpu_hears_that_the_app_comes_up(tmp_path):
    pytest.importorskip("spaces", reason="requirements-dev.txt has it")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Heard", (Service,), {"heard": []}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "sitecustomize.py").write_text(NO_TORCH)
    zero = {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])),
    }
    try:
        with space(tmp_path / "home", cold=True, **zero) as url:
            assert server.RequestHandlerClass.heard == ["/startup-report"]
            assert model_state(url) == "none"
    finally:
        server.shutdown()
        server.server_close()
