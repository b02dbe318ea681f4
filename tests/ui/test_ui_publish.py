"""The Publish panel, from the click to the verified commit, on a loopback Hub: whose token, who sees what."""

import sys
from pathlib import Path

import gradio as gr
import psutil
import pytest
from gradio_client.exceptions import AppError

from inference.common.errors import RunError
from inference.live.review import Disagreement
from tests.servers.hub import LocalHub
from tests.support import wait_for
from tests.support.hub_fixtures import ADA, BOB
from tests.support.served import answers, app, with_run
from tests.support.space_app import ENVIRONMENT, session, space, visitor
from training.runs.process import resume
from training.runs.run import list_runs
from ui.account import NotSignedIn, Visitor, token_for
from ui.live.review import Duels
from ui.pushes import Order, Publications

pytestmark = pytest.mark.usefixtures("warm_starts")

OAUTH = "hf_oauth_" + "s" * 40
PUSH = ["first", "ada/tweets", False, False, False]


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_gpt2):
    """Return a home with one finished run."""
    return with_run(tmp_path_factory.mktemp("publish"), trained_gpt2)


@pytest.fixture(scope="module")
def shared_hub():
    """Return a Hub for the whole file: an app gets its address at the start."""
    with LocalHub() as hub:
        hub.add_user("ada", token=ADA)
        hub.add_user("ada", token=OAUTH, role="oauth", scopes=("contribute-repos",))
        hub.add_user("bob", token=BOB)
        yield hub


@pytest.fixture(scope="module")
def at_home(place, shared_hub):
    """Return the address of an app on ada's own machine, where she is logged in."""
    with app(place, **online(shared_hub, ADA)) as url:
        yield url


@pytest.fixture(scope="module")
def on_space(place, shared_hub):
    """Return the address of a Space whose owner, bob, has given it a token of his."""
    with space(place, **online(shared_hub, BOB)) as url:
        yield url


def online(hub, token):
    return {name: value for name, value in hub.environment(token).items() if name.startswith("HF_")}


def ended(url, cookie="") -> str:
    """Wait until nothing is running, then return the panel that a new page shows."""
    with visitor(url, cookie) as client:
        wait_for(
            lambda: client.predict(api_name="/publication").get("state") not in (None, "running"),
            seconds=180,
            every=0.3,
        )
        return shown(client)


def shown(client) -> str:
    """Return the panel that a new page shows."""
    return str(client.predict(api_name="/refresh_runs"))


def files_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_look_shows_files_sizes_and_the_card_and_sends_nothing(at_home, shared_hub):
    before = len(shared_hub.requests)
    with visitor(at_home) as client:
        client.predict(*PUSH, api_name="/publish_preview")
        drawn = ended(at_home)
    assert "What would be sent: first" in drawn
    assert ("model.safetensors" in drawn and "MB" in drawn) or "kB" in drawn
    assert "pipeline_tag: text-classification" in drawn
    assert [request.method for request in shared_hub.requests[before:] if request.method != "GET"] == []


def test_a_push_is_verified_and_a_second_one_sends_nothing(at_home, shared_hub, place):
    with visitor(at_home) as client:
        assert "Publishing first" in client.predict(*PUSH, api_name="/publish")
        with pytest.raises(AppError, match="This model is being published"):
            client.predict(*PUSH, api_name="/publish")
        secret_in_sight = [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if any(ADA in word for word in process.info["cmdline"] or ())
        ]
        assert secret_in_sight == []
        drawn = ended(at_home)
        assert "Published." in drawn and "Verified: downloaded again" in drawn and "on 32 texts" in drawn
        commits = shared_hub.commits("ada/tweets")
        assert f"{shared_hub.endpoint}/ada/tweets/commit/{commits[-2].oid}" in drawn
        client.predict(*PUSH, api_name="/publish")
        assert "Nothing has changed, so nothing was sent." in ended(at_home)
        assert shared_hub.commits("ada/tweets") == commits
    assert "model.safetensors" in shared_hub.files("ada/tweets")
    assert ADA.encode() not in files_below(place)


def test_on_a_space_the_visitors_own_token_pushes_and_nobody_else_sees_it(on_space, shared_hub, place):
    order = ["first", "ada/from-a-space", True, False, False]
    with (
        visitor(on_space, session("ada", token=OAUTH)) as ada,
        visitor(on_space, session("bob", token=BOB)) as bob,
    ):
        ada.predict(*order, api_name="/publish")
        assert bob.predict(api_name="/publication") == {} and "from-a-space" not in shown(bob)
        with pytest.raises(AppError, match="Nothing of yours is being published"):
            bob.predict(api_name="/publish_cancel")
        with pytest.raises(AppError, match="Another model is being published"):
            bob.predict(*order, api_name="/publish")
        assert "Published." in ended(on_space, session("ada", token=OAUTH))
        assert bob.predict(api_name="/publication") == {}
    assert {commit.author for commit in shared_hub.commits("ada/from-a-space")} == {"ada"}
    assert shared_hub.repo("ada/from-a-space").private
    everything = files_below(place)
    assert OAUTH.encode() not in everything and BOB.encode() not in everything


def test_on_a_space_nobody_publishes_with_the_owners_token(on_space, shared_hub):
    before = len(shared_hub.requests)
    with visitor(on_space) as nobody, pytest.raises(AppError, match="Press Sign in with Hugging Face first"):
        nobody.predict(*PUSH, api_name="/publish")
    narrow = session("bob", token=BOB, scope="openid profile")
    with visitor(on_space, narrow) as bob, pytest.raises(AppError, match="does not let this app create"):
        bob.predict("first", "bob/tweets", False, False, False, api_name="/publish")
    assert len(shared_hub.requests) == before


def test_what_the_hub_refuses_is_one_sentence_in_the_panel(at_home, shared_hub):
    with visitor(at_home) as client:
        client.predict("first", "bob/tweets", False, False, False, api_name="/publish")
        drawn = ended(at_home)
    assert "ada may not create repositories for bob" in drawn and "tt-note bad" in drawn
    assert shared_hub.repo("bob/tweets") is None


def test_a_push_that_is_cancelled_leaves_nothing_half_and_the_next_completes(at_home, shared_hub, place):
    shared_hub.silence("POST /api/models/ada/later/commit/*", times=1)
    with visitor(at_home) as client:
        client.predict("first", "ada/later", False, False, False, api_name="/publish")
        wait_for(
            lambda: any("/ada/later/commit/" in request.path for request in shared_hub.requests), seconds=90
        )
        drawn = client.predict(api_name="/publish_cancel")
        assert "Nothing is half published" in drawn
        assert len(shared_hub.commits("ada/later")) == 1, "the creation alone"
        wait_for(lambda: not working(place), seconds=60)
        client.predict("first", "ada/later", False, False, False, api_name="/publish")
        assert "Published." in ended(at_home)


def working(place):
    """Return the processes of an app's pushes."""
    runs = str(place / "runs")
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(word.startswith(runs) for word in process.info["cmdline"] or ())
    ]


def test_who_is_elsewhere_does_not_publish_with_this_machines_login(at_home):
    with (
        visitor(at_home, **{"X-Forwarded-For": "203.0.113.9"}) as client,
        pytest.raises(AppError, match="Only who sits at the machine"),
    ):
        client.predict(*PUSH, api_name="/publish")


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (["", "ada/x", False, False, False], "No run was chosen"),
        (["../first", "ada/x", False, False, False], "There is no run 'first' here"),
        (["first", "  ", False, False, False], "No repository was named"),
    ],
)
def test_an_order_that_can_not_be_is_one_sentence(at_home, order, says):
    with visitor(at_home) as client, pytest.raises(AppError, match=says):
        client.predict(*order, api_name="/publish")


# --- the duel's labels


@pytest.fixture
def labelled(place, monkeypatch):
    """Put two labels into the store that both apps show."""
    monkeypatch.setenv("TWEETTUNE_HOME", str(place))
    store = Duels(lambda source: None).store(("negative", "neutral", "positive"), owner="")
    texts = ["@somebody what a day", "what a night"]
    store.add([Disagreement(f"{n}", text, "a", "positive", "b", "negative") for n, text in enumerate(texts)])
    for number, label in ((1, "positive"), (2, "negative")):
        store.label(number, label)
    yield
    store.clear()
    store.close()


def test_labels_go_public_after_a_look_at_just_what_would_and_with_the_visitors_token(
    on_space, shared_hub, labelled
):
    wait_for(lambda: '"ready"' in answers(f"{on_space}/healthz"), seconds=60, every=0.2)
    before = len(shared_hub.requests)
    with visitor(on_space) as nobody:
        for door, given in (("/live_publish_look", ["ada/labels", False]), ("/live_publish", [])):
            with pytest.raises(AppError, match="Press Sign in with Hugging Face first"):
                nobody.predict(*given, api_name=door)
    with visitor(on_space, session("ada", token=OAUTH)) as ada:
        with pytest.raises(AppError, match="Nothing was looked at yet"):
            ada.predict(api_name="/live_publish")
        with pytest.raises(AppError, match="Write OWNER/NAME"):
            ada.predict("labels", False, api_name="/live_publish_look")
        seen = str(ada.predict("ada/labels", False, api_name="/live_publish_look"))
        assert "2 texts with their labels (1 positive, 1 negative) go to ada/labels" in seen
        assert "readable by everybody, for good" in seen and "positive: @user what a day" in seen
        assert len(shared_hub.requests) == before, "for a look nothing leaves"
        drawn = str(ada.predict(api_name="/live_publish"))
        with pytest.raises(AppError, match="Nothing was looked at yet"):
            ada.predict(api_name="/live_publish")
    commit = shared_hub.commits("ada/labels", kind="dataset")[-1]
    assert f"{shared_hub.endpoint}/datasets/ada/labels/commit/{commit.oid}" in drawn and "Published." in drawn
    assert commit.author == "ada"
    rows = shared_hub.files("ada/labels", kind="dataset")["train.jsonl"].decode()
    assert "@user what a day" in rows and "somebody" not in rows


# --- without an app


def token(scope="contribute-repos"):
    return gr.OAuthToken(token=OAUTH, scope=scope, expires_at=0)


def test_at_home_without_a_login_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(NotSignedIn, match="Run `hf auth login`, or start with HF_TOKEN set"):
        token_for(Visitor(is_here=True))


def test_on_a_space_only_a_session_gives_a_token(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "ada/x")
    monkeypatch.setenv("HF_TOKEN", BOB)
    with pytest.raises(NotSignedIn, match="has no sign-in"):
        token_for(Visitor(is_here=True, token=token()))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotSignedIn, match="Nobody is signed in"):
        token_for(Visitor(token=token()))
    assert token_for(Visitor("ada", token=token())) == OAUTH


def test_who_is_nobody_has_no_pushes_to_see():
    somebody, here, nobody = Visitor("ada"), Visitor(is_here=True), Visitor()
    assert [somebody.key, here.key, nobody.key] == ["user ada", "here", ""]


def publishing(work) -> Publications:
    """Return Publications whose process does `work` instead of a push."""
    code = f"import sys\nfrom training import worker\n{work}\nworker.WORK['push'] = work\n"
    return Publications(command=[sys.executable, "-c", f"{code}sys.exit(worker.main())"])


def order(run_id="first"):
    return Order(run_id=run_id, source="runs/first", repo_id="ada/x")


ECHO = """
import os
def work(task):
    print("a library's own words with", task.handed["token"])
    found = [name for name in os.environ if name.endswith(("TOKEN", "TOKENS"))]
    task.log.note("a note with " + task.handed["token"])
    task.log.event("plan", names=found, secrets=len(task.handed["secrets"]), card=task.handed["token"])
    raise ValueError("it broke with " + task.handed["token"] + " and with ".join(task.handed["secrets"]))
"""


def test_no_secret_is_in_the_childs_environment_nor_in_any_file(monkeypatch, home):
    for name in ("HF_TOKEN", "X_BEARER_TOKEN", "TWEETTUNE_TOKENS"):
        monkeypatch.setenv(name, BOB)
    publications = publishing(ECHO)
    publications.start("here", order(), token=ADA)
    found = wait_for(lambda: (p := publications.newest("here")).state != "running" and p, seconds=60)
    assert (found.state, found.plan) == ("failed", {"names": [], "secrets": 3, "card": "***"})
    assert found.error.startswith("ValueError: it broke with ***")
    written = files_below(home)
    assert b"a library's own words with ***" in written and b"Traceback" in written
    assert ADA.encode() not in written and BOB.encode() not in written
    with pytest.raises(RunError, match="nothing to cancel"):
        publications.cancel("here")
    assert ADA not in repr(vars(publications))


def test_a_process_that_dies_is_a_failed_push_with_the_next_step(home):
    publications = Publications(command=[sys.executable, "-c", "import sys; sys.exit(3)"])
    publications.start("here", order(), token=ADA)
    found = wait_for(lambda: (p := publications.newest("here")).state != "running" and p, seconds=30)
    assert (found.state, found.error) == (
        "failed",
        "Its process ended without a word; start it again: nothing is sent twice.",
    )


DONE = """
import signal, time
def work(task):
    done = lambda *_: task.log.event("result", commit="abc")
    if task.run.order["run_id"] == "late":
        signal.signal(signal.SIGTERM, done)
        task.log.enter("stamp")
        signal.pause()
    else:
        done()
    time.sleep(60)
"""


@pytest.mark.parametrize("run_id", ["first", "late"])
def test_a_push_that_is_done_is_not_shown_as_cancelled(run_id, home):
    """A process takes seconds to end after its last word, and may say it just when it is told to end."""
    publications = publishing(DONE)
    publications.start("here", order(run_id), token=ADA)
    wait_for(lambda: (p := publications.newest("here")).result or p.step["phase"] == "stamp", seconds=60)
    publications.cancel("here")
    found = publications.newest("here")
    assert (found.state, found.result) == ("done", {"commit": "abc"})


ENDLESS = """
import time
def work(task):
    task.log.enter("upload")
    time.sleep(0.6)  # progress is written twice a second
    task.log.progress(25, 100)
    time.sleep(60)
"""


def test_a_push_outlives_the_app_and_is_found_again_by_its_owner_alone(home):
    publishing(ENDLESS).start("user ada", order(), token=ADA)
    after = Publications()
    found = wait_for(lambda: (p := after.newest("user ada")).step.get("done") and p, seconds=60)
    assert (found.state, found.order, found.step) == (
        "running",
        order(),
        {"phase": "upload", "done": 25, "total": 100},
    )
    assert after.newest("user bob") is None and list_runs() == [], "the Train tab lists trainings"
    for who, whose in (("user bob", "Another"), ("user ada", "This")):
        with pytest.raises(RunError, match=f"^{whose} model is being published. Wait for its end"):
            after.start(who, order(), token=ADA)
    after.cancel("user ada")
    assert after.newest("user ada").state == "cancelled"
    [run] = list_runs(kind="push")
    with pytest.raises(RunError, match="is no training: it can't be resumed"):
        resume(run)
