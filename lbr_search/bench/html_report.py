"""`bench --html`: all of a benchmark on one page: tables, plots, significance, single queries."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lbr_search.bench import page
from lbr_search.bench.drilldown import Case, DrillDown, ShownDocument
from lbr_search.bench.plots import arm_points, difference_plot, pareto_plot
from lbr_search.bench.report import (
    COMPARISON_HEADINGS,
    REFERENCE_HEADINGS,
    all_cost_rows,
    best_value,
    comparison_note,
    comparison_rows,
    cost_headings,
    cost_note,
    provenance,
    quality_headings,
    quality_rows,
    reference_rows,
    signed,
)
from lbr_search.bench.results import BenchResult, SuiteResult, write_text

TITLE = "lbr-search bench"
_QUERY_CHARACTERS = 300
_PARETO_CAPTION = (
    "Quality against latency: up and to the left is better; the dashed line joins the arms that no "
    "other one beats in both."
)
_DIFFERENCE_CAPTION = (
    "Differences with their 95 % intervals: filled and blue = shown after Holm's correction, "
    "hollow and grey = not shown. Orange ticks: the smallest difference, either way, that this "
    "suite shows in 80 % of cases."
)


def write_html(result: BenchResult, details: Mapping[str, DrillDown], path: Path) -> None:
    """Write the page under another name, then rename; its folder is made.

    Args:
        result: what was measured.
        details: suite -> its single queries.
        path: the file.

    Raises:
        ConfigError: the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    write_text(html_report(result, details), path)


def html_report(result: BenchResult, details: Mapping[str, DrillDown]) -> str:
    """The page as text."""
    sections = [f'<p class="note">{html.escape(provenance(result))}</p>']
    sections += [f'<p class="warning">{html.escape(text)}</p>' for text in result.warnings]
    sections += list(_tables(result))
    for number, suite in enumerate(result.suites.values()):
        sections.append(f"<h2>{html.escape(suite.label)}</h2>")
        sections += list(_plots(suite, number))
        if suite.name in details:
            sections += list(_drill_down(details[suite.name], suite))
    return page.page(TITLE, sections)


def _tables(result: BenchResult) -> Iterator[str]:
    suites = result.suites.values()
    rows, best = [], []
    for suite in suites:
        highest = best_value(suite)
        for row in quality_rows(suite):
            rows.append(row)
            best.append(row[2] == highest)
    yield page.table(quality_headings(result), rows, caption="Quality", best=best)
    costs = all_cost_rows(result)
    if costs:
        yield page.table(cost_headings(result), costs, caption="Cost")
        yield f'<p class="note">{html.escape(cost_note(result))}</p>'
    others = [row for suite in suites for row in reference_rows(suite)]
    if others:
        headings = ("suite", *REFERENCE_HEADINGS)
        yield page.table(headings, others, caption="Measured by others on the same suites")
    compared = list(comparison_rows(result))
    if compared:
        yield page.table(COMPARISON_HEADINGS, compared, caption="Differences in nDCG@10")
        yield f'<p class="note">{html.escape(comparison_note(result))}</p>'


def _plots(suite: SuiteResult, number: int) -> Iterator[str]:
    if arm_points(suite):
        without = len(suite.arms) - len(arm_points(suite))
        caption = _PARETO_CAPTION + (f" {without} imported arms: no latency." if without else "")
        yield page.figure(pareto_plot(suite, key=f"pareto{number}"), caption)
    if suite.comparisons:
        plot = difference_plot(suite, key=f"difference{number}")
        yield page.figure(plot, _DIFFERENCE_CAPTION)


def _drill_down(details: DrillDown, suite: SuiteResult) -> Iterator[str]:
    own, against = details.system, f"{details.system} against {details.baseline}"
    for title, cases in (
        (f"Largest losses: {against}", details.losses),
        (f"Largest gains: {against}", details.gains),
        (f"Worst queries: {own}", details.hardest),
        (f"Best queries: {own}", details.easiest),
    ):
        if cases:
            yield f"<h3>{html.escape(title)}</h3>"
            yield from (_case(case, own) for case in cases)
    folders = [str(ingest.folder) for ingest in suite.ingests.values()]
    if folders:
        yield (
            '<p class="note">Why a hit stands where it stands: <code>lbr-search query "..." '
            f"--index {html.escape(folders[0])} --explain</code></p>"
        )


def _case(case: Case, system: str) -> str:
    arms = "\n".join(
        f"<div><h4>{html.escape(arm)}: {case.values[arm]:.3f}</h4>{_documents(hits)}</div>"
        for arm, hits in case.hits.items()
    )
    more = case.n_relevant - len(case.relevant)
    rest = f'<p class="note">and {more} more</p>' if more else ""
    return (
        f"<details><summary>{case.values[system]:.3f} ({signed(case.change)}) &nbsp; "
        f"{html.escape(case.text[:_QUERY_CHARACTERS])} "
        f'<span class="note">({html.escape(case.query_id)})</span></summary>\n'
        f'<div class="arms">{arms}<div><h4>relevant</h4>{_documents(case.relevant)}{rest}</div>'
        "</div></details>"
    )


def _documents(shown: Sequence[ShownDocument]) -> str:
    if not shown:
        return '<p class="note">no hits</p>'
    return "".join(_document(number, each) for number, each in enumerate(shown, start=1))


def _document(number: int, each: ShownDocument) -> str:
    is_right = each.grade is not None and each.grade > 0
    style, mark = ("hit right", "&#10003; ") if is_right else ("hit", "")
    judged = "not judged" if each.grade is None else f"relevance {each.grade}"
    score = "" if each.score is None else f", score {each.score:.4g}"
    return (
        f'<div class="{style}">{number}. {mark}{html.escape(each.title or each.doc_id)} '
        f'<span class="note">({html.escape(each.doc_id)}; {judged}{score})</span></div>'
        f'<div class="hit note">{html.escape(each.text)}</div>{_why(each.why)}'
    )


def _why(facts: Sequence[str]) -> str:
    if not facts:
        return ""
    lines = "<br/>".join(map(html.escape, facts))
    return f'<details class="hit note"><summary>why</summary>{lines}</details>'
