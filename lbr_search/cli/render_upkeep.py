"""Reports of sync, forget, reindex, repair and export -> lines for people and JSON for programs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbr_search.cli.console import show_json, to_stderr
from lbr_search.cli.render import reasons, show_pairs, show_records
from lbr_search.errors import IndexFormatError

if TYPE_CHECKING:
    from lbr_search.bench.reader_speed import ReaderSpeed
    from lbr_search.index.manifest import IndexManifest
    from lbr_search.index.verify import Verification
    from lbr_search.upkeep.forget import ForgetReport, FoundDocument
    from lbr_search.upkeep.reindex import ReindexReport
    from lbr_search.upkeep.sync import SourcePlan, SyncReport

SHOWN_FILES = 5


def show_sync(report: SyncReport, *, as_json: bool) -> None:
    """Print what a sync did, or would do."""
    if as_json:
        show_json(sync_json(report))
        return
    rows = {str(report.index): "in step" if not report.has_changes else "changed"}
    for plan in report.plans:
        rows[str(plan.path)] = _plan_text(plan)
    built = report.build
    if built is not None:
        counts = {"added": built.n_added, "updated": built.n_updated, "deleted": built.n_deleted}
        rows["documents"] = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "none"
        rows["chunks"] = f"{built.n_chunks:,} in the index, {built.n_encoded:,} encoded now"
    rows["skipped"] = reasons({**report.rejected, **report.left_out})
    if report.noted:
        rows["noted"] = reasons(report.noted)
    rows["seconds"] = f"{report.seconds:.1f}"
    show_pairs(rows)
    if report.n_kept:
        to_stderr(
            f"note: {report.n_kept:,} documents stay as they were: their changed files have parts "
            "that cannot be read (rejected.jsonl)"
        )
    if report.has_changes and built is None:
        to_stderr("note: nothing was changed in the index")


def sync_json(report: SyncReport) -> dict[str, Any]:
    """A report as ``sync --json`` prints it."""
    sources = [
        {
            "path": str(plan.path),
            "files": plan.n_files,
            "dropped": plan.is_dropped,
            **dataclasses.asdict(plan.changes),
        }
        for plan in report.plans
    ]
    return {
        "index": str(report.index),
        "sources": sources,
        "build": dataclasses.asdict(report.build) if report.build is not None else None,
        "rejected": report.rejected,
        "left_out": report.left_out,
        "noted": report.noted,
        "kept": report.n_kept,
        "seconds": report.seconds,
    }


def _plan_text(plan: SourcePlan) -> str:
    if plan.is_dropped:
        return "given up: its documents are removed"
    changes = plan.changes
    parts = [f"{plan.n_files:,} files"]
    for name, files in (
        ("new", changes.added),
        ("changed", changes.changed),
        ("deleted", changes.deleted),
    ):
        if files:
            shown = ", ".join(file or plan.path.name for file in files[:SHOWN_FILES])
            more = ", ..." if len(files) > SHOWN_FILES else ""
            parts.append(f"{len(files):,} {name} ({shown}{more})")
    if changes.moved:
        old, new = changes.moved[0]
        parts.append(f"{len(changes.moved):,} of these moved ({old} -> {new})")
    return "; ".join(parts)


def show_found(documents: Sequence[FoundDocument], *, as_json: bool) -> None:
    """Print documents that could be forgotten."""
    rows = [
        {
            "document": found.doc_id,
            "title": found.title,
            "score": "" if found.score is None else f"{found.score:.3f}",
        }
        for found in documents
    ]
    show_records(rows, as_json=as_json)


def show_forget(report: ForgetReport, *, as_json: bool) -> None:
    """Print what was removed and what the search of the files found.

    Raises:
        IndexFormatError: a piece of a forgotten document is still in a file.
    """
    if as_json:
        values = dataclasses.asdict(report)
        paths = {"sources": report.sources, "readers": report.readers, "unknown": report.unknown}
        values |= {name: [str(path) for path in found] for name, found in paths.items()}
        values["index"] = str(report.index)
        show_json(values | {"is_proved": report.is_proved})
    else:
        before = ", ".join(f"{path} ({n})" for path, n in report.found_before.items())
        show_pairs(
            {
                str(report.index): f"{report.n_documents:,} documents removed, "
                f"{report.n_chunks:,} chunks",
                "found before in": before or "no file",
                "found now in": ", ".join(report.found_after)
                or f"none of {report.n_files:,} files",
                "searched for": f"{report.n_probes:,} pieces of text and ids",
            }
        )
        if report.n_shared:
            to_stderr(
                f"note: {report.n_shared:,} pieces stand in other documents too, and still do"
            )
        for path in report.sources:
            to_stderr(f"note: the source {path} is as it was; from there it is not read again")
        for path in report.readers:
            to_stderr(f"note: the encoder {path} was trained on a forgotten document")
        if report.unknown:
            to_stderr(
                f"note: {len(report.unknown)} encoders keep no record of what they read, e.g. "
                f"{report.unknown[0]}"
            )
    if not report.is_proved:
        raise IndexFormatError(
            f"{report.index} still holds a forgotten text in: {', '.join(report.found_after)}.",
            f"remove these files, or ingest into a new folder instead of {report.index}",
        )


def show_reindex(report: ReindexReport, *, as_json: bool) -> None:
    """Print a change of encoder and the comparison before it."""
    compared, shadow = report.comparison, report.shadow
    if as_json:
        show_json(
            {
                "index": str(report.index),
                "before": report.before,
                "after": report.after,
                "encoded": shadow.n_encoded,
                "resumed": shadow.n_resumed,
                "truncated": shadow.n_truncated,
                "seconds": shadow.seconds,
                **dataclasses.asdict(compared),
            }
        )
        return
    before = "unknown" if compared.own_before is None else f"{compared.own_before:.2f}"
    overlap = "unknown" if compared.overlap_at_10 is None else f"{compared.overlap_at_10:.2f}"
    show_pairs(
        {
            str(report.index): f"{report.before} -> {report.after}",
            "chunks": f"{compared.n_chunks[1]:,}, {shadow.n_encoded:,} encoded now",
            "own document found": f"{compared.own:.2f} of {compared.n_queries} queries, before "
            f"{before}",
            "overlap@10": overlap,
            "seconds": f"{shadow.seconds['total']:.1f}",
        }
    )
    if shadow.n_truncated:
        to_stderr(
            f"note: {shadow.n_truncated:,} chunks are longer than {report.after} reads; ingest the "
            "sources to cut them anew"
        )
    to_stderr("note: the old state is kept: reindex --take-back, or --drop-old to free its space")


def show_state(index: Path, manifest: IndexManifest, *, is_back: bool) -> None:
    """Say which state was gone back to, or dropped."""
    what = "back to" if is_back else "dropped the state of"
    show_pairs({str(index): f"{what} {manifest.seal.encoder_name}"})


def show_repair(found: Verification) -> None:
    """Say what was wrong before a repair."""
    for problem in found.problems:
        to_stderr(f"repaired: {problem}")


def show_verification(folder: Path, found: Verification) -> None:
    """Print that an index is whole.

    Raises:
        IndexFormatError: it is not.
    """
    for note in found.notes:
        to_stderr(f"note: {note}")
    if found.problems:
        raise IndexFormatError(
            f"{folder} is damaged:\n  " + "\n  ".join(found.problems),
            f"lbr-search index verify {folder} --repair"
            if found.is_derived_only
            else f"lbr-search ingest SOURCE... --index {folder} (after removing it), or copy it "
            "anew",
        )
    show_pairs({str(folder): f"{found.n_files} files and {found.n_rows:,} rows as published"})


def show_reader_speeds(speeds: Sequence[ReaderSpeed], *, as_json: bool) -> None:
    """Print how fast each source was read: a Markdown table, or one JSON object a line."""
    if as_json:
        for one in speeds:
            show_json(dataclasses.asdict(one))
        return
    from lbr_search.bench.reader_speed import markdown_table

    sys.stdout.write(markdown_table(speeds) + "\n")
    to_stderr("seconds are of processor time: what one core would need")
