"""Suites of other forms -> a BEIR folder: TREC topics and qrels, and data sets of ir_datasets."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lbr_search.corpus.sources import ResolvedSource, read_resolved
from lbr_search.corpus.unpack import QRELS_HEADER
from lbr_search.errors import CorpusError, MissingExtraError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document, Qrels

IR_PREFIX = "ir:"
"""Before the id of a data set of ir_datasets, e.g. ``ir:beir/scifact/test``."""
_EXAMPLES = 3
SPLITS = ("train", "dev", "validation", "test")


def write_beir(
    folder: Path,
    *,
    documents: Iterable[Document],
    queries: Mapping[str, str],
    qrels: Mapping[str, Qrels],
) -> int:
    """Write corpus.jsonl, queries.jsonl and qrels/ into a new or empty folder.

    Args:
        folder: made where it is not there.
        documents: streamed.
        queries: id -> text.
        qrels: split -> judgements.

    Returns:
        How many documents.

    Raises:
        CorpusError: an id holds a tab or a line break, which qrels cannot say.
    """
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    n_documents = 0
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
        for document in documents:
            row = {"_id": document.doc_id, "title": document.title, "text": document.text}
            corpus.write(json.dumps(row, ensure_ascii=False) + "\n")
            n_documents += 1
    rows = [{"_id": query_id, "text": text} for query_id, text in queries.items()]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "queries.jsonl").write_text("".join(lines), encoding="utf-8")
    for split, judged in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text(
            QRELS_HEADER + "".join(_qrels_lines(judged)), encoding="utf-8"
        )
    return n_documents


def convert_trec(
    source: ResolvedSource,
    folder: Path,
    *,
    queries: Mapping[str, str],
    qrels: Mapping[str, Qrels],
    rejects: RejectSink,
) -> int:
    """Write documents of any kind that can be ingested, TREC topics and TREC qrels as a suite.

    Args:
        source: of the documents; their ids have to be those of the qrels.
        folder: as for `write_beir`.
        queries: number -> text, as `topics.read_topics` gives them.
        qrels: split -> judgements.
        rejects: told of what cannot become a document.

    Returns:
        How many documents.

    Raises:
        CorpusError: the source is damaged, or no judged document is among its documents.
    """
    judged = {doc_id for of in qrels.values() for one in of.values() for doc_id in one}
    examples: list[str] = []
    n_found = 0

    def documents() -> Iterator[Document]:
        nonlocal n_found
        for document in read_resolved(source, options=ReadOptions(), rejects=rejects):
            n_found += document.doc_id in judged
            if len(examples) < _EXAMPLES:
                examples.append(document.doc_id)
            yield document

    n_documents = write_beir(folder, documents=documents(), queries=queries, qrels=qrels)
    if not n_found:
        raise CorpusError(
            f"none of the {n_documents:,} documents of {source.path} is judged: their ids are like "
            f"{', '.join(examples) or '-'}, those of the qrels like "
            f"{', '.join(sorted(judged)[:_EXAMPLES]) or '-'}.",
            "give the documents the ids of the qrels, e.g. as JSON lines of _id, title and text",
        )
    return n_documents


def only_known(qrels: Qrels, queries: Collection[str], *, say: Callable[[str], None]) -> Qrels:
    """The judgements of queries that have a text; the others are counted and left out.

    Raises:
        CorpusError: no judged query has a text.
    """
    known = {query_id: judged for query_id, judged in qrels.items() if query_id in queries}
    if not known:
        raise CorpusError(
            f"none of the {len(qrels)} judged queries has a text: judged are "
            f"{', '.join(list(qrels)[:_EXAMPLES]) or 'none'}, texts have "
            f"{', '.join(list(queries)[:_EXAMPLES]) or 'none'}.",
            "take queries and judgements of the same release",
        )
    if len(known) < len(qrels):
        say(f"{len(qrels) - len(known)} of {len(qrels)} judged queries have no text; left out")
    return known


def _qrels_lines(qrels: Qrels) -> Iterator[str]:
    for query_id, judged in qrels.items():
        for doc_id, relevance in judged.items():
            if len(f"{query_id}\t{doc_id}".splitlines()) > 1 or "\t" in query_id + doc_id:
                raise CorpusError(
                    f"the id {query_id!r} or {doc_id!r} holds a tab or a line break.",
                    "give the documents and queries other ids",
                )
            yield f"{query_id}\t{doc_id}\t{relevance}\n"


def convert_ir_datasets(ids: Sequence[str], folder: Path, *, say: Callable[[str], None]) -> int:
    """Write data sets of ir_datasets that share their documents as one suite.

    Args:
        ids: e.g. ``beir/scifact/train`` and ``beir/scifact/test``; each gives the split that its
            last part names, else test.
        folder: as for `write_beir`.
        say: told what is left out.

    Returns:
        How many documents.

    Raises:
        CorpusError: an id is unknown, lacks documents, queries or judgements, has other documents
            than the first, or cannot be downloaded; or two give the same split.
        MissingExtraError: ir_datasets is not installed.
    """
    opened = {name: _load_ir(name) for name in ids}
    _refuse_other_documents(ids)
    splits: dict[str, str] = {}
    for name in opened:
        last = name.rpartition("/")[2]
        split = last if last in SPLITS else "test"
        if split in splits:
            raise CorpusError(
                f"{splits[split]} and {name} both give the split {split}.",
                "add them as two corpora",
            )
        splits[split] = name
    try:
        queries = {q.query_id: q.default_text() for one in opened.values() for q in one.queries}
        qrels = {
            split: only_known(_ir_qrels(opened[name]), queries, say=say)
            for split, name in splits.items()
        }
        documents = _ir_documents(opened[ids[0]])
        return write_beir(folder, documents=documents, queries=queries, qrels=qrels)
    except (OSError, RuntimeError) as error:  # what its downloads raise
        raise CorpusError(
            f"{', '.join(ids)} cannot be read: {error}.",
            "see https://ir-datasets.com for what it needs, and run the command again",
        ) from error


def _load_ir(name: str) -> Any:  # noqa: ANN401 - ir_datasets has no types
    try:
        import ir_datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "data sets of ir_datasets need the package 'ir_datasets', which is not installed.",
            'pip install "lbr-search[suites]"',
        ) from error
    try:
        found = ir_datasets.load(name)
    except KeyError as error:
        raise CorpusError(
            f"ir_datasets knows no {name!r}.", "take an id from https://ir-datasets.com"
        ) from error
    lacking = [kind for kind in ("docs", "queries", "qrels") if not getattr(found, f"has_{kind}")()]
    if lacking:
        raise CorpusError(
            f"the data set {name!r} has no {' and no '.join(lacking)}.",
            f"name a part of it that has, e.g. {name}/test",
        )
    return found


def _refuse_other_documents(ids: Sequence[str]) -> None:
    import ir_datasets

    parents = {name: ir_datasets.docs_parent_id(name) for name in ids}
    if len(set(parents.values())) > 1:
        raise CorpusError(
            "these have different documents: "
            + "; ".join(f"{name} those of {parent}" for name, parent in parents.items())
            + ".",
            "add them as two corpora",
        )


def _ir_documents(dataset: Any) -> Iterator[Document]:  # noqa: ANN401
    for row in dataset.docs:
        text = getattr(row, "text", None)
        if text is None:  # several parts, the title among them
            yield Document(row.doc_id, row.default_text())
        else:
            yield Document(row.doc_id, text, getattr(row, "title", "") or "")


def _ir_qrels(dataset: Any) -> Qrels:  # noqa: ANN401
    qrels: Qrels = {}
    for row in dataset.qrels:
        qrels.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    return qrels
