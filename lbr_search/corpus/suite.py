"""A corpus with queries and judgements: a BEIR folder, or the code suite made at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lbr_search.corpus.compressed import find_compressed, read_lines
from lbr_search.corpus.demo import (
    READER,
    load_recipe,
    read_stdlib,
    stdlib_functions,
    stdlib_hash,
    stdlib_judgements,
)
from lbr_search.corpus.readers import read_beir, read_objects
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import source_domain, source_record
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions
from lbr_search.registry import nearest
from lbr_search.types import Document, Qrels, Query

SPLIT_ALIASES = {"dev": ("dev", "validation"), "validation": ("validation", "dev")}

_SHOWN = 5  # so many mistakes of a file are named, the others counted


@dataclass(frozen=True, slots=True)
class Suite:
    """Documents, and the queries of one split with their judgements."""

    name: str
    domain: str
    documents: Callable[[], Iterator[Document]]
    """Reads the documents anew at each call."""
    queries: list[Query]
    """Queries that the split judges, in the order of their file."""
    qrels: Qrels
    content_hash: str
    """Hex digest of what the documents are made from; the same for all splits."""
    n_documents: int = 0
    split: str = "test"
    is_synthetic: bool = False
    """Its queries were made from its documents; nobody asked them."""
    warnings: list[str] = field(default_factory=list)
    """What is odd but not wrong, one sentence each, with counts."""


def load_suite(path_or_name: Path | str, *, split: str = "test", home: Path) -> Suite:
    """Open a suite by its folder, or by its name under ``corpora/`` or ``corpora/demo/``.

    Documents that qrels name and the corpus lacks stay in the qrels: they count as not found.

    Raises:
        CorpusError: no such suite or split, or a file of it is broken.
    """
    folder = find_suite(path_or_name, home)
    record = source_record(folder)
    domain = source_domain(folder, record)
    if record.get("reader") == READER:
        return _load_stdlib(folder, domain, split)
    suite = _load_beir(folder, domain, split)
    if record.get("synthetic") is not True:
        return suite
    made = f"synthetic: {record.get('how', 'its queries were made from its documents')}"
    return replace(suite, is_synthetic=True, warnings=[made, *suite.warnings])


def discover_suites(folder: Path) -> list[Path]:
    """Folders at or below `folder` that `load_suite` can open, sorted.

    Raises:
        CorpusError: `folder` does not exist.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder.", "give a folder that holds suites")
    if _is_suite(folder):
        return [folder]
    below = (p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(suite for entry in below for suite in discover_suites(entry))


def read_queries(folder: Path) -> dict[str, Query]:
    """All queries of a BEIR folder by id, in the order of the file.

    Raises:
        CorpusError: the file is missing, or some lines of it are wrong (named, with the reason).
    """
    file = find_compressed(folder, "queries.jsonl")
    if file is None:
        raise CorpusError(f"{folder} holds no queries.jsonl.", "give a BEIR folder with queries")
    rejects = Rejects(None, strict=True)
    queries: dict[str, Query] = {}
    mistakes = []
    for line, row in read_objects(file, rejects):
        query_id, text = row.get("_id"), row.get("text")
        if isinstance(query_id, int) and not isinstance(query_id, bool):
            query_id = str(query_id)
        if not isinstance(query_id, str) or not isinstance(text, str) or not text.strip():
            mistakes.append(f"{file}:{line} has no _id or no text")
        elif query_id in queries:
            mistakes.append(f"{file}:{line} repeats the query id {query_id!r}")
        else:
            queries[query_id] = Query(query_id, text)
    _refuse(mistakes, file)
    return queries


def read_qrels(file: Path) -> Qrels:
    """Judgements of a BEIR file: query-id, corpus-id and whole score, tab-separated.

    Raises:
        CorpusError: some lines are wrong or judge a pair twice differently.
    """
    qrels: Qrels = {}
    mistakes = []
    for line, raw in read_lines(file):
        fields = raw.decode("utf-8", "replace").rstrip("\r\n").split("\t")
        if (line == 1 and fields[-1].strip() == "score") or fields == [""]:
            continue
        try:
            query_id, doc_id, score = fields[0], fields[1], int(fields[2])
        except (IndexError, ValueError):
            mistakes.append(f"{file}:{line} is not query-id, corpus-id, whole score: {fields}")
            continue
        if qrels.setdefault(query_id, {}).setdefault(doc_id, score) != score:
            mistakes.append(f"{file}:{line} judges {query_id!r}, {doc_id!r} twice, differently")
    _refuse(mistakes, file)
    return qrels


def split_query_ids(path_or_name: Path | str, split: str, *, home: Path) -> set[str]:
    """Ids of the queries that a split of a suite judges; none where it has no such split.

    Raises:
        CorpusError: no such suite, or its qrels are broken.
    """
    folder = find_suite(path_or_name, home)
    record = source_record(folder)
    if record.get("reader") == READER:
        functions = list(
            stdlib_functions(
                load_recipe(folder), domain=source_domain(folder, record), rejects=Rejects(None)
            )
        )
        splits = stdlib_judgements(load_recipe(folder), functions)
        return set(splits[split][1]) if split in splits else set()
    files = qrels_files(folder)
    return set(read_qrels(files[split])) if split in files else set()


def qrels_files(folder: Path) -> dict[str, Path]:
    """The splits of a BEIR folder and their files, plain or compressed."""
    names = {p.name.split(".tsv")[0] for p in (folder / "qrels").glob("*.tsv*")}
    found = {name: find_compressed(folder / "qrels", f"{name}.tsv") for name in sorted(names)}
    return {name: file for name, file in found.items() if file is not None}


def _load_beir(folder: Path, domain: str, split: str) -> Suite:
    files = qrels_files(folder)
    taken = next((name for name in SPLIT_ALIASES.get(split, (split,)) if name in files), None)
    if taken is None:
        raise _no_split(folder, split, list(files))
    judged = read_qrels(files[taken])
    all_queries = read_queries(folder)
    qrels = {query_id: judged[query_id] for query_id in judged if query_id in all_queries}
    rejects = Rejects(None)
    absent = {doc_id for judgements in qrels.values() for doc_id in judgements}
    n_judged, n_documents = len(absent), 0
    for document in read_beir(folder, options=ReadOptions(), rejects=rejects):
        n_documents += 1
        absent.discard(document.doc_id)
    unjudged = len(judged) - len(qrels)
    nothing = sum(not any(score > 0 for score in q.values()) for q in qrels.values())
    counts = [
        (unjudged, f"{unjudged} of {len(judged)} queries of {taken} have no text; left out"),
        (len(absent), f"{len(absent)} of {n_judged} judged documents are not in the corpus"),
        (nothing, f"{nothing} of {len(qrels)} queries have no relevant document"),
    ]
    warnings = [sentence for count, sentence in counts if count]
    warnings += [f"{n} documents rejected: {kind}" for kind, n in rejects.by_reason.items()]
    if not qrels:
        raise CorpusError(
            f"no query of {files[taken]} stands in {folder}/queries.jsonl "
            f"({len(judged)} judged, {len(all_queries)} known).",
            "take queries and qrels from the same release of the suite",
        )
    return Suite(
        name=folder.resolve().name,
        domain=domain,
        documents=lambda: read_beir(
            folder, options=ReadOptions(domain=domain), rejects=Rejects(None)
        ),
        queries=[query for query_id, query in all_queries.items() if query_id in qrels],
        qrels=qrels,
        content_hash=_file_hash(find_compressed(folder, "corpus.jsonl"), domain),
        n_documents=n_documents,
        split=taken,
        warnings=warnings,
    )


def _load_stdlib(folder: Path, domain: str, split: str) -> Suite:
    recipe = load_recipe(folder)
    rejects = Rejects(None)
    functions = list(stdlib_functions(recipe, domain=domain, rejects=rejects))
    splits = stdlib_judgements(recipe, functions)
    taken = next((name for name in SPLIT_ALIASES.get(split, (split,)) if name in splits), None)
    if taken is None:
        raise _no_split(folder, split, list(splits))
    queries, qrels = splits[taken]
    return Suite(
        name=folder.resolve().name,
        domain=domain,
        documents=lambda: read_stdlib(
            folder, options=ReadOptions(domain=domain), rejects=Rejects(None)
        ),
        queries=queries,
        qrels=qrels,
        content_hash=stdlib_hash(folder),
        n_documents=len(functions),
        split=taken,
        warnings=[f"{n} source files rejected: {kind}" for kind, n in rejects.by_reason.items()],
    )


def find_suite(path_or_name: Path | str, home: Path) -> Path:
    """The folder of a suite: a path, or a name under ``corpora/`` or ``corpora/demo/``.

    Raises:
        CorpusError: there is none.
    """
    name = str(path_or_name)
    candidates = [Path(name).expanduser(), home / "corpora" / name, home / "corpora/demo" / name]
    found = [folder for folder in candidates if folder.is_dir()]
    suites = [folder for folder in found if _is_suite(folder)]
    if suites:
        return suites[0]
    if found:
        raise CorpusError(
            f"{found[0]} is not a suite: it needs corpus.jsonl, queries.jsonl and qrels/.",
            "give a BEIR folder, or lbr-search ingest it as a plain source",
        )
    known = {p.name: p for p in discover_suites(home / "corpora")} if _has(home) else {}
    raise CorpusError(
        f"there is no suite {name!r}; known under {home / 'corpora'}: {', '.join(known) or '-'}.",
        nearest(name, known) if known else "give the path of a BEIR folder, or --home DIR",
    )


def _has(home: Path) -> bool:
    return (home / "corpora").is_dir()


def _is_suite(folder: Path) -> bool:
    if (folder / "qrels").is_dir():
        return find_compressed(folder, "queries.jsonl") is not None
    return source_record(folder).get("reader") == READER


def _no_split(folder: Path, split: str, known: list[str]) -> CorpusError:
    return CorpusError(
        f"{folder} has no split {split!r}; it has: {', '.join(known) or 'none'}.",
        f"--split {known[0]}" if known else f"put qrels/{split}.tsv into {folder}",
    )


def _refuse(mistakes: list[str], file: Path) -> None:
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise CorpusError("\n".join(mistakes[:_SHOWN] + more) + ".", f"edit {file}")


def _file_hash(file: Path | None, domain: str) -> str:
    assert file is not None, "read_beir has read the corpus file"
    digest = hashlib.blake2b(domain.encode("utf-8"), digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
