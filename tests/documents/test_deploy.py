"""`python .huggingface/deploy.py` against a Hub on loopback, as an owner runs it."""

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from huggingface_hub import HfApi

from inference.common.hub import HubSilent, Timeouts, hub_session
from tests.support import REPOSITORY
from tests.support.deploying import SCRIPT, deploy
from tests.support.hub_fixtures import ADA, BOB
from tests.support.served import answers, app

pytestmark = pytest.mark.usefixtures("online")

SPACE = "ada/tweettune"
QUICKLY = ("--poll-s", "0.05", "--timeout-s", "20")
SECRET = "a-secret-value-that-nobody-may-see"


def run(hub, *arguments, token=ADA, **environment):
    """Run the script to its end in this process, with `hub` as the Hub."""
    out, error = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        for name, value in {"HF_TOKEN": token, **environment}.items():
            if value:
                patch.setenv(name, value)
        status = deploy.main([SPACE, *QUICKLY, *arguments])
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), error.getvalue())


def run_alone(hub, *arguments):
    """Run it in a process of its own, as an owner would."""
    return subprocess.run(
        [sys.executable, SCRIPT, SPACE, *QUICKLY, *arguments],
        cwd=REPOSITORY,
        env=hub.environment(ADA),
        capture_output=True,
        text=True,
        timeout=120,
    )


class Page(BaseHTTPRequestHandler):
    """An app whose /healthz answers the second request; it keeps all requests."""

    seen: list

    def do_GET(self):
        self.seen.append((self.path, self.headers.get("Authorization")))
        body = json.dumps({"status": "ok", "model": "ready"}).encode()
        self.send_response(200 if len(self.seen) > 1 else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def page():
    """Return the address of an app and the list of its requests."""
    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Page,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def made(hub, page):
    """Return a Hub with an empty Space whose app is the page."""
    hub.create_repo(SPACE, kind="space")
    hub.space(SPACE).url = page[0]
    return hub


def test_a_space_is_created_with_one_commit_of_the_allow_list(hub, tmp_path):
    done = run_alone(hub, "--no-wait", "--private", "--hardware", "cpu-upgrade")
    assert (done.returncode, done.stderr) == (0, "")
    created, *commits = hub.commits(SPACE, kind="space")
    assert [commit.parent for commit in commits] == [created.oid]
    assert commits[0].title == "Deploy TweetTune" and commits[0].oid in done.stdout
    sent = hub.files(SPACE, kind="space")
    files = deploy.collect(REPOSITORY)
    assert sent == {**files, "README.md": deploy.with_thumbnail(files["README.md"], SPACE)}
    front = yaml.safe_load(sent["README.md"].decode().split("---")[1])
    assert front["thumbnail"] == f"https://huggingface.co/spaces/{SPACE}/resolve/main/docs/preview.png"
    assert "docs/preview.png" in sent
    assert {"app.py", "README.md", "requirements.txt", "ui/page.py", "training/recipes/quick.toml"} <= set(
        sent
    )
    assert not [
        name for name in sent if name.startswith(("tests/", "benchmarks/", "runs/", ".git/", ".venv"))
    ]
    assert hub.repo(SPACE, kind="space").private
    assert hub.space(SPACE).hardware == "cpu-upgrade"
    assert hub.space(SPACE).variables == {"FIRST_RUN": "quick"}, "it has no model"
    hub.space(SPACE).variables.clear()
    run(hub, "--no-wait")
    assert not hub.space(SPACE).variables, "an owner who took it away is not asked again"


@pytest.mark.parametrize("named", ["MODEL_ID=ada/tweets", "FIRST_RUN="])
def test_a_new_space_with_a_model_trains_no_first_run(hub, named):
    run(hub, "--no-wait", "--variable", named)
    assert hub.space(SPACE).variables.get("FIRST_RUN", "") == ""


@pytest.mark.slow
def test_the_files_of_the_allow_list_are_an_app_that_starts(tmp_path):
    """What a Space has is enough: no module, recipe, text or template is missing."""
    for name, content in deploy.collect(REPOSITORY).items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    with app(tmp_path / "home", cwd=tmp_path / "space", cold=True) as url:
        assert json.loads(answers(f"{url}/healthz")) == {"status": "ok", "model": "none"}
        assert "TweetTune" in answers(url)
    done = subprocess.run(
        [sys.executable, "-m", "training", "train", "--help"],
        cwd=tmp_path / "space",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "quick" in done.stdout


def test_it_waits_until_the_app_answers_and_says_which_model_it_has(made, page):
    done = run(made, SECRET_OF_MINE=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"Stage: (\w+)", done.stdout) == ["BUILDING", "RUNNING"]
    assert f"The app answers (model: ready): {page[0]}" in done.stdout
    assert page[1] == [("/healthz", None)] * 2, "a public Space gets no token"


def test_a_private_space_is_asked_with_the_token(hub, page):
    hub.create_repo(SPACE, kind="space", private=True)
    hub.space(SPACE).url = page[0]
    assert run(hub, "--private").returncode == 0
    assert page[1][-1] == ("/healthz", f"Bearer {ADA}")


@pytest.mark.parametrize("address", ["https://example.com", "https://hf.space.example.com"])
def test_the_token_goes_to_the_hubs_hosts_alone(address):
    assert not deploy.may_have_the_token(address, "https://huggingface.co")
    assert deploy.may_have_the_token("https://ada-tweettune.hf.space", "https://huggingface.co")


def test_a_second_time_nothing_is_sent(made):
    assert run(made, "--no-wait").returncode == 0
    before = made.commits(SPACE, kind="space")
    done = run(made, "--no-wait")
    assert "0 new, 0 changed, 0 removed" in done.stdout
    assert made.commits(SPACE, kind="space") == before


def test_stale_files_of_ours_go_and_the_owners_own_stay(made):
    run(made, "--no-wait")
    made.commit(SPACE, {"ui/old.py": b"1", "packages.txt": b"ffmpeg", "app.py": b"print()"}, kind="space")
    done = run(made, "--no-wait")
    assert "0 new, 1 changed, 1 removed" in done.stdout
    assert "Left alone: packages.txt" in done.stdout
    files = made.files(SPACE, kind="space")
    assert "ui/old.py" not in files and files["packages.txt"] == b"ffmpeg"
    assert files["app.py"] == (REPOSITORY / "app.py").read_bytes()


def test_secrets_variables_and_the_bucket_are_set_before_the_files(made):
    arguments = ["--secret", "X_BEARER_TOKEN", "--variable", "MODEL_ID=ada/tweets", "--bucket", "ada/runs"]
    done = run(made, *arguments, "--no-wait", X_BEARER_TOKEN=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    space = made.space(SPACE)
    assert space.secrets == {"X_BEARER_TOKEN": SECRET}
    assert space.variables == {"MODEL_ID": "ada/tweets"}
    assert [(v["type"], v["source"], v["mountPath"]) for v in space.volumes] == [
        ("bucket", "ada/runs", "/data")
    ]
    assert made.spaces.buckets["ada/runs"]["private"]
    order = [
        request.path.rsplit("/", 1)[-1] for request in made.requests if request.method in ("POST", "PUT")
    ]
    assert order.index("secrets") < order.index("main") > order.index("volumes")
    assert SECRET not in done.stdout
    settled = len(made.requests)
    run(made, *arguments, "--no-wait", X_BEARER_TOKEN=SECRET)
    again = [request.path for request in made.requests[settled:] if request.method in ("POST", "PUT")]
    assert [path.rsplit("/", 1)[-1] for path in again] == ["secrets"], "what is equal is not set again"


def test_another_volume_of_the_space_stays(made):
    made.space(SPACE).volumes = [{"type": "model", "source": "ada/tweets", "mountPath": "/models"}]
    run(made, "--bucket", "ada/runs", "--no-wait")
    assert {v["mountPath"] for v in made.space(SPACE).volumes} == {"/models", "/data"}


def test_a_bucket_that_is_mounted_is_not_put_aside_for_another(made):
    volumes = [{"type": "bucket", "source": "ada/old", "mountPath": "/data"}]
    made.space(SPACE).volumes = list(volumes)
    done = run(made, "--bucket", "ada/new", "--variable", "A=b", "--no-wait")
    assert done.returncode == 1
    assert done.stderr.startswith("ada/old is mounted at /data of ada/tweettune, and the app would lose")
    assert made.space(SPACE).volumes == volumes and not made.space(SPACE).variables
    assert len(made.commits(SPACE, kind="space")) == 1


def test_no_token_is_in_any_address_or_on_any_page(made):
    done = run(made)
    assert ADA not in done.stdout + done.stderr
    assert not [request.path for request in made.requests if ADA in request.path]


# --- refusals: each one sentence, each before something is half done


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--secret", "KEY=abc"], "takes a name alone, not KEY="),
        (["--secret", "NOT_THERE"], "export NOT_THERE="),
        (["--variable", "MODEL_ID"], "Write --variable NAME=VALUE"),
        (["--variable", f"HF={ADA}"], "looks like a token, and variables are public"),
    ],
)
def test_a_wrong_command_line_sends_nothing(hub, arguments, says):
    done = run(hub, *arguments)
    assert done.returncode == 1 and says in done.stderr
    assert "abc" not in done.stderr and ADA not in done.stderr
    assert hub.requests == []


def test_without_a_login_it_says_what_to_do(hub):
    done = run(hub, token=None)
    assert (done.returncode, hub.requests) == (1, [])
    assert done.stderr == (
        "It was not possible to deploy: nobody is logged in to the Hub. Log in with `hf auth login`, "
        "or set HF_TOKEN to a token from huggingface.co/settings/tokens.\n"
    )


def test_a_space_of_something_else_is_not_touched(hub):
    hub.create_repo(SPACE, kind="space", files={"app.py": b"1", "game/level.py": b"2"})
    before = hub.commits(SPACE, kind="space")
    done = run(hub, "--variable", "A=b")
    assert done.returncode == 1
    assert f"{SPACE} is a Space of something else (found: game/level.py). Give another name." in done.stderr
    assert hub.commits(SPACE, kind="space") == before and not hub.space(SPACE).variables


def test_a_public_space_is_not_taken_for_a_private_one(made):
    done = run(made, "--private")
    assert done.returncode == 1 and "exists and is public" in done.stderr


def test_nobody_deploys_to_somebody_elses_space(made):
    done = run(made, token=BOB)
    assert done.returncode == 1 and "the token may not do that (403" in done.stderr


def test_without_a_paid_plan_it_says_so(hub):
    hub.add_user("ada", token="hf_" + "poor" * 8 + "ab", paying=False)
    done = run(hub, token="hf_" + "poor" * 8 + "ab")
    assert done.returncode == 1 and "asks for a paid plan (402): a new Gradio Space" in done.stderr


# --- faults


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "send the files: the Hub does not take the token of this login (401: Because). Log in"),
        (403, "send the files: the token may not do that (403: Because). Make one that may, at "),
        (409, "ada/tweettune was changed meanwhile (409: Because). Look at it, then try again."),
        (400, "the Hub refuses it (400: Because). Mend that, then try again."),
    ],
)
def test_a_refused_commit_is_one_sentence_and_the_next_run_completes(made, status, says):
    made.fail("POST /api/spaces/*/commit/*", status=status, message="Because.")
    done = run(made, "--no-wait")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and says in done.stderr
    assert len(made.commits(SPACE, kind="space")) == 1
    assert run(made, "--no-wait").returncode == 0
    assert len(made.commits(SPACE, kind="space")) == 2


def test_a_busy_hub_is_asked_again_when_it_says(made):
    made.fail("POST /api/spaces/*/commit/*", status=429, headers={"Retry-After": "1"})
    made.fail("POST /api/spaces/*/preupload/*", status=503)
    done = run(made, "--no-wait")
    assert done.returncode == 0, done.stderr
    assert "The Hub can't send the files now; again in 1 s." in done.stderr
    assert len(made.commits(SPACE, kind="space")) == 2


def test_an_answer_that_is_lost_makes_no_second_commit(made):
    made.lose("POST /api/spaces/*/commit/*")
    done = run(made, "--no-wait")
    assert done.returncode == 0, done.stderr
    assert len(made.commits(SPACE, kind="space")) == 2


def test_a_space_that_changes_meanwhile_is_not_overwritten(made):
    made.fail("POST /api/spaces/*/commit/*", status=412)
    done = run(made, "--no-wait")
    assert done.returncode == 1
    assert "was changed while this ran; nothing was overwritten. Run it again." in done.stderr
    assert len(made.commits(SPACE, kind="space")) == 1


def test_a_commit_is_made_on_the_parent_that_it_was_compared_with(online):
    first = online.create_repo(SPACE, kind="space")
    online.commit(SPACE, {"inference/artifact.py": b"somebody else's"}, kind="space")
    files = {"inference/artifact.py": b"ours"}
    changes = deploy.compare(files, {}, SPACE)
    api = HfApi(endpoint=online.endpoint, token=ADA)
    with pytest.raises(deploy.DeployError, match="was changed while this ran"):
        deploy._commit(api, SPACE, files, changes, first)
    assert online.files(SPACE, kind="space")["inference/artifact.py"] == b"somebody else's"


def test_a_build_that_fails_shows_the_end_of_its_log_without_the_secrets(made):
    space = made.space(SPACE)
    space.ends_as, space.error = "BUILD_ERROR", "exit code 1"
    original = made.spaces.rebuild

    def rebuild(repo):
        original(repo)
        made.space(SPACE).logs["build"] += ["ERROR: No matching distribution\n", f"token {SECRET}\n"]

    made.spaces.rebuild = rebuild
    done = run(made, "--secret", "KEY", KEY=SECRET)
    assert done.returncode == 1
    assert "The Space is BUILD_ERROR." in done.stderr and "No matching distribution" in done.stderr
    assert SECRET not in done.stderr and "token ***" in done.stderr


def test_a_sleeping_space_that_has_it_all_is_done_and_a_paused_one_is_named(made):
    assert run(made).returncode == 0
    made.space(SPACE).stage = "SLEEPING"
    done = run(made)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The Space sleeps, and wakes when somebody opens it." in done.stdout
    made.space(SPACE).stage = "PAUSED"
    done = run(made)
    assert done.returncode == 1
    assert re.fullmatch(
        r"The files are there, but the Space is paused\. Press Restart at \S+, then run this again\.\n",
        done.stderr,
    )


def test_a_silent_hub_is_asked_again_and_ends_with_a_sentence(online, capsys):
    online.silence("GET /api/spaces/*", times=None)
    api = HfApi(endpoint=online.endpoint, token=ADA)
    with (
        hub_session(Timeouts(answer_s=0.2, tries=2)),
        pytest.raises(HubSilent, match=r"look at ada/tweettune: the Hub gave no answer in time\. Check"),
    ):
        deploy._info(api, SPACE)
    assert len(online.requests) == 2
    assert "The Hub can't look at ada/tweettune now; again in 1 s." in capsys.readouterr().err


def test_an_app_that_never_answers_ends_with_a_sentence(made, page):
    made.space(SPACE).url = "http://127.0.0.1:9"
    done = run(made, "--timeout-s", "1")
    assert done.returncode == 1
    assert "After 1 s the Space is RUNNING and its app does not answer yet." in done.stderr


# --- checks before anything is sent


def test_a_dry_run_shows_files_sizes_and_changes_and_sends_nothing(made):
    done = run(made, "--dry-run", "--variable", "A=b", "--secret", "KEY", KEY=SECRET)
    assert done.returncode == 0
    size = len((REPOSITORY / "app.py").read_bytes())
    assert f"{size:>9,}  app.py" in done.stdout
    assert "Variable A=b" in done.stdout and "Secret KEY: from the environment" in done.stdout
    assert SECRET not in done.stdout
    assert re.search(r"Files: \d+ new, 0 changed, 0 removed", done.stdout)
    assert {request.method for request in made.requests} == {"GET"}


def test_a_dry_run_needs_neither_a_login_nor_a_hub(hub):
    done = run(hub, "--dry-run", token=None)
    assert done.returncode == 0 and "Not compared with the Hub: nobody is logged in" in done.stdout
