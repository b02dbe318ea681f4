"""How a push stands, in HTML: its steps, what is sent, the card, the result or the reason.

Draws a `ui.pushes.Publication`; knows nothing about processes or the Hub.
"""

from typing import Any

from ui.html import button, esc, note, notes, page, row, table
from ui.pushes import Publication
from ui.translations import Texts


def publication(push: Publication | None, text: Texts) -> str:
    """Draw somebody's newest push; "" when there is none."""
    if push is None:
        return ""
    order = push.order
    title = text("publish.title_look" if order.dry_run else "publish.title_push", run=order.run_id)
    action = button(text("publish.cancel"), action="cancel", value="") if push.state == "running" else ""
    parts = [
        f'<div class="tt-row"><h2>{esc(title)} <span class="muted">{esc(order.repo_id)}</span></h2>'
        f'<span class="grow"></span><span class="tt-actions">{action}</span></div>'
    ]
    if push.state == "running":
        parts.append(_standing(push, text))
    elif push.state == "done" and push.result:
        parts.append(_result(push, push.result, text))
    elif push.state == "cancelled":
        parts.append(note(text("publish.cancelled"), "warn"))
    elif push.state == "failed":
        parts.append(note(push.error, "bad"))
    if push.plan and (order.dry_run or push.state == "running"):
        parts.append(_plan(push.plan, text))
    return page(f'<div class="tt-stack">{"".join(parts)}</div>', "tt-push")


def _standing(push: Publication, text: Texts) -> str:
    phase = str(push.step.get("phase", "") or "prepare")
    name = text(f"publish.step_{phase}") if text.has(f"publish.step_{phase}") else phase
    done, total = _number(push.step.get("done")), _number(push.step.get("total"))
    share = min(done / total, 1.0) if total else None
    line = f"{name} · {size(int(done), text)} / {size(int(total), text)}" if total else name
    width = f' style="width:{100 * share:.1f}%"' if share is not None else ""
    known = f'aria-valuenow="{round(100 * share)}"' if share is not None else ""
    css = "tt-progress" if share is not None else "tt-progress endless"
    right = f'<b class="num">{text.percent(share, 0)}</b>' if share is not None else ""
    return (
        '<div><div class="tt-row" style="margin-bottom:6px" role="status">'
        f'<span class="grow">{esc(line)}</span>{right}</div><div class="{css}" role="progressbar" '
        f'aria-label="{esc(text("publish.progress"))}" aria-valuemin="0" aria-valuemax="100" {known}>'
        f"<div{width}></div></div></div>"
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _result(push: Publication, result: dict[str, Any], text: Texts) -> str:
    verified = result.get("verified") or {}
    said = text("publish.done" if result.get("changed", True) else "publish.unchanged")
    if verified:
        said += " " + text(
            "publish.verified",
            n=verified.get("n_texts", 0),
            difference=f"{_number(verified.get('largest_difference')):.1g}",
        )
    links = [
        f'<a href="{esc(url)}" target="_blank" rel="noopener">{esc(text(name))}</a>'
        for name, url in (
            ("publish.commit", result.get("commit_url")),
            ("publish.pr_link", result.get("pr_url")),
        )
        if str(url or "").startswith(("https://", "http://"))
    ]
    remarks = notes([str(each) for each in result.get("notes") or ()])
    return f'{note(said, "good")}<div class="tt-row">{" ".join(links)}</div>{remarks}'


def _plan(plan: dict[str, Any], text: Texts) -> str:
    files = plan.get("files") or []
    rows = [
        row("", [(esc(file["name"]), "name"), (esc(size(file["size"], text)), "num nowrap")])
        for file in files
    ]
    total = size(sum(file["size"] for file in files), text)
    head = [(text("publish.files", n=len(files), size=total), ""), (text("publish.size"), "num")]
    drawn = table(head, rows, caption=text("publish.files", n=len(files), size=total), css="tall")
    drawn += notes([str(each) for each in plan.get("notes") or ()])
    card = str(plan.get("card") or "")
    if card:
        name = esc(text("publish.card"))
        drawn += (
            f'<details class="tt-details"><summary>{name}</summary>'
            f'<pre class="tt-pre" tabindex="0" role="region" aria-label="{name}">{esc(card)}</pre></details>'
        )
    return drawn


def size(n_bytes: int, text: Texts) -> str:
    """Write a number of bytes in the largest unit that fits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{text.number(n_bytes / factor, 1)}\u00a0{unit}"
    return f"{text.number(n_bytes)}\u00a0B"
