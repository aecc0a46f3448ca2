"""Pieces of an HTML page that needs nothing besides itself: style, sortable tables, the frame."""

from __future__ import annotations

import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
h1, h2, h3 { line-height: 1.25; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
td, th { padding: 0.2rem 0.9rem 0.2rem 0; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { white-space: nowrap; }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0;
  cursor: pointer; text-align: left; }
th button::after { content: " \\2195"; color: #767676; }
th[aria-sort=ascending] button::after { content: " \\2191"; color: #000; }
th[aria-sort=descending] button::after { content: " \\2193"; color: #000; }
tr.best td { font-weight: 600; }
svg { max-width: 100%; height: auto; }
figure { margin: 0.5rem 0 1.5rem; }
figcaption, .note { color: #555; }
.warning { border-left: 4px solid #D55E00; padding-left: 0.6rem; margin: 0.3rem 0; }
details { margin: 0.3rem 0; }
summary { cursor: pointer; }
.hit { margin: 0.15rem 0 0.15rem 1.2rem; }
.right { font-weight: 600; color: #006b4f; }
.arms { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 1.5rem; }
"""
SORT_SCRIPT = """
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
    const column = head.cellIndex, falls = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const value = row => {
      const cell = row.cells[column], given = cell.dataset.value ?? cell.textContent.trim();
      return given !== "" && !isNaN(given) ? Number(given) : given;
    };
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
      : typeof a === "number" ? -1 : typeof b === "number" ? 1 : a.localeCompare(b);
    const rows = [...body.rows].sort((a, b) => compare(value(a), value(b)));
    body.append(...(falls ? rows.reverse() : rows));
  });
}
"""
_BEST = ' class="best"'
escape = html.escape


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    n_text: int = 2,
    best: Sequence[bool] = (),
) -> str:
    """A table that a click on a heading sorts.

    Args:
        headings: of the columns.
        rows: cells as they are printed; numbers may carry a sign and thousands' commas.
        caption: above the table.
        n_text: columns of text at the left; the others are numbers where they look like one.
        best: whether each row stands out.
    """
    head = "".join(f'<th scope="col"><button>{html.escape(h)}</button></th>' for h in headings)
    marks = [*best, *[False] * (len(rows) - len(best))]
    body = "\n".join(
        f"<tr{_BEST if is_best else ''}>{_cells(row, n_text)}</tr>"
        for row, is_best in zip(rows, marks, strict=True)
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[str], n_text: int) -> str:
    return "".join(
        f"<td>{html.escape(cell)}</td>"
        if number < n_text
        else f'<td class="number" data-value="{html.escape(sort_value(cell))}">'
        f"{html.escape(cell)}</td>"
        for number, cell in enumerate(row)
    )


def sort_value(cell: str) -> str:
    """What a printed cell is sorted by: its number where it is one.

    >>> sort_value("+1,234.5"), sort_value("< .001"), sort_value("+0.1 to +0.3"), sort_value("none")
    ('1234.5', '0', '0.1', 'none')
    """
    first = "0" if cell.startswith("<") else cell.split(" to ")[0].split("/")[0].replace(",", "")
    try:
        return f"{float(first):g}" if first else ""
    except ValueError:
        return cell


def figure(svg: str, caption: str) -> str:
    """A plot and what it shows."""
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def page(title: str, sections: Sequence[str]) -> str:
    """The whole page."""
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n<script>{SORT_SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )
