"""What may leave the machine: the allow-list, the look at every byte, and what prepare says."""

import base64
import getpass
import json
import os
import pickle
import socket
from pathlib import Path

import pytest

from inference.common.errors import ArtifactError, TweetTuneError
from tests.support.publishing import change_json, copy_of
from training.data.load import load_splits
from training.jobs.work import pushable
from training.publish.errors import NotPublishable, PublishError
from training.publish.files import ALLOWED, Outgoing, allowed, collect, loading_facts, without_paths
from training.publish.plan import prepare
from training.publish.scan import check, check_records
from training.publish.verify import PROBES

TOKEN = "hf_" + "Ab3" * 11 + "x"


@pytest.fixture
def artifact(trained_gpt2, tmp_path) -> Path:
    return copy_of(trained_gpt2.artifact, tmp_path)


def names(plan) -> set[str]:
    return {file.path_in_repo for file in plan.files}


def test_a_plan_holds_what_serving_needs_and_the_card(artifact):
    plan = prepare(artifact, "ada/tweets")
    assert {
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("provenance.json", "evaluation.json", "reference.json", "assets/confusion.png"),
        "adapter/adapter_model.safetensors",
    } <= names(plan)
    assert "ada/tweets" in plan.card
    assert plan.size == sum(len(b"".join(file.pieces())) for file in plan.files)


def test_the_exported_network_goes_along(artifact):
    (artifact / "onnx").mkdir()
    for name in ("packed.onnx", "packed_int8.onnx"):
        (artifact / "onnx" / name).write_bytes(b"\x08\x0a rest of a network")
    (artifact / "onnx" / "parity.json").write_text('{"choice": "int8", "why": "int8 is as good."}')
    assert {"onnx/packed.onnx", "onnx/packed_int8.onnx", "onnx/parity.json"} <= names(
        prepare(artifact, "a/b")
    )


UNWANTED = (
    *("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "pytorch_model.bin"),
    *("model.pkl", "trainer_state.json", ".env", "token", "train.csv", "validation.jsonl"),
    *("checkpoint-3/model.safetensors", "onnx/packed.onnx.data.pkl", "assets/notes.txt", "handler.py"),
    *("adapter/optimizer.pt", ".git/config"),
)


def test_what_is_not_on_the_list_stays_and_is_named(artifact):
    for name in UNWANTED:
        (artifact / name).parent.mkdir(exist_ok=True)
        (artifact / name).write_text("left here")
    plan = prepare(artifact, "ada/tweets")
    assert not names(plan) & set(UNWANTED)
    assert not [name for name in UNWANTED if allowed(name)]
    kept_back = set(UNWANTED) - {"assets/notes.txt"}  # the card's own folder is made anew
    assert kept_back <= set(plan.left_out)
    assert any(
        note.startswith(f"{len(plan.left_out)} files of the artifact stay here") for note in plan.notes
    )


def test_every_file_of_a_plan_is_on_the_list(artifact):
    assert all(allowed(name) for name in names(prepare(artifact, "ada/tweets")))
    assert "README.md" in ALLOWED


@pytest.mark.parametrize("name", ["model.safetensors", "evaluation.json", "onnx/packed.onnx"])
def test_a_pickle_under_another_name_is_refused(artifact, name):
    (artifact / name).parent.mkdir(exist_ok=True)
    (artifact / name).write_bytes(pickle.dumps({"weights": list(range(300))}))
    with pytest.raises(NotPublishable, match=f"^{name} is not what its name says, so it is not pushed"):
        collect(artifact, adapter_only=False)


def test_provenance_goes_without_paths(artifact):
    before = json.loads((artifact / "provenance.json").read_text())
    place = before["data"]["source"]["location"]
    assert place.startswith("/") and before["recipe"]["base"].startswith("/")
    plan = prepare(artifact, "ada/tweets")
    [sent] = [b"".join(f.pieces()).decode() for f in plan.files if f.path_in_repo == "provenance.json"]
    assert json.loads(sent)["data"]["source"]["location"] == Path(place).name
    assert str(Path(place).parent) not in sent
    assert str(artifact.parent) not in "".join(
        b"".join(f.pieces()).decode("utf-8", "ignore") for f in plan.files
    )


def test_paths_within_sentences_become_names_too():
    record = {
        "recipe": {"dataset": "some/folder/mine.csv", "base": "auto"},
        "base": {"name": "x/y", "revision": "z"},
        "data": {
            "source": {"kind": "file", "location": "/srv/secret/some/folder/mine.csv"},
            "notes": ["12 rows of /srv/secret/some/folder/mine.csv were empty, some/folder/mine.csv has 90."],
        },
    }
    clean = without_paths(record)
    assert clean["data"]["notes"] == ["12 rows of mine.csv were empty, mine.csv has 90."]
    assert clean["recipe"]["dataset"] == clean["data"]["source"]["location"] == "mine.csv"
    assert clean["base"] == {"name": "x/y", "revision": "z"}


LEAKS = {
    "a Hub token": (f"made with {TOKEN}", "what looks like a token"),
    "a sign-in's token": (f"hf_oauth_{'eyJhbGciOi' * 4}", "what looks like a token"),
    "a header": ("curl -H 'Authorization: Bearer abcdefghijklmnop1234'", "what looks like a token"),
    "X's": ("A" * 24 + "LknFGD%2BxkJ9yyQ8sD3fJ0aQ1wE2rT3yU4iO5p", "what looks like a token"),
    "a key": ("-----BEGIN OPENSSH PRIVATE KEY-----", "what looks like a token"),
    "a home": ("read from " + "/home" + "/somebody/tweets.csv", "a path of this machine"),
    "a Mac's home": ("read from " + "/Users" + "/somebody/tweets.csv", "a path of this machine"),
    "a Windows path": (r"read from C:\Users\somebody\tweets.csv", "a path of this machine"),
    "here": (f"in {Path.cwd()}", "a path of this machine"),
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("file", ["README.md", "evaluation.json", "assets/x.yaml"])
def test_a_leak_is_found_and_not_repeated(name, file):
    content, kind = LEAKS[name]
    with pytest.raises(NotPublishable) as caught:
        check([Outgoing.of("other.md", b"clean"), Outgoing.of(file, content.encode())])
    assert str(caught.value) == f"{file} holds {kind}, so nothing was pushed. Take it out, then push again."


def test_a_token_in_weights_is_found_where_pieces_meet(tmp_path):
    edge = 1 << 24
    for at in (edge - 20, edge - 1, edge + 5, 100):
        content = bytearray(os.urandom(edge + 2000).replace(b"hf_", b"..."))
        content[at : at + len(TOKEN)] = TOKEN.encode()
        (tmp_path / "weights").write_bytes(content)
        with pytest.raises(NotPublishable, match=r"model.safetensors holds what looks like a token"):
            check([Outgoing.of("model.safetensors", tmp_path / "weights")])


def test_secrets_of_the_environment_are_looked_for(monkeypatch):
    files = [Outgoing.of("evaluation.json", b'{"note": "correct-horse-battery"}')]
    check(files)
    monkeypatch.setenv("MY_SERVICE_TOKEN", "correct-horse-battery")
    with pytest.raises(NotPublishable, match=r"evaluation.json holds a secret of this machine"):
        check(files)


def test_clean_text_passes():
    fine = "See https://huggingface.co/home/x and /models/{name}, 3/4 of hf_hub_download, Bearer, ~/.cache."
    check([Outgoing.of("README.md", fine.encode())])


TEXT = "my train was late again and nobody at the station knew why"


@pytest.mark.parametrize(
    "content",
    [
        {"note": f"worst mistake: {TEXT}"},
        {"examples": [TEXT.upper() + "!!!"]},
        {"table": "| my train, was *late* again | and nobody at the station |"},
        {"note": f"a line\nso: {TEXT[:57]}, and more"},
    ],
)
def test_a_run_writes_no_record_with_a_text_of_its_data(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(json.dumps({"n": 3, "labels": ["so tired", "a"]}))
    check_records(tmp_path, ["so tired", TEXT])
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(NotPublishable, match=r"^evaluation.json of \S+ holds a text of the data, where only"):
        check_records(tmp_path, ["so tired", TEXT])


def test_the_records_of_a_real_run_hold_no_text_of_its_data(artifact, trained_gpt2):
    splits = load_splits(trained_gpt2.run.recipe.data)
    texts = [text for rows in (splits.train, splits.validation, splits.test) for text in rows["text"]]
    assert len(texts) >= 300
    check_records(artifact, texts)
    change_json(artifact / "provenance.json", worst=[max(texts, key=len)])
    with pytest.raises(NotPublishable, match=r"^provenance.json of artifact holds a text of the data"):
        check_records(artifact, texts)


def test_secrets_of_whoever_asks_are_looked_for_each_one_of_a_list(artifact):
    change_json(artifact / "evaluation.json", note="key-of-the-second")
    assert "key-of-the-second" not in repr(prepare(artifact, "ada/tweets", secrets=["another-secret-1"]))
    with pytest.raises(NotPublishable, match=r"evaluation.json holds a secret of this machine"):
        prepare(artifact, "ada/tweets", secrets=["key-of-the-first,key-of-the-second"])


def test_the_reference_goes_along_and_its_bits_are_no_token(artifact):
    record = json.loads((artifact / "reference.json").read_text())
    bits = base64.b64encode(bytes(60) + b"some bits of tokens that follow them").decode()
    assert "A" * 60 in bits
    (artifact / "reference.json").write_text(json.dumps(record | {"known_tokens": bits}))
    assert "reference.json" in names(prepare(artifact, "ada/tweets"))
    (artifact / "reference.json").write_text(json.dumps(record | {"note": TOKEN}))
    with pytest.raises(NotPublishable, match=r"reference.json holds what looks like a token"):
        prepare(artifact, "ada/tweets")


def test_a_plan_names_its_files_for_the_next_push(artifact):
    plan = prepare(artifact, "ada/tweets")
    [sent] = [b"".join(f.pieces()) for f in plan.files if f.path_in_repo == "provenance.json"]
    assert set(json.loads(sent)["pushed"]) == names(plan)
    (artifact / "provenance.json").unlink()
    assert "provenance.json" in names(prepare(artifact, "ada/tweets"))


def test_a_base_that_nobody_can_get_is_no_base_for_an_adapter(artifact):
    with pytest.raises(NotPublishable, match="An adapter needs the very base that it was trained on"):
        prepare(artifact, "ada/tweets", adapter_only=True)


def test_an_adapter_carries_what_loading_needs(artifact):
    record = json.loads((artifact / "provenance.json").read_text())
    record["base"] |= {"name": "crew/base", "revision": "a" * 40}
    (artifact / "provenance.json").write_text(json.dumps(record))
    files, _ = collect(artifact, adapter_only=True)
    sent = {file.path_in_repo: b"".join(file.pieces()) for file in files}
    assert {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "classifier_config.json",
    } <= set(sent)
    assert not {"config.json", "model.safetensors"} & set(
        sent
    )  # beside a config, it would load as a whole model
    facts = json.loads(sent["classifier_config.json"])
    assert facts["num_labels"] == 3 and facts["id2label"]["2"] == "positive" and facts["pad_token_id"] == 0
    assert facts == loading_facts(artifact) and facts["n_layer"] == 3
    adapter = json.loads(sent["adapter_config.json"])
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == ("crew/base", "a" * 40)


def test_without_an_adapter_there_is_none_to_push_alone(artifact):
    (artifact / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(
        NotPublishable, match=r"has no adapter/adapter_model.safetensors, so there is no adapter"
    ):
        collect(artifact, adapter_only=True)


def test_a_run_is_found_by_name_and_folder(trained_gpt2, home):
    (home / "runs").mkdir(parents=True)
    (home / "runs" / "mine").symlink_to(trained_gpt2.run.path)
    by_name, by_folder = (prepare(place, "ada/tweets") for place in ("mine", trained_gpt2.run.path))
    assert names(by_name) == names(by_folder)


def test_what_is_no_model_is_said(tmp_path, trained_gpt2):
    with pytest.raises(
        ArtifactError, match=r"nowhere is neither a run nor a model's folder. See the runs with"
    ):
        prepare("nowhere", "ada/tweets")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_bytes((trained_gpt2.run.path / "recipe.toml").read_bytes())
    (run / "status.json").write_text('{"state": "failed"}')
    with pytest.raises(
        PublishError, match=r"The run run is failed, so there is nothing to push yet. Go on with"
    ):
        prepare(run, "ada/tweets")


@pytest.mark.parametrize(
    "name", ["tweets", "a/b/c", "ada/", "ada/..", "ada/x y", "ada/x.git", "../x", "ada/-"]
)
def test_an_impossible_name_is_said_before_anything_else(name):
    with pytest.raises(TweetTuneError, match=r"can't be a repository's name. Write OWNER/NAME"):
        prepare("nowhere", name)


def test_the_probes_are_32_and_different():
    assert len(set(PROBES)) == len(PROBES) == 32


def test_nothing_of_this_machine_leaves(trained_gpt2):
    """The run was trained on a folder and a file by their whole paths."""
    run = trained_gpt2.run
    assert run.recipe.base == str(trained_gpt2.base) and run.recipe.dataset == str(trained_gpt2.data)
    places = {trained_gpt2.base.parent, trained_gpt2.data.parent, run.path.parent, Path.home(), Path.cwd()}
    named = {str(place) for place in places} | {socket.gethostname(), getpass.getuser()}
    known = {word for word in named if len(word) > 5}  # shorter ones stand among weights by chance
    sent = {file.path_in_repo: b"".join(file.pieces()) for file in prepare(run.path, "ada/tweets").files}
    rented, _ = pushable(run.artifact)
    sent |= {f"job: {name}": Outgoing.of(name, source) for name, source in rented.items()}
    for name, content in sent.items():
        content = b"".join(content.pieces()) if isinstance(content, Outgoing) else content
        assert not [word for word in known if word.encode() in content], name
    provenance = json.loads(sent["provenance.json"])
    assert provenance["recipe"]["dataset"] == "tweets.csv" and provenance["recipe"]["base"] == "tiny-gpt2"
