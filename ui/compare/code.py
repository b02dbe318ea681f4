"""Shows how programs ask the compared models: Python, curl, JavaScript, MCP, at this very address.

    code = build_code(lineup, models)                  # the section; it follows `models`
    in_code("https://a.example", ["base", "tuned"])    # the same as HTML

The loaded model and its base are served by the routes beside the page. Models that only the page compares
(prompts, other runs, models of the Hub) are asked through its own API, `/answers`; `/explain` tells why.
"""

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

from inference.classifier import Prediction
from inference.common.errors import PredictionError
from inference.common.text import whole
from inference.explain import flips, leave_one_out
from ui.account import address_of, may_train, visitor_of
from ui.compare.lineup import BASE, TUNED, Lineup
from ui.html import QUIET, esc, fold, html, muted, page
from ui.translations import text

TWEET = "ugh my flight got cancelled again"
SERVED = {TUNED: "fine-tuned", BASE: "base"}
"""The names of the served models in the routes beside the page."""
MOST_ASKED = 64
"""The most texts in one request."""


def build_code(lineup: Lineup, models: gr.Dropdown) -> gr.HTML:
    """Draw the section inside the current Blocks, and add the API endpoint that it shows."""
    code = html(elem_id="code")

    def code_of(chosen: list[str] | None, request: gr.Request) -> str:
        return in_code(address_of(request), lineup.standard(chosen or []))

    def answers(texts: list[str], models: list[str], request: gr.Request) -> list[dict[str, Any]]:
        """Return what each of the models says of each text."""
        if not (texts and isinstance(texts, list | str) and len(texts) <= MOST_ASKED):
            raise PredictionError(text("compare.too_many_texts", most=text.number(MOST_ASKED)))
        may = may_train(lineup.workbench.settings, visitor_of(request, None))
        asked = lineup.of([str(name) for name in models or []], may_load=may)
        return [
            {
                "text": whole(one),
                **{who.key: _record(who.labels, each) for who, each in zip(asked, found, strict=True)},
            }
            for one, *found in zip(texts, *lineup.answers(asked, texts), strict=True)
        ]

    def explain(tweet: str, models: list[str], request: gr.Request) -> list[dict[str, Any]]:
        """Return which words moved the answer of each model, and which small changes of the tweet flip it."""
        if not isinstance(tweet, str) or not tweet.strip():
            raise PredictionError(text("compare.no_text"))
        may = may_train(lineup.workbench.settings, visitor_of(request, None))
        found = []
        for who in lineup.of([str(name) for name in models or []], may_load=may):
            moved = leave_one_out(who.predict, tweet, who.labels)
            words = [{"word": whole(piece), "weight": round(weight, 4)} for piece, weight in moved.pieces]
            flipped = flips(who.predict, tweet)
            found.append({"model": who.key, "label": moved.label, "words": words, "flips": flipped})
        return found

    models.change(code_of, models, code, **QUIET)
    gr.api(answers, api_name="answers", concurrency_id="classify")
    gr.api(explain, api_name="explain", concurrency_id="explain")
    return code


def _record(labels: Sequence[str], answer: Prediction) -> dict[str, object]:
    shares = zip(labels, answer.probabilities, strict=True)
    return {"label": answer.label, "scores": {label: round(share, 4) for label, share in shares}}


def in_code(address: str, chosen: Sequence[str] = (), *, tweet: str = TWEET) -> str:
    """Draw how programs ask the chosen models at this address; by default the loaded model."""
    names = [SERVED[key] for key in chosen or (TUNED,) if key in SERVED]
    all_served = len(names) == len(chosen or (TUNED,))
    programs = _by_routes(address, tweet, names) if all_served else _by_page(address, tweet, chosen)
    programs["MCP"] = json.dumps({"mcpServers": {"tweettune": {"url": f"{address}/mcp"}}}, indent=2)
    drawn = "".join(
        f'<h3>{name}</h3><pre class="tt-pre" tabindex="0" role="region" aria-label="{name}">{esc(code)}</pre>'
        for name, code in programs.items()
    )
    remark = "" if all_served else muted(text("compare.code_page"))
    return page(fold(text("compare.code"), f'<div class="tt-stack">{remark}{drawn}</div>'))


def _by_routes(address: str, tweet: str, names: Sequence[str]) -> dict[str, str]:
    """Return programs that ask the served models through the routes beside the page."""
    quoted, many = json.dumps(tweet, ensure_ascii=False), len(names) > 1
    url = f"{address}/v1/compare" if many else f"{address}/models/{names[0]}"
    asked = {"inputs": tweet, "models": list(names)} if many else {"inputs": tweet}
    loop = "".join(
        f'\nclient = InferenceClient(base_url="{address}/models/{name}")\n'
        f"print(client.text_classification({quoted}))"
        for name in names
    )
    return {
        "Python": f"from huggingface_hub import InferenceClient\n{loop}",
        "curl": f'curl -s {url} -H "Content-Type: application/json" \\\n  -d {_in_quotes(asked)}',
        "JavaScript": f'const answer = await fetch("{url}", {{\n  method: "POST",\n'
        '  headers: {"Content-Type": "application/json"},\n'
        f"  body: JSON.stringify({json.dumps(asked, ensure_ascii=False)}),\n}});\n"
        "console.log(await answer.json());",
    }


def _by_page(address: str, tweet: str, chosen: Sequence[str]) -> dict[str, str]:
    """Return programs that ask models that only the page compares: prompts, other runs, the Hub's."""
    texts, models = (json.dumps(each, ensure_ascii=False) for each in ([tweet], list(chosen)))
    call, data = f"{address}/gradio_api/call/answers", {"data": [[tweet], list(chosen)]}
    return {
        "Python": f'from gradio_client import Client\n\nclient = Client("{address}")\n'
        f'print(client.predict({texts}, {models}, api_name="/answers"))',
        "curl": f'id=$(curl -s {call} -H "Content-Type: application/json" \\\n  -d {_in_quotes(data)} '
        f"| cut -d '\"' -f 4)\ncurl -sN {call}/$id",
        "JavaScript": 'import { Client } from "@gradio/client";\n\n'
        f'const client = await Client.connect("{address}");\n'
        f'console.log((await client.predict("/answers", [{texts}, {models}])).data);',
    }


def _in_quotes(asked: object) -> str:
    """Return JSON quoted for a shell, whatever quotes a text has."""
    return "'" + json.dumps(asked).replace("'", "\\u0027") + "'"
