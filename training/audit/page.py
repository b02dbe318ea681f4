"""An audit as files: a page for people, and its flags as a table.

write_page(found, Path("audit.html"))
write_flags(found, Path("flags.csv"))          # text, label, suggested, reason, split: a queue to relabel
read_flags(Path("flags.csv"))                  # -> the flags
"""

import csv
import io
from html import escape
from pathlib import Path

from inference.common.errors import DataError
from inference.common.store import write_text
from inference.common.text import one_line
from training.audit.findings import Audit, Flag
from training.data.read import read_table

COLUMNS = ("text", "label", "suggested", "reason", "split")
SHOWN = 500
_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:70rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8886;"
    "overflow-wrap:anywhere}"
)


def write_flags(found: Audit, path: Path) -> None:
    """Write the flags as CSV, with a header."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([getattr(flag, name) for name in COLUMNS] for flag in found.flags)
    write_text(path, out.getvalue())


def read_flags(path: Path) -> list[Flag]:
    """Read a table of flags, `suggested`, `reason` and `split` optional. Raises DataError for another one."""
    table = read_table(path)
    lacking = [name for name in COLUMNS[:2] if name not in table.names]
    if lacking:
        raise DataError(
            f"{path.name} is no table of flagged rows: it has no column {lacking[0]} (found: "
            f"{', '.join(table.names)}). Give one with the columns text and label."
        )
    columns = [table.column(name) if name in table.names else [""] * table.n for name in COLUMNS]
    rows = [["" if cell is None else str(cell).strip() for cell in row] for row in zip(*columns, strict=True)]
    return [Flag(*row) for row in rows if row[0] and row[1]]


def write_page(found: Audit, path: Path) -> None:
    """Write one HTML file that needs no other; texts are shown as text."""
    head, *_ = found.sentences()
    findings = "".join(f"<li>{escape(one_line(one.whole, longest=1000))}</li>" for one in found.findings)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(one_line(getattr(flag, name)))}</td>" for name in COLUMNS) + "</tr>"
        for flag in found.flags[:SHOWN]
    )
    titles = "".join(f"<th>{name}</th>" for name in COLUMNS)
    write_text(
        path,
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Audit of {escape(found.data)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>Audit of {escape(found.data)}</h1><p>{escape(head)}</p><ul>{findings}</ul>"
        f"<h2>Rows to look at again: {len(found.flags):,}</h2>"
        f"<table><tr>{titles}</tr>{rows}</table></html>\n",
    )
