"""What an audit found, as HTML: quickly, of the data in the form, and whole, of a finished run.

audit_panel(audit_of(recipe.data.whole()))     # of the form's data
audited(audited_by(run.id)[0], run.id)          # of a run
"""

from collections import Counter
from functools import lru_cache

from inference.common.errors import RunError
from inference.common.text import one_line
from training.audit.findings import Audit, Finding
from training.recipes import DataSpec, Recipe
from training.runs.run import AUDIT
from training.studies.audit_order import AuditOrder
from ui.html import bars, button, esc, fold, muted, note, notes, page, tiles
from ui.plots import titled
from ui.sentences import said
from ui.state import known_run
from ui.translations import text

MOST_AUDITED = 50_000
"""Rows up to which data is audited before a run, in half a minute. The run audits its data itself."""
_MOST_BARS = 12


@lru_cache(maxsize=4)
def audit_of(spec: DataSpec) -> Audit | None:
    """Return the Audit of whole data, None for more than MOST_AUDITED rows. Raises DataError."""
    from training.audit.audit import audit, load_whole  # noqa: PLC0415  (a second: not before the first page)

    splits = load_whole(spec)
    rows = sum(map(len, (splits.train, splits.validation, splits.test)))
    return audit(splits) if rows <= MOST_AUDITED else None


def audited_by(run_id: str) -> tuple[Audit, Recipe]:
    """Return what the audit with this id found, and its recipe. Raises RunError."""
    run = known_run(run_id, kind=AUDIT)
    found = Audit.read(run.path)
    if found is None:
        raise RunError(f"The audit {run.id} is {run.status().state}: it has found nothing yet.")
    return found, AuditOrder.from_json(run.order).settings


def audit_panel(found: Audit | None) -> str:
    """Draw the audit of a data set; None: the data has more than MOST_AUDITED rows, so there is none."""
    title = f"<h2>{esc(text('audit.title'))}</h2>"
    if found is None:
        body = note(text("audit.too_many", most=text.number(MOST_AUDITED), study=text("train.audit")))
    else:
        body = _findings(found) + muted(text("audit.more", study=text("train.audit"))) + _check(found, "")
    return page(title + body, "tt-card tt-stack")


def audited(found: Audit, run: str) -> str:
    """Draw what an audit found that was a run: its rows, pictures, findings and the rows to check."""
    sizes = [
        (text(f"split.{split}"), text.number(n), text("preview.rows")) for split, n in found.rows.items()
    ]
    return tiles(sizes) + _charts(found) + _findings(found) + _check(found, run)


def _charts(found: Audit) -> str:
    places = {label: place for place, label in enumerate(found.labels)}
    flagged, most = Counter(flag.label for flag in found.to_review), max(found.classes.values(), default=1)
    classes = [
        (
            label,
            places[label],
            n / most,
            text("audit.flagged", n=text.number(n), flags=text.number(flagged[label])),
        )
        for label, n in found.classes.items()
    ]
    first = found.turns[0][2] if found.turns else 1
    turns = [
        (f"{text.label(label)} → {text.label(other)}", places[other], n / first, text.number(n))
        for label, other, n in found.turns
    ]
    drawn = titled(text("audit.classes"), "", bars(classes[:_MOST_BARS]))
    if turns:
        drawn += titled(
            text("audit.turns"), "", bars(turns[:_MOST_BARS], like=[other for _, other, _ in found.turns])
        )
    return f'<div class="tt-two tt-charts">{drawn}</div>'


def _check(found: Audit, run: str) -> str:
    """Draw the button that puts the flagged rows of train on Live's desk; `run`: that found them."""
    flags = found.to_review
    if not flags:
        return ""
    sentence = text("audit.flags", n=text.number(len(flags)))
    if left := len(found.flags) - len(flags):
        sentence += f" {text('audit.left', n=text.number(left))}"
    act = button(text("audit.check"), action="check", value=run, css="go")
    return f'<div class="tt-row"><span class="grow">{esc(sentence)}</span>{act}</div>'


def _findings(found: Audit) -> str:
    listed = "".join(f"<li>{_finding(one)}</li>" for one in found.findings)
    return f'<ul class="tt-notes">{listed}</ul>' if listed else f"<p>{esc(text('audit.nothing'))}</p>"


def _finding(one: Finding) -> str:
    setting, _, value = one.act.partition("=")
    act = text("audit.act", setting=text(f"setting.{setting}"), value=value) if setting else ""
    sentence = " ".join(filter(None, (said(one.sentence), act)))
    shown = notes([one_line(example, longest=160) for example in one.examples])
    return fold(sentence, shown) if shown else esc(sentence)
