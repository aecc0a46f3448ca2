"""A benchmark's results for the screen (rich) and for README (Markdown)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lbr_search.bench.results import BenchResult, SuiteResult
from lbr_search.bench.significance import ALPHA, Comparison
from lbr_search.config import BY_LENGTH
from lbr_search.errors import ConfigError

QUALITY_HEADINGS = {
    "ndcg@10": "nDCG@10",
    "recall@10": "R@10",
    "recall@100": "R@100",
    "recall@1000": "R@1000",
    "rr@10": "RR@10",
    "ap": "AP@100",
    "p@10": "P@10",
    "success@10": "S@10",
    "judged@10": "judged",
}
"""Metric -> heading; another metric is headed by its own name."""
COST_HEADINGS = (
    "suite",
    "arm",
    "documents/s",
    "queries/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "index B/doc",
    "peak MB",
)
ENERGY_HEADING = "GPU J/query"
"""One more where some arm's energy is known."""
ENERGY_NOTE = " GPU J: of all GPUs of the machine, to encode and rank all queries."
COMPARISON_HEADINGS = (
    "suite",
    "arms",
    "nDCG@10",
    "95% interval",
    "p (Holm)",
    "effect",
    "won/tied/lost",
    "smallest shown",
    "verdict",
)
REFERENCE_HEADINGS = ("system", "nDCG@10", "R@100", "source")
COST_NOTE = (
    "documents/s: of the build of the index, encoding included, when it was built; queries/s: all "
    "queries in one call; ms: from a query's text to its hits, one at a time, after a first one. "
    "Encoding the queries counts in both, as it was timed when their vectors were made. Peak MB: "
    "of the whole process, models and mapped indexes included."
)
_TEXT_HEADINGS = {
    "suite",
    "arm",
    "arms",
    "verdict",
    "system",
    "source",
    "index",
    "setting",
    "encoder",
    "kind",
    "times",
}
_N_LEFT = 2
"""Columns of text in Markdown; the others are numbers and stand to the right."""


def screen_report(result: BenchResult) -> RenderableType:
    """Tables of all arms and of the differences between them, then what to know."""
    parts: list[RenderableType] = []
    headings = quality_headings(result)
    has_costs = False
    for suite in result.suites.values():
        best = best_value(suite)
        quality = rich_table(f"{suite.label}: quality, {suite.n_queries} queries", headings[1:-1])
        for row in quality_rows(suite):
            quality.add_row(*map(escape, row[1:-1]), style="bold" if row[2] == best else None)
        parts.append(quality)
        costs = list(cost_rows(suite, has_energy=has_energy(result)))
        if costs:
            has_costs = True
            parts.append(_filled(f"{suite.label}: cost", cost_headings(result)[1:], costs))
        others = list(reference_rows(suite))
        if others:
            parts.append(_filled(f"{suite.label}: of others", REFERENCE_HEADINGS, others))
    if has_costs:
        parts.append(Text(cost_note(result), style="dim"))
    compared = list(comparison_rows(result))
    for suite in result.suites.values():
        rows = [row for row in compared if row[0] == suite.label]
        if rows:
            title = f"{suite.label}: differences in nDCG@10"
            parts.append(_filled(title, COMPARISON_HEADINGS[1:], rows))
    if compared:
        parts.append(Text(comparison_note(result), style="dim"))
    parts += [Text(f"warning: {warning}", style="yellow") for warning in result.warnings]
    return Group(*parts)


def _filled(title: str, headings: tuple[str, ...], rows: Sequence[Sequence[str]]) -> Table:
    """A table for the screen of rows whose first cell, the suite, stands in the title."""
    table = rich_table(title, headings)
    for row in rows:
        table.add_row(*map(escape, row[1:]))
    return table


def markdown_report(result: BenchResult) -> str:
    """The same tables as Markdown, with what the numbers depend on below."""
    rows = []
    for suite in result.suites.values():
        best = best_value(suite)
        rows += [
            [row[0], row[1], f"**{row[2]}**" if row[2] == best else row[2], *row[3:]]
            for row in quality_rows(suite)
        ]
    costs = all_cost_rows(result)
    parts = [markdown_table(quality_headings(result), rows)]
    if costs:
        parts += [markdown_table(cost_headings(result), costs), cost_note(result)]
    compared = [list(row) for row in comparison_rows(result)]
    if compared:
        parts += [markdown_table(COMPARISON_HEADINGS, compared), comparison_note(result)]
    others = [row for suite in result.suites.values() for row in reference_rows(suite)]
    if others:
        parts += ["Of others:", markdown_table(("suite", *REFERENCE_HEADINGS), others)]
    parts.append(provenance(result))
    if result.warnings:
        parts.append("\n".join(f"- {warning}" for warning in result.warnings))
    return "\n\n".join(parts) + "\n"


def replace_block(path: Path, content: str, *, name: str = "bench") -> None:
    """Put `content` between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` of a file.

    Raises:
        ConfigError: as `around_block`.
    """
    head, tail = around_block(path, name=name)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(f"{head}\n{content.strip()}\n{tail}", "utf-8")
    unfinished.replace(path)


def around_block(path: Path, *, name: str = "bench") -> tuple[str, str]:
    """What stands before and after a block, its marks included.

    Raises:
        ConfigError: the file is missing or does not hold both marks once, in this order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = path.read_text("utf-8") if path.is_file() else ""
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    if text.count(begin) != 1 or text.count(end) != 1 or end not in rest:
        raise ConfigError(
            f"{path} does not hold {begin} and, after it, {end}, once each.",
            f"write both marks into {path}, each on a line of its own",
        )
    return head + begin, end + tail


def quality_headings(result: BenchResult) -> tuple[str, ...]:
    """Suite, arm, every metric that was measured, and how many queries."""
    arms = [arm for suite in result.suites.values() for arm in suite.arms.values()]
    metrics = dict.fromkeys(name for arm in arms for name in arm.evaluation.means)
    return ("suite", "arm", *(QUALITY_HEADINGS.get(m, m) for m in metrics), "queries")


def quality_rows(suite: SuiteResult) -> Iterator[list[str]]:
    """A row an arm, as `quality_headings`."""
    for name, arm in suite.arms.items():
        means = [f"{mean:.3f}" for mean in arm.evaluation.means.values()]
        yield [suite.label, name, *means, str(arm.evaluation.n_queries)]


def reference_rows(suite: SuiteResult) -> Iterator[list[str]]:
    """The suite, and a row a reference number, as `REFERENCE_HEADINGS`."""
    for found in suite.references:
        recall = f"{found.recall_100:.3f}" if found.recall_100 else ""
        yield [suite.label, found.system, f"{found.ndcg_10:.3f}", recall, found.source]


def has_energy(result: BenchResult) -> bool:
    """Whether the GPUs' energy is known of some arm."""
    arms = (arm for suite in result.suites.values() for arm in suite.arms.values())
    return any(arm.cost is not None and arm.cost.gpu_joules is not None for arm in arms)


def cost_headings(result: BenchResult) -> tuple[str, ...]:
    """Of the cost tables; without energy where nothing says it."""
    return (*COST_HEADINGS, ENERGY_HEADING) if has_energy(result) else COST_HEADINGS


def cost_note(result: BenchResult) -> str:
    """How the figures of the cost tables were measured."""
    return COST_NOTE + ENERGY_NOTE if has_energy(result) else COST_NOTE


def all_cost_rows(result: BenchResult) -> list[list[str]]:
    """`cost_rows` of all suites."""
    with_energy = has_energy(result)
    suites = result.suites.values()
    return [row for suite in suites for row in cost_rows(suite, has_energy=with_energy)]


def cost_rows(suite: SuiteResult, *, has_energy: bool) -> Iterator[list[str]]:
    """A row an arm, as `cost_headings`; an imported arm has none."""
    for name, arm in suite.arms.items():
        if arm.cost is None:
            continue
        cost, latency, n_queries = arm.cost, arm.cost.latency, arm.evaluation.n_queries
        energy = "" if cost.gpu_joules is None else f"{cost.gpu_joules / n_queries:.3g}"
        yield [
            suite.label,
            name,
            f"{cost.documents_per_s:,.0f}",
            f"{n_queries / cost.seconds:,.0f}",
            f"{latency.p50:.1f}",
            f"{latency.p95:.1f}",
            f"{latency.p99:.1f}",
            f"{cost.bytes_per_document:,.0f}",
            "" if cost.peak_rss_mb is None else f"{cost.peak_rss_mb:,.0f}",
            *([energy] if has_energy else []),
        ]


def comparison_cells(found: Comparison) -> list[str]:
    """A comparison as the tables print it, from the difference to the verdict."""
    low, high = (signed(value) for value in found.interval)
    return [
        signed(found.difference),
        f"{low} to {high}",
        "< .001" if found.p_holm < 0.001 else f"{found.p_holm:.3f}",
        "" if found.effect_size is None else signed(found.effect_size, digits=2),
        f"{found.wins}/{found.ties}/{found.losses}",
        "none" if found.smallest_shown is None else f"{found.smallest_shown:.3f}",
        found.verdict,
    ]


def comparison_rows(result: BenchResult) -> Iterator[list[str]]:
    """A row a comparison, as `COMPARISON_HEADINGS`."""
    for suite in result.suites.values():
        for (system, baseline), found in suite.comparisons.items():
            yield [suite.label, f"{system} - {baseline}", *comparison_cells(found)]


def best_value(suite: SuiteResult) -> str:
    """The highest nDCG@10 as it is printed, so that arms that look equal are both marked."""
    return max(
        (f"{arm.evaluation.means['ndcg@10']:.3f}" for arm in suite.arms.values()), default=""
    )


def signed(difference: float, *, digits: int = 3) -> str:
    """A difference with its sign; what rounds to nothing has none.

    >>> signed(0.0123), signed(-0.00001)
    ('+0.012', '0.000')
    """
    shown = f"{difference:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown


def comparison_note(result: BenchResult) -> str:
    """What the columns of the differences mean."""
    n_compared = sum(len(suite.comparisons) for suite in result.suites.values())
    return (
        f"p: paired randomisation test over queries, corrected (Holm) for {n_compared} "
        f"comparisons; not shown = p >= {ALPHA:.2f}, which is not to say that there is no "
        "difference. 95 %: paired bootstrap of each difference alone. Effect: mean / standard "
        "deviation of the differences. Smallest shown: the difference that the suite shows in "
        "80 % of cases as one of so many comparisons; none = too few queries differ to show any."
    )


def _named_encoder(encoder: Mapping[str, Any]) -> str:
    """Name, precision where there is a choice of it (``lbr-mini#int8``), and fingerprint."""
    precision = str(encoder["spec"]).partition("#")[2]
    told = [precision] if precision else []
    return f"{encoder['name']} ({', '.join([*told, encoder['fingerprint'][:12]])})"


def provenance(result: BenchResult) -> str:
    """One paragraph: which encoders, how documents were cut, which versions."""
    settings = result.settings
    packages = settings["environment"]["packages"]
    encoders = ", ".join(map(_named_encoder, settings["encoders"]))
    chunk_tokens = settings["chunk"]["chunk_tokens"]
    cut = f"chunks of {chunk_tokens} tokens" if chunk_tokens else "whole documents"
    named = ("torch", "faiss-cpu", "bm25s", "sentence-transformers", "ir-measures")
    versions = ", ".join(f"{name} {packages[name]}" for name in named if packages.get(name))
    search = settings["search"]
    weight = search["dense_weight"]
    weighed = "by the length of texts" if weight == BY_LENGTH else f"{weight:g}"
    systems = f" Encoders: {encoders}." if encoders else ""
    imported = ", ".join(f"{name} ({file})" for name, file in settings["imported"].items())
    systems += f" Imported: {imported}." if imported else ""
    return (
        f"Split {settings['split']}; {cut}; {settings['index']['ann']} search; fusion "
        f"{search['fusion']}, dense weight {weighed}.{systems} "
        f"lbr-search {settings['environment']['lbr_search']}, {versions}, "
        f"{settings['environment']['torch_threads']} threads."
    )


def rich_table(title: str, headings: tuple[str, ...]) -> Table:
    """An empty table for the screen; its numbers stand to the right and are not broken."""
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        is_text = heading in _TEXT_HEADINGS
        table.add_column(
            heading if is_text else heading.replace(" ", "\n").replace("/tied/", "/\ntied/"),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text or heading == "verdict",
        )
    return table


def markdown_table(
    headings: tuple[str, ...], rows: list[list[str]], *, n_left: int = _N_LEFT
) -> str:
    """A Markdown table; the first columns to the left, the others are numbers."""
    marks = ["---" if number < n_left else "---:" for number in range(len(headings))]
    lines = [list(headings), marks, *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines
    )
