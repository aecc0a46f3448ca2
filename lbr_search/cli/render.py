"""Records -> tables for people and lines of JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbr_search.cli.console import show, show_json, stdout, to_stderr
from lbr_search.search.snippets import Snippet, best_passage
from lbr_search.types import Hit

if TYPE_CHECKING:
    from rich.text import Text

    from lbr_search.bench.results import BenchResult
    from lbr_search.corpus.fetch import FetchReport
    from lbr_search.ingest import IngestReport
    from lbr_search.search.explain import Explanation
    from lbr_search.search.searcher import Searcher
    from lbr_search.train.benchmark import TrainingSpeed
    from lbr_search.train.run import TrainReport
    from lbr_search.train.vocabulary import Vocabulary

LEGS = ("dense", "lexical")
SHOWN_REASONS = 8


def show_expansions(searcher: Searcher, query: str, *, mode: str) -> None:
    """Say on stderr what the lexical leg added to the query, once for all indexes."""
    if mode == "dense":
        return
    for added in dict.fromkeys(e for each in searcher.expansions(query).values() for e in each):
        to_stderr(f"note: {added.matched} also as {added.added} ({added.source}, {added.weight:g})")


def show_domains(hits: Sequence[Hit]) -> None:
    """Say on stderr which domains a query seemed to belong to, and which were searched."""
    from lbr_search.search.routing import likely

    found = hits[0].domains if hits else {}
    if not found:
        return
    listed = ", ".join(f"{domain} {probability:.2f}" for domain, probability in found.items())
    to_stderr(f"note: domains: {listed}; searched: {', '.join(likely(found))}")


def show_folded(hits: Sequence[Hit]) -> None:
    """Say on stderr how many hits were folded into better ones."""
    n_folded = sum(len(hit.folded) for hit in hits)
    if n_folded:
        to_stderr(f"note: {n_folded} hits with nearly the same text folded into better ones")


def show_hits(
    searcher: Searcher,
    query: str,
    hits: Sequence[Hit],
    *,
    as_json: bool,
    is_explained: bool = False,
    without: str = "",
) -> None:
    """Print hits: a table, or one JSON object a line; with explanations if asked."""
    explained: Sequence[Explanation | None] = [None] * len(hits)
    if is_explained:
        explained = searcher.explain(query, hits, without=without)
    if as_json:
        for hit, why in zip(hits, explained, strict=True):
            show_json(hit_json(hit) | ({} if why is None else {"explain": explanation_json(why)}))
        return
    if not hits:
        show(f"no hit for {query!r} among {searcher.n_documents:,} documents")
        for note in searcher.notes(query) if is_explained else ():
            to_stderr(f"note: {note}")
        return
    from rich.table import Table

    table = Table(show_lines=True, expand=False)
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("domain")
    table.add_column("title and best passage", ratio=1)
    is_terminal = stdout().is_terminal
    for hit, why in zip(hits, explained, strict=True):
        snippet = best_passage(hit.text, searcher.matched_terms(query, hit))
        cell = _titled(hit, marked(snippet, is_terminal=is_terminal))
        if hit.folded:
            cell.append(f"\nnearly the same: {', '.join(hit.folded)}", style="dim")
        for line in why.lines() if why is not None else ():
            cell.append(f"\n{line}", style="dim")
        table.add_row(str(hit.rank), f"{hit.score:.3f}", hit.domain or hit.source, cell)
    show(table)


def show_ingest(report: IngestReport, *, as_json: bool) -> None:
    """Print what an ingest did."""
    if as_json:
        show_json(ingest_json(report))
        return
    built = report.build
    counts = {
        "added": built.n_added,
        "updated": built.n_updated,
        "deleted": built.n_deleted,
        "unchanged": built.n_unchanged,
        "taken over from a stopped run": built.n_resumed,
    }
    skipped = {**report.rejected, **report.left_out}
    listed = f"; see {report.rejected_path}" if report.rejected_path else ""
    rows = {
        "index": str(report.index) + (" (nothing had changed)" if built.is_noop else ""),
        "documents": f"{built.n_documents:,} read: "
        + ", ".join(f"{n:,} {name}" for name, n in counts.items() if n),
        "chunks": f"{built.n_chunks:,} in the index, {built.n_encoded:,} encoded now",
        "skipped": reasons(skipped) + (listed if skipped else ""),
        **({"noted": reasons(report.noted) + listed} if report.noted else {}),
        "truncated": f"{built.n_truncated:,} chunks, {built.n_tokens_lost:,} tokens lost",
        "seconds": ", ".join(f"{name} {s:.1f}" for name, s in built.seconds.items() if s >= 0.05),
        "vectors": f"{built.vectors}; recall@10 {built.recall_at_10:.3f} against exact",
        "size": f"{built.size_bytes / 1e6:.1f} MB",
    }
    show_pairs(rows)
    for sentence in (*report.notes, *built.warnings):
        to_stderr(f"note: {sentence}")


def reasons(counts: Mapping[str, int]) -> str:
    """The most frequent reasons, and how many more there are: a tree has dozens of suffixes."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = [f"{n:,} {reason}" for reason, n in ordered[:SHOWN_REASONS]]
    rest = sum(n for _, n in ordered[SHOWN_REASONS:])
    return ", ".join([*shown, f"{rest:,} for other reasons"] if rest else shown) or "none"


def ingest_json(report: IngestReport) -> dict[str, Any]:
    """A report as ``ingest --json`` prints it."""
    return {
        "index": str(report.index),
        "domain": report.domain,
        **dataclasses.asdict(report.build),
        "rejected": report.rejected,
        "left_out": report.left_out,
        "noted": report.noted,
        "rejected_path": str(report.rejected_path) if report.rejected_path else None,
        "notes": list(report.notes),
    }


def show_bench(result: BenchResult, *, written: Mapping[str, Path | None]) -> None:
    """Print the tables of a benchmark and say what was written."""
    from lbr_search.bench.report import screen_report

    show(screen_report(result))
    for what, path in written.items():
        if path is not None:
            to_stderr(f"{what} written to {path}")


def show_training(report: TrainReport) -> None:
    """Print how each stage ended and where the encoder lies."""
    rows = {
        stage: f"{fit.steps:,} steps in {fit.seconds:,.0f} s ({fit.precision}), best at step"
        f" {fit.best_step:,}: {fit.best_score:.4f}"
        + (f"; {fit.n_bad_steps} bad steps" if fit.n_bad_steps else "")
        + (f"; gone on from step {fit.resumed_from:,}" if fit.resumed_from else "")
        for stage, fit in report.stages.items()
    }
    sources = {
        # a user's own source has an absolute path, which would fill the line
        (Path(name).name if Path(name).is_absolute() else name): named_counts(counts)
        for name, counts in report.counts.items()
    }
    show_pairs({**sources, **rows, "encoder": str(report.checkpoint)})
    for stage, fit in report.stages.items():
        for sentence in fit.notes:
            to_stderr(f"note: {stage}: {sentence}")


def show_vocabularies(found: Sequence[Vocabulary]) -> None:
    """Print one row a vocabulary: entries, bytes a token by domain, unknown tokens."""
    from rich.table import Table

    table = Table(title="Bytes a token, on texts not trained on", title_justify="left")
    domains = list(found[0].bytes_per_token)
    for number, heading in enumerate(("vocabulary", "entries", *domains, "unknown")):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for each in found:
        shown = [f"{each.bytes_per_token[domain]:.2f}" for domain in domains]
        table.add_row(each.name, f"{each.size:,}", *shown, f"{each.unknown:.2%}")
    show(table)


def named_counts(counts: Mapping[str, int]) -> str:
    """Counts in one line; what is 0 is left out.

    >>> named_counts({"train": 1200, "held_out": 0, "near_duplicates": 3})
    'train 1,200, near duplicates 3'
    """
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items() if n)


def show_training_speed(speeds: Sequence[TrainingSpeed], *, as_json: bool) -> None:
    """Print rates, a row a precision, and what bounds each."""
    if as_json:
        for speed in speeds:
            show_json(dataclasses.asdict(speed))
        return
    rows = [
        {
            "precision": speed.precision,
            "tokens/s": f"{speed.tokens_per_s:,.0f}",
            "GFLOP/s a core"
            if speed.device == "cpu"
            else "GFLOP/s": f"{speed.gflops_per_core:,.1f}",
            "of peak": "?" if speed.peak_share is None else f"{speed.peak_share * 100:.0f} %",
            **{name: f"{share * 100:.0f} %" for name, share in speed.phase_shares.items()},
            "bound by": speed.bound_by,
        }
        for speed in speeds
    ]
    show_records(rows, as_json=False)
    first = speeds[0]
    to_stderr(
        f"{first.n_parameters / 1e6:.0f} M parameters, {first.device}, {first.n_threads} threads;"
        " peak: a matrix product in the same process"
    )


def show_pairs(rows: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    show(table)


def show_fetch(report: FetchReport) -> None:
    """Print what was fetched, and what could not be checked of it."""
    checked = report.checked
    queries = ", ".join(f"{n:,} {split}" for split, n in checked.n_queries.items())
    what = "fetched" if report.is_new else "already there, whole"
    show_pairs({str(report.folder): f"{what}: {checked.n_documents:,} documents; {queries}"})
    for sentence in (*report.notes, *checked.notes):
        to_stderr(f"note: {sentence}")


def show_records(rows: Sequence[Mapping[str, str]], *, as_json: bool) -> None:
    """Print rows with the same columns: a table, or one JSON object a line."""
    if as_json:
        for row in rows:
            show_json(dict(row))
        return
    from rich.table import Table

    table = Table(box=None)
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    show(table)


def show_nested(record: Mapping[str, Any]) -> None:
    """Print a record of records: names joined by dots, one value a line; empty ones left out."""
    show_pairs(dict(_flat(record, "")))


def _flat(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value not in ("", [], None):
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else str(value)


def hit_json(hit: Hit) -> dict[str, Any]:
    """A hit as ``query --json`` prints it; a leg that did not return it is null.

    What was folded into it, and the query's domains, are there only where that was asked for.
    """
    legs = {**dict.fromkeys(LEGS), **hit.legs}
    return {
        "rank": hit.rank,
        "doc_id": hit.doc_id,
        "score": hit.score,
        "title": hit.title,
        "text": hit.text,
        "domain": hit.domain,
        "metadata": dict(hit.metadata),
        "legs": {
            name: None if leg is None else {"rank": leg.rank, "score": leg.score}
            for name, leg in legs.items()
        },
        **({"domains": dict(hit.domains)} if hit.domains else {}),
        **({"folded": list(hit.folded)} if hit.folded else {}),
    }


def explanation_json(why: Explanation) -> dict[str, Any]:
    """What ``query --explain --json`` adds to a hit."""
    return {
        "fusion": why.fusion,
        "terms": dict(why.terms),
        "expansions": [dataclasses.asdict(added) for added in why.expansions],
        "notes": list(why.notes),
        "negative": why.negative or None,
        "taken_off": dict(why.taken_off),
        "first_rank": why.hit.first_rank or None,
        "kept": why.kept,
    }


def marked(snippet: Snippet, *, is_terminal: bool) -> Text:
    """The snippet with its matching words in bold, or in brackets where nothing can be bold."""
    from rich.text import Text

    text = Text()
    end = 0
    for first, last in snippet.marks:
        text.append(snippet.text[end:first])
        word = snippet.text[first:last]
        text.append(word if is_terminal else f"[{word}]", style="bold yellow")
        end = last
    text.append(snippet.text[end:])
    return text


def _titled(hit: Hit, passage: Text) -> Text:
    from rich.text import Text

    heading = f"{hit.title}  ({hit.doc_id})" if hit.title else hit.doc_id
    return Text.assemble((heading, "bold"), "\n", passage)
