"""One text at every door: training, engines, servers, feeds and files see the same tokens of it."""

import importlib.util
import json

import pytest
from transformers import AutoTokenizer, pipeline

from inference import Classifier
from inference.baselines.bag_of_words import BagOfWords
from inference.common.mend import mended
from inference.live.feed import Feed
from inference.live.post import Post
from inference.prompt import MENDED, MENDED_ENTITIES
from inference.scoring.score import Progress, classify_here
from inference.tables.formats import open_texts
from tests.support import REPOSITORY, exporting, tweets, wait_for
from tests.support.feeds import Given
from tests.support.serve import serving
from training.data.load import load_splits
from training.fit.rows import encoded_rows
from training.recipes import DataSpec


def misread(text: str, codec: str = "sloppy-windows-1252") -> str:
    return text.encode().decode(codec)


CARRIED = [
    "i love it &amp; you &lt;3 &#39;so&#39; &#x2665; &quot;happy&quot;",
    "twice &amp;amp;lt;3 escaped",
    misread("don’t be sad – it’s “great” …"),
    misread("Zoë é incrível, não é má: informação über señor"),
    misread("café €5", "latin-1"),
    misread("love it 😂😍 ❤"),
    "sad\x00 lost",
    "cafe\u0301 happy",
    "\u202ebackwards مرحبا بالعالم שלום",
    "👨‍👩‍👧‍👦 🏳️‍🌈 ＷＩＤＥ “curly”",
    "see https://t.co/x?a=1&amp;b=2 it`s",
    "AT&T &foo; &; 5 < 6",
    "\ufeff\x1b[31mred\x1b[0m\x07 control\x7f \u2028 line \ufff9",
    "Ã’ la",
    "",
    " \n\t ",
    "love " * 20_000,
]
"""What a plain `pipeline` sees as every door of ours does."""
MORE = [
    misread("привет, мир! как дела"),
    misread("こんにちは世界"),
    misread("مرحبا بالعالم"),
    misread(misread("déjà vu")),
    misread("so 🤩🥹 it was"),
    "lone \ud83d half, \udfff other",
    "pair \ud83d\ude00 of halves",
    "caf\udce9 byte",
    "what\u0085 a C1 control",
    "&&#97;mp;lt; nested &am\x01p;lt;",
    "love &amp; " * 10_000,
    "\0" * 100_000 + "happy",
    "🙈" * 100_000,
]
HOSTILE = CARRIED + MORE


@pytest.fixture(scope="module")
def artifact(trained_gpt2, tmp_path_factory):
    """Return an artifact with its onnx/ folder."""
    return exporting.exported(trained_gpt2.artifact, tmp_path_factory.mktemp("one") / "gpt2")


@pytest.fixture(scope="module")
def classifier(artifact):
    return Classifier.load(artifact, engine="torch")


@pytest.fixture(scope="module")
def token_ids(classifier):
    """Return each text's token ids, encoded alone."""
    return {text: classifier.encode([text]).token_ids[0] for text in HOSTILE}


@pytest.fixture(scope="module")
def answers(classifier):
    return classifier.predict(HOSTILE)


def alike(found, answers, abs=1e-4):
    for one, other in zip(found, answers, strict=True):
        assert one == pytest.approx(other.probabilities, abs=abs)


def test_a_batch_encodes_as_single_texts_do(classifier, token_ids):
    assert classifier.encode(HOSTILE).token_ids == list(token_ids.values())
    assert classifier.encode(mended(HOSTILE)).token_ids == list(token_ids.values())


def test_a_mended_text_and_its_sound_form_are_one(classifier, token_ids):
    sound = {
        CARRIED[0]: "i love it & you <3 'so' ♥ \"happy\"",
        CARRIED[1]: "twice <3 escaped",
        CARRIED[2]: "don’t be sad – it’s “great” …",
        MORE[0]: "привет, мир! как дела",
        MORE[1]: "こんにちは世界",
        MORE[3]: "déjà vu",
        MORE[7]: "café byte",
        MORE[9]: "< nested <",
        MORE[11]: "happy",
    }
    assert classifier.encode(list(sound.values())).token_ids == [token_ids[text] for text in sound]


def test_training_reads_a_file_into_the_same_tokens(artifact, classifier, token_ids, tmp_path):
    rows = {"train": HOSTILE, "validation": ["sunny day", "rainy day"], "test": ["good one", "bad one"]}
    for split, texts in rows.items():
        lines = (json.dumps({"text": text, "label": "ab"[at % 2]}) for at, text in enumerate(texts))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    splits = load_splits(DataSpec(dataset=str(tmp_path)))
    rows = encoded_rows(AutoTokenizer.from_pretrained(artifact), splits.train)
    kept = [text for text in HOSTILE if mended([text]) != [""]]
    assert rows.token_ids == [token_ids[text] for text in kept]
    assert rows.truncated == sum(classifier.encode(kept).truncated)


def test_onnx_sees_the_same_tokens_and_answers_as_torch_does(artifact, token_ids, answers):
    onnx = Classifier.load(artifact, engine="onnx")
    assert onnx.encode(HOSTILE).token_ids == list(token_ids.values())
    alike([one.probabilities for one in onnx.predict(HOSTILE)], answers, abs=0.05)  # its int8 rounds


def test_rest_answers_as_the_classifier_does(artifact, answers):
    with serving(
        {"demo": str(artifact)}, load=lambda source: Classifier.load(source, engine="torch")
    ) as server:
        found = server.ask({"inputs": HOSTILE}).json
    for rows, answer in zip(found, answers, strict=True):
        scores = {row["label"]: row["score"] for row in rows}
        alike([[scores[label] for label in sorted(scores)]], [answer])


def test_a_feed_shows_and_classifies_the_same_text(classifier, token_ids):
    given, seen = [text for text in HOSTILE if mended([text]) != [""]], []

    def classify(texts):
        seen.extend(texts)
        return classifier.predict(texts)

    posts = [Post(str(number), text) for number, text in enumerate(given)]
    feed = Feed(Given(posts), classify, labels=classifier.labels, lossless=True)
    feed.start()
    wait_for(lambda: feed.snapshot().state == "ended")
    assert classifier.encode(seen).token_ids == [token_ids[text] for text in given]
    assert seen[0] == "i love it & you <3 'so' ♥ \"happy\""


def test_a_scored_file_has_the_classifiers_answers(classifier, answers, tmp_path):
    file = tmp_path / "posts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in HOSTILE))
    chunks = open_texts(file).chunks()
    [(_, found)] = classify_here(classifier, Progress(lambda share, sentence: None), chunks)
    alike([one.probabilities for one in found], answers)


def test_the_endpoints_handler_sees_the_same_tokens(trained_gpt2, token_ids):
    spec = importlib.util.spec_from_file_location("handler", REPOSITORY / "handler.py")
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    endpoint, seen = handler.EndpointHandler(str(trained_gpt2.artifact)), {}
    logits = endpoint.logits
    for text in HOSTILE:
        endpoint.logits = lambda ids, text=text: logits(seen.setdefault(text, ids))
        endpoint({"inputs": text})
    assert {text: ids for text, [ids] in seen.items()} == token_ids


def test_a_plain_pipeline_sees_what_its_tokenizer_can_mend(artifact, token_ids, answers):
    tokenizer = AutoTokenizer.from_pretrained(artifact)
    encoded = tokenizer(CARRIED, truncation=True)["input_ids"]
    assert encoded == [token_ids[text] for text in CARRIED]
    plain = pipeline("text-classification", str(artifact), top_k=None)
    for rows, answer in zip(plain(CARRIED, truncation=True), answers, strict=False):
        scores = {row["label"]: row["score"] for row in rows}
        alike([[scores[label] for label in sorted(scores)]], [answer])


def test_a_plain_pipeline_mends_these_characters_in_these_forms(artifact, classifier):
    tokenizer = AutoTokenizer.from_pretrained(artifact)
    forms = [(f"&#{ord(each)};", f"&#x{ord(each):X};") for each in "&" + MENDED_ENTITIES + MENDED]
    forms += [(misread(each), misread(each, "latin-1")) for each in MENDED]
    sound = [*("&" + MENDED_ENTITIES + MENDED), *MENDED]
    for each, written in zip(sound, forms, strict=True):
        texts = [f"what a day {form}la it was" for form in (each, *written)]
        assert len({tuple(ids) for ids in tokenizer(texts)["input_ids"]}) == 1, (each, written)
        assert len({tuple(ids) for ids in classifier.encode(texts).token_ids}) == 1, (each, written)


def test_baselines_see_the_mended_text():
    texts, labels = zip(*tweets(60), strict=True)
    names = sorted(set(labels))
    bag = BagOfWords.fit(
        [text.replace("love", "lov&eacute;") for text in texts],
        [names.index(one) for one in labels],
        names=names,
    )
    assert bag.predict(["lov&amp;eacute; it"]) == bag.predict(["lové it"]) != bag.predict(["lov it"])
