"""Is a corpus folder whole? Ids, judgements, and the counts and digests that were promised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.corpus.manifest import CorpusManifest
from lbr_search.corpus.readers import read_beir
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import SOURCE_FILE, source_record
from lbr_search.corpus.suite import qrels_files, read_qrels, read_queries
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions


@dataclass(slots=True)
class CheckReport:
    """What `check` saw; a folder without problems is whole."""

    folder: Path
    n_documents: int = 0
    n_queries: dict[str, int] = field(default_factory=dict)
    """Split -> judged queries that have a text."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, one sentence each."""
    notes: list[str] = field(default_factory=list)
    """What is odd but usual, e.g. documents without text."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(folder: Path, manifest: CorpusManifest | None = None) -> CheckReport:
    """Read a BEIR folder through and compare it with its manifest and its record.

    Checked: every document and query parses, ids are unique, qrels name what is there, counts
    are those of the manifest, and files are those that SOURCE.json recorded when they came.
    """
    report = CheckReport(folder)
    rejects = Rejects(None)
    doc_ids: set[str] = set()
    try:
        for document in read_beir(folder, options=ReadOptions(), rejects=rejects):
            doc_ids.add(document.doc_id)
        _check_splits(folder, doc_ids, report)
        _check_digests(folder, report)
    except CorpusError as error:
        report.problems.append(error.message)
    report.n_documents = len(doc_ids)
    report.notes += [f"{n:,} documents rejected: {why}" for why, n in rejects.by_reason.items()]
    if manifest is not None:
        report.problems += _count_problems(report, manifest, rejects.n_rejected)
    return report


def record_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` but its record, by relative path, sorted."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SOURCE_FILE)
    return {p.relative_to(folder).as_posix(): _sha256(p) for p in files}


def _check_splits(folder: Path, doc_ids: set[str], report: CheckReport) -> None:
    files = qrels_files(folder)
    if not files:
        report.notes.append("no qrels: a corpus to search, not a suite to measure")
        return
    queries = read_queries(folder)
    for split, file in files.items():
        qrels = read_qrels(file)
        known = [query_id for query_id in qrels if query_id in queries]
        absent = {doc_id for query_id in known for doc_id in qrels[query_id]} - doc_ids
        report.n_queries[split] = len(known)
        if len(known) < len(qrels):
            report.problems.append(
                f"{file.name}: {len(qrels) - len(known):,} of {len(qrels):,} queries are unknown"
            )
        if absent:
            report.problems.append(
                f"{file.name}: {len(absent):,} judged documents are not in the corpus, "
                f"e.g. {min(absent)}"
            )


def _check_digests(folder: Path, report: CheckReport) -> None:
    recorded = source_record(folder).get("files", {})
    for name, expected in recorded.items() if isinstance(recorded, dict) else ():
        if not (folder / name).is_file():
            report.problems.append(f"{name} is missing")
        elif _sha256(folder / name) != expected:
            report.problems.append(f"{name} has changed since it was fetched (sha256)")


def _count_problems(report: CheckReport, manifest: CorpusManifest, n_rejected: int) -> list[str]:
    found = []
    # rows without any text are documents to the publisher and rejected here: count them too
    n_documents = report.n_documents + n_rejected
    if manifest.documents and manifest.documents != n_documents:
        found.append(f"documents: {n_documents:,} here, {manifest.documents:,} expected")
    for split, expected in manifest.queries.items():
        seen = report.n_queries.get(split, 0)
        if seen != expected:
            found.append(f"queries of {split}: {seen:,} here, {expected:,} expected")
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
