"""A base is adapted to texts without labels: better on such texts, a base still, no held-out row learnt."""

import io
import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from inference.common.errors import BaseError, DataError, RecipeError
from inference.common.store import write_json
from tests.support import tweets, work_here, write_csv
from tests.support.tiny import Never
from training.cli import studies as cli_studies
from training.cli.main import main
from training.data.load import load_splits
from training.evaluate.perplexity import IGNORED, bits_of, compared, general_texts
from training.fit.prepare import prepare
from training.model.bases import resolve_base
from training.recipes import Recipe
from training.runs.log import RunLog
from training.runs.process import Cancelled
from training.runs.run import with_whole_paths
from training.studies import adapt as adapting
from training.studies.adapt import Blocks, adapt
from training.studies.adapt_order import Adapted, AdaptOrder, adapt_recipe


class Asked:
    """A request to stop that comes after some steps."""

    def __init__(self, after):
        self.after, self.gently, self.looked = after, False, 0

    @property
    def asked(self):
        self.looked += self.gently
        return self.looked > self.after


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("labelled") / "labelled.csv", tweets(120, seed=3))


def corpus_of(folder, labelled):
    """Write 200 new texts and all rows of the labelled data, and return the file."""
    new = [text for text, _ in tweets(200, seed=11)]
    rows = [(text, "") for text in [*new, *(text.upper() for text, _ in tweets(120, seed=3))]]
    return write_csv(folder / "corpus.csv", rows, header=("body", "id"))


def order_of(corpus, labelled, base):
    settings = {"base": str(base), "dataset": str(labelled), "learning_rate": 3e-3, "epochs": 2.0}
    recipe = adapt_recipe("corpus", {**settings, "max_length": 64})
    return AdaptOrder(recipe=recipe.model_dump(), corpus=str(corpus), text_column="body")


@pytest.fixture(scope="module")
def adapted(tiny_gpt2, labelled, tmp_path_factory):
    """Return the run of an adaptation that was stopped after some steps and resumed, and one that was not."""
    folder, runs = tmp_path_factory.mktemp("corpus"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWEETTUNE_HOME", str(folder))
        patch.setattr(adapting, "NEW_TOKENS", 6)
        order = order_of(corpus_of(folder, labelled), labelled, tiny_gpt2)
        for stops in (True, False):
            run = order.create(name="corpus")
            if stops:
                with pytest.raises(Cancelled):
                    adapt(run, RunLog(run.path), Asked(after=5))
                assert len(list((run.path / "checkpoints").iterdir())) == 1
            adapt(run, RunLog(run.path), Never())
            runs.append(run)
    return runs


def test_it_predicts_the_domain_better_and_says_what_it_forgot(adapted):
    found = Adapted.read(adapted[0].path)
    assert found.domain.change.high < 0 and found.domain.after < found.domain.before
    assert found.general.texts == len(general_texts()) == 24 and found.general.characters > 8000
    sentences = found.sentences()
    assert "predicts such texts better" in sentences[1] and "bits per character before" in sentences[2]
    assert json.loads((adapted[0].path / "adapt.json").read_text())["sentences"] == sentences
    assert (adapted[0].path / "adapt.png").read_bytes().startswith(b"\x89PNG")
    assert len(found.generations) == 5 and all(one.before != one.after for one in found.generations)
    assert not (adapted[0].path / "checkpoints").exists()
    phases = [event["phase"] for event in adapted[0].events("progress")]
    assert list(dict.fromkeys(phases)) == ["prepare", "before", "train", "after"]
    assert all(event["time_left_s"] is not None for event in adapted[0].events("progress")[-3:])


def test_a_stopped_one_ends_with_the_same_weights(adapted):
    one, other = (AutoModelForCausalLM.from_pretrained(run.artifact).state_dict() for run in adapted)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_held_out_rows_of_the_labelled_data_are_not_learnt(adapted, labelled):
    account = adapted[0].events("data")[0]["corpus"]
    splits = load_splits(Recipe(dataset=str(labelled)).data)
    held_out = len(splits.validation) + len(splits.test)
    assert account["read"] == 320 and account["leaks"] >= held_out
    assert account["used"] == 320 - account["leaks"] - account["duplicates"]


def test_the_result_is_a_base(adapted, labelled, tmp_path, monkeypatch):
    run = adapted[0]
    recipe = Recipe(base=str(run.path), dataset=str(labelled), n_train=16, max_length=32)
    base = resolve_base(recipe.base)
    assert base.name == run.id and base.reason.endswith("it is tiny-gpt2, adapted to corpus.csv")
    assert AutoConfig.from_pretrained(run.artifact).use_cache, "as it was in the base"
    prepared = prepare(recipe, tmp_path)
    assert prepared.lm.has_output and prepared.lm.trained_head is None
    adapted_weights = AutoModelForCausalLM.from_pretrained(run.artifact).transformer.wte.weight
    assert torch.equal(prepared.untouched.transformer.wte.weight, adapted_weights)
    monkeypatch.setenv("TWEETTUNE_HOME", str(run.path.parent.parent))
    assert with_whole_paths(Recipe(base=run.id)).base == str(run.path), "by its name, too"


def test_the_end_of_a_text_is_learnt_though_it_is_the_pad():
    blocks = Blocks.packed([[5, 6], [7], [8, 9, 3]], length=4, end=0)
    assert blocks.blocks == [[0, 5, 6, 0], [7, 0, 8, 9], [3, 0]]
    batch = blocks.collate([blocks[1], blocks[2]])
    assert batch["labels"].tolist() == [[7, 0, 8, 9], [3, 0, IGNORED, IGNORED]]
    assert batch["input_ids"][1].tolist() == [3, 0, 0, 0]


def test_bits_are_the_models_own_loss_however_texts_are_batched(tiny_gpt2):
    model, tokenizer = (kind.from_pretrained(tiny_gpt2) for kind in (AutoModelForCausalLM, AutoTokenizer))
    texts = ["so happy today", "the report is at work " * 90, "", "lost"]
    found = bits_of(model, tokenizer, texts)
    with torch.no_grad():
        ids = torch.tensor([[0, *tokenizer(texts[0])["input_ids"]]])
        loss = model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1) / torch.log(torch.tensor(2.0))
    assert found[0] == pytest.approx(loss.item(), rel=1e-5) and found[2] == 0
    assert found[1] == pytest.approx(bits_of(model, tokenizer, texts[1:2])[0], rel=1e-5), "in windows"
    change = compared(found[:2], found[:2] * 1.1, texts[:2]).change
    assert change.low <= change.value <= change.high and change.low > 0


@pytest.mark.parametrize(
    ("lines", "said"), [(0, "short.txt is empty"), (3, "short.txt has 3 texts that can be learnt from, and")]
)
def test_a_corpus_of_no_or_few_lines_is_one_sentence(
    lines, said, tiny_gpt2, labelled, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "short.txt"
    file.write_text("".join(f"a text with the number {n}\n" for n in range(lines)))
    monkeypatch.setattr(cli_studies.process, "start", work_here)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["adapt", str(file), "--base", str(tiny_gpt2), "--dataset", str(labelled)]) == 1
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1] and "Traceback" not in error.splitlines()[-1]


def test_what_means_nothing_to_an_adaptation_is_refused(home, labelled, capsys):
    for setting in ("lora_r=4", "method=lora", "patience=1"):
        assert main(["adapt", str(labelled), "--set", setting]) == 1
        assert "means nothing to an adaptation" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="no setting 'lerning_rate'"):
        adapt_recipe("x", {"lerning_rate": 1})
    assert not (home / "runs").exists()


def test_a_classifier_and_another_file_than_before_are_refused(labelled, tiny_gpt2, tmp_path, home, capsys):
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_gpt2, num_labels=2)
    classifier.save_pretrained(tmp_path / "classifier")
    AutoTokenizer.from_pretrained(tiny_gpt2).save_pretrained(tmp_path / "classifier")
    corpus = corpus_of(tmp_path, labelled)
    asked = ["adapt", str(corpus), "--dataset", str(labelled), "--base", str(tmp_path / "classifier")]
    assert main(asked) == 1
    said = "classifier is a classifier, whose head would be lost. Give the base it was trained from.\n"
    assert capsys.readouterr().err.endswith(said)
    assert not (home / "runs").exists(), "nothing was begun"
    run = order_of(corpus, labelled, tiny_gpt2).create(name="corpus")
    later = {**run.order, "kind": "adapt", "recipe": {**run.order["recipe"], "base": asked[-1]}}
    write_json(run.path / "run.json", later)
    with pytest.raises(BaseError, match="classifier is a classifier, whose head would be lost"):
        adapt(run, RunLog(run.path), Never())
    write_json(run.path / "run.json", {**later, "recipe": {**later["recipe"], "base": str(tiny_gpt2)}})
    write_csv(corpus, tweets(60), header=("body", "id"))
    with pytest.raises(DataError, match=r"corpus\.csv has changed since the run began"):
        adapt(run, RunLog(run.path), Never())
