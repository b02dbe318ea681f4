"""Labelled texts as a data set: what becomes public is shown first, and is text and label alone."""

import io
import json
import re

import jsonschema
import pytest
import yaml
from huggingface_hub import DatasetCard, HfApi
from markdown_it import MarkdownIt

from inference.common.errors import DataError
from inference.common.hub import HubBusy, HubSilent, NotLoggedIn
from tests.support import command, tweets
from tests.support.cards import EVIL
from tests.support.hub_fixtures import ADA
from tests.support.publishing import HASTY
from training.cli.main import main
from training.publish.dataset import prepare_data, push_data
from training.publish.errors import NotPublishable, RepoConflict

REPO = "ada/my-labels"
ROWS = [
    {
        "text": "what a lovely morning @anna.b",
        "label": "positive",
        "id": "17",
        "author": "carl",
        "source": "bluesky",
    },
    {"text": "so it rains again, @bob@social.example", "label": "negative", "id": "18", "source": "mastodon"},
    {"text": "the shop opens at nine", "label": "neutral", "id": "19", "source": "bluesky"},
    {"text": "the shop opens at nine", "label": "neutral", "id": "20", "source": "bluesky"},
    {"text": "", "label": "neutral", "id": "21"},
    {"text": "nobody labelled me", "label": None, "id": "22"},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join([*map(json.dumps, ROWS), '{"torn": ']) + "\n")
    return path


def push(hub, file, repo_id=REPO, **options):
    plan = prepare_data(file, repo_id, **options)
    return push_data(plan, HfApi(endpoint=hub.endpoint, token=ADA), timeouts=HASTY)


def test_the_plan_shows_what_will_be_public(file):
    plan = prepare_data(file, REPO)
    assert plan.n == 3 and plan.labels == {"positive": 1, "negative": 1, "neutral": 1}
    assert plan.sentences[0] == (
        "3 texts with their labels (1 positive, 1 negative, 1 neutral) go to ada/my-labels, "
        "readable by everybody, for good."
    )
    assert "1 rows could not be read: left out." in plan.notes
    assert "2 rows had no text or no label: left out." in plan.notes
    assert "1 rows were duplicates: left out." in plan.notes
    assert "2 names of people in the texts became @user." in plan.notes
    assert "Other columns stay here: author, id, source." in plan.notes
    assert "For example, positive: what a lovely morning @user" in plan.sentences
    assert (
        prepare_data(file, REPO, private=True).sentences[0].endswith("readable by you and your organization.")
    )


def test_only_text_and_label_leave(online, file):
    done = push(online, file)
    files = online.files(REPO, kind="dataset")
    assert set(files) == {"README.md", "train.jsonl"}
    rows = [json.loads(line) for line in files["train.jsonl"].decode().splitlines()]
    assert rows[0] == {"text": "what a lovely morning @user", "label": "positive"}
    assert rows[1]["text"] == "so it rains again, @user"
    assert b"carl" not in files["train.jsonl"] + files["README.md"]
    assert done.commit_url == f"{online.endpoint}/datasets/{REPO}/commit/{done.commit}"
    assert "3 posts with a label each" in files["README.md"].decode()


def test_again_unchanged_nothing_is_sent_and_more_rows_are_one_commit(online, file):
    first = push(online, file)
    again = push(online, file)
    assert (again.changed, again.commit) == (False, first.commit)
    with file.open("a") as more:
        more.write(json.dumps({"text": "and one more", "label": "neutral"}) + "\n")
    assert push(online, file).changed
    assert len(online.commits(REPO, kind="dataset")) == 3


@pytest.fixture
def ada(online, monkeypatch):
    """Return this process's Hub, on which ada is logged in; nobody sits at the terminal."""
    monkeypatch.setenv("HF_TOKEN", ADA)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return online


@pytest.mark.usefixtures("warm_starts")
def test_the_datasets_library_reads_it_and_training_takes_it(ada, file, capsys):
    with file.open("a") as more:
        more.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in tweets(60))
    assert main(["push-data", str(file), REPO, "--yes", "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["n"] == 63
    assert "For example, positive: what a lovely morning @user" in stderr
    read = command("training", "data", REPO, "--json", env=ada.environment(ADA))
    assert read.returncode == 0, read.stderr
    assert set(json.loads(read.stdout)["class_balance"]) == {"negative", "neutral", "positive"}


def test_nothing_is_sent_without_a_yes(ada, file, capsys):
    assert main(["push-data", str(file), REPO]) == 1
    stderr = capsys.readouterr().err
    assert "readable by everybody, for good" in stderr and "Nobody is there to agree" in stderr
    assert ada.repo(REPO, kind="dataset") is None
    assert main(["push-data", str(file), REPO, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 3
    assert not ada.requests


def test_another_repository_of_the_same_name_stays(online, file):
    online.create_repo(REPO, kind="dataset", files={"data.parquet": b"theirs"})
    with pytest.raises(
        RepoConflict, match=r"holds other files than labels from here \(found: data.parquet\)"
    ):
        push(online, file)


def published(hub) -> list[dict]:
    return [json.loads(line) for line in hub.files(REPO, kind="dataset")["train.jsonl"].decode().splitlines()]


def test_a_data_set_of_somebody_else_stays_as_it_is(online, file):
    theirs = {
        "README.md": b"---\nlicense: mit\n---\n# Mine\n",
        "train.jsonl": b'{"text": "a", "label": "b"}\n' * 1000,
    }
    for name in ("ada/both", "ada/card", "ada/rows"):
        files = {
            path: c
            for path, c in theirs.items()
            if name == "ada/both" or (path == "README.md") == (name == "ada/card")
        }
        online.create_repo(name, kind="dataset", files=files)
        with pytest.raises(
            RepoConflict,
            match=r"^\S+ holds a data set that TweetTune has not pushed \(found: .* Give another name.$",
        ):
            push(online, file, name)
        assert online.files(name, kind="dataset") == files


def test_a_card_that_nobody_can_read_is_one_sentence(online, file):
    files = {"README.md": b"---\ntags: [\n---\n"}
    online.create_repo(REPO, kind="dataset", files=files)
    with pytest.raises(RepoConflict, match=r"can't be read \(\w+\), so nobody can tell whose data set it is"):
        push(online, file)
    assert online.files(REPO, kind="dataset") == files


def test_labels_accumulate_whoever_pushes_them(online, file, tmp_path):
    """Rows that are there stay, byte for byte; the card counts all, and keeps the licence."""
    push(online, file, licence="cc-by-4.0")
    before = online.files(REPO, kind="dataset")["train.jsonl"]
    online.commit(REPO, {"train.jsonl": before + b'{"other": 1}'}, title="by hand", kind="dataset")
    other = tmp_path / "other.jsonl"
    other.write_text(
        "".join(
            json.dumps(row) + "\n"
            for row in [
                {"text": "the shop opens at nine", "label": "neutral", "source": "x"},
                {"text": "the shop has closed", "label": "negative", "source": "x"},
            ]
        )
    )
    done = push(online, other)
    assert (done.changed, done.n, done.added) == (True, 2, 1)
    rows = published(online)
    assert len(rows) == 5 and rows[0]["label"] == "positive" and rows[3] == {"other": 1}
    assert rows[4] == {"text": "the shop has closed", "label": "negative"}
    card = online.files(REPO, kind="dataset")["README.md"].decode()
    assert "license: cc-by-4.0" in card and "4 posts with a label each" in card
    assert "| earlier pushes | 2 |" in card
    again = push(online, file)
    assert (again.changed, again.added) == (False, 0) and published(online) == rows
    assert any("has already stay there" in one for one in prepare_data(file, REPO).sentences)


def test_a_push_that_is_cut_off_in_its_middle_completes(online, file):
    online.lfs_over, online.part_size = 10, 100
    push(online, file)
    with file.open("a") as more:
        more.writelines(json.dumps({"text": f"row {n}", "label": "neutral"}) + "\n" for n in range(9))
    before = online.files(REPO, kind="dataset")
    online.cut("PUT /*", after_bytes=30, times=None)
    with pytest.raises(HubSilent, match="the connection to the Hub broke"):
        push(online, file)
    assert online.files(REPO, kind="dataset") == before
    online.faults.clear()
    assert push(online, file).added == 9 and len(published(online)) == 12


FAULTS = {
    "POST /api/datasets/*/commit/main": 503,
    "POST /api/repos/create": 500,
    "POST /api/datasets/*/preupload/*": 429,
}


@pytest.mark.parametrize("pattern", FAULTS)
def test_trouble_leaves_nothing_half_and_the_next_push_completes(online, file, pattern):
    online.fail(pattern, status=FAULTS[pattern], times=None)
    with pytest.raises(HubBusy, match=r"the Hub (has trouble|asks to slow down) \(\d+\). Try again in"):
        push(online, file)
    assert online.repo(REPO, kind="dataset") is None or online.files(REPO, kind="dataset") == {}
    online.faults.clear()
    assert push(online, file).changed


def test_a_silent_hub(online, file):
    online.silence("POST /api/datasets/*/commit/main", times=None)
    with pytest.raises(HubSilent, match="write to ada/my-labels: the Hub gave no answer in time"):
        push(online, file)


def test_nobody_is_logged_in(online, file):
    with pytest.raises(NotLoggedIn, match="nobody is logged in"):
        push_data(prepare_data(file, REPO), HfApi(endpoint=online.endpoint))


BAD = {
    "": "holds no JSON object a line. Give a JSONL file of labelled texts.",
    '{"body": "x", "label": "a"}': r"has no column text \(found: body, label\). Name it so.",
    '{"text": "", "label": "a"}': "has no row with a text and a label. Label some posts first.",
    "\n".join(
        json.dumps({"text": f"t{n}", "label": f"l{n}"}) for n in range(101)
    ): "has 101 different labels.",
}


@pytest.mark.parametrize("content", BAD)
def test_a_file_that_is_no_such_data_is_said(file, content):
    file.write_text(content)
    with pytest.raises(DataError, match=BAD[content]):
        prepare_data(file, REPO)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"gone.jsonl can't be read \(.*\); check the path"):
        prepare_data(tmp_path / "gone.jsonl", REPO)


def test_a_token_in_a_text_stops_it(file):
    file.write_text(json.dumps({"text": f"look: {ADA}", "label": "neutral"}))
    with pytest.raises(NotPublishable, match=r"train.jsonl holds what looks like a token"):
        prepare_data(file, REPO)


# --- the card

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["pretty_name", "task_categories", "size_categories", "configs"],
    "properties": {
        "language": {"type": "array", "items": {"pattern": "^[a-z]{2,3}$"}},
        "license": {"type": "string"},
        "pretty_name": {"type": "string"},
        "tags": {"type": "array"},
        "task_categories": {"const": ["text-classification"]},
        "task_ids": {"const": ["sentiment-classification"]},
        "size_categories": {"type": "array", "items": {"enum": ["n<1K", "1K<n<10K", "10K<n<100K", "other"]}},
        "configs": {"type": "array", "items": {"type": "object", "required": ["config_name", "data_files"]}},
    },
}


def card_of(plan) -> tuple[str, dict]:
    """Return a plan's card and its metadata, which follows the Hub's schema."""
    card = b"".join(plan.files[0].pieces()).decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    jsonschema.validate(metadata, SCHEMA)
    assert DatasetCard(card).data.pretty_name == "my-labels"
    return card, metadata


def test_a_data_card_counts_and_tells_no_text(file):
    card, metadata = card_of(prepare_data(file, REPO))
    assert metadata["size_categories"] == ["n<1K"]
    assert metadata["configs"][0]["data_files"] == [{"split": "train", "path": "train.jsonl"}]
    assert "license" not in metadata and "no licence is given here" in card
    lines = ("| negative | 1 | 33.3 % |", "| bluesky | 3 | 100.0 % |", "- 2 rows had no text or no label")
    assert all(line in card for line in lines)
    assert f'load_dataset("{REPO}", split="train")' in card and f"--dataset {REPO}`" in card
    assert not [row["text"] for row in ROWS if row["text"] and row["text"] in card]


def test_a_data_card_with_a_licence_languages_other_labels_and_hostile_names(file):
    rows = [
        {"text": f"{place} {evil}", "label": evil, "source": evil, "lang": ("../x", "pt")[place % 2]}
        for place in range(200)
        for evil in EVIL
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    card, metadata = card_of(prepare_data(file, REPO, licence="cc-by-4.0"))
    assert metadata["license"] == "cc-by-4.0" and "no licence" not in card
    assert "task_ids" not in metadata and metadata["language"] == ["pt"]
    assert metadata["size_categories"] == ["1K<n<10K"]
    shown = MarkdownIt("commonmark").enable("table").render(card.split("\n---\n", 1)[1])
    assert not re.search(r"<(script|img|a) ", shown)
    for left in ("{{", "{%", "None"):
        assert left not in card or left in "".join(EVIL)
