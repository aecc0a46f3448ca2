"""TREC run and qrels files: read, write, refuse what the format cannot hold. `.gz` by name."""

from __future__ import annotations

import contextlib
import gzip
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lbr_search.corpus.suite import find_suite, qrels_files, read_queries
from lbr_search.corpus.suite import read_qrels as read_beir_qrels
from lbr_search.errors import CorpusError
from lbr_search.types import Qrels, Run

Number = TypeVar("Number", int, float)

RUN_FORM = "query_id Q0 doc_id rank score system"
QRELS_FORM = "query_id 0 doc_id relevance"


def write_run(run: Run, path: Path, *, system: str) -> None:
    """Write a run, best first, ties by doc id descending as trec_eval orders them.

    Scores are written so that reading them back gives the same numbers.

    Args:
        run: query_id -> doc_id -> score; queries keep their order.
        path: the file, gzip where it ends in ``.gz``; its folder is made.
        system: what made the run, the last column.

    Raises:
        CorpusError: an id is empty or holds white space, or a score is not finite.
    """
    _check_ids([system], path)
    _write((_run_lines(query_id, hits, path, system) for query_id, hits in run.items()), path)


def _run_lines(query_id: str, hits: dict[str, float], path: Path, system: str) -> str:
    _check_ids([query_id, *hits], path)
    lines = []
    for rank, (doc_id, score) in enumerate(ranked(hits), start=1):
        if not math.isfinite(score):
            raise CorpusError(
                f"{path}: the score of {doc_id} for query {query_id} is {score}.",
                "rank this query again; only finite scores can be ordered",
            )
        lines.append(f"{query_id} Q0 {doc_id} {rank} {float(score)!r} {system}\n")
    return "".join(lines)


def read_run(path: Path) -> Run:
    """Read a run; the order of a query's hits follows its scores, not its lines.

    Raises:
        CorpusError: the file is missing, or a line is not a run line, or names a hit twice.
    """
    rows = _read_rows(path, RUN_FORM, n_columns=6)
    return _gather(
        ((number, row[0], row[2], row[4]) for number, row in rows), float, path, RUN_FORM
    )


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write relevance judgements, in the order given.

    Raises:
        CorpusError: an id is empty or holds white space.
    """
    _check_ids([*qrels, *(doc_id for judged in qrels.values() for doc_id in judged)], path)
    _write(
        (
            f"{query_id} 0 {doc_id} {relevance}\n"
            for query_id, judged in qrels.items()
            for doc_id, relevance in judged.items()
        ),
        path,
    )


def read_qrels(path: Path) -> Qrels:
    """Read relevance judgements.

    Raises:
        CorpusError: the file is missing, or a line is not a qrels line, or judges a pair twice.
    """
    rows = _read_rows(path, QRELS_FORM, n_columns=4)
    return _gather(
        ((number, row[0], row[2], row[3]) for number, row in rows), int, path, QRELS_FORM
    )


def write_suite(path_or_name: Path | str, folder: Path, *, home: Path) -> list[str]:
    """Write ``topics.tsv`` (number, tab, query) and ``SPLIT.qrels`` of a BEIR suite.

    Returns:
        The names of the qrels files.

    Raises:
        CorpusError: there is no such suite with queries of its own, or an id holds white space.
    """
    suite = find_suite(path_or_name, home)
    queries = read_queries(suite)
    lines = []
    for query_id, query in queries.items():
        _check_ids([query_id], folder)
        lines.append(f"{query_id}\t{' '.join(query.text.split())}\n")
    _write(lines, folder / "topics.tsv")
    names = []
    for split, file in qrels_files(suite).items():
        write_qrels(read_beir_qrels(file), folder / f"{split}.qrels")
        names.append(f"{split}.qrels")
    return names


def ranked(hits: dict[str, float]) -> list[tuple[str, float]]:
    """Hits as trec_eval orders them: score descending, ties by doc id descending.

    trec_eval holds a score in 32 bits, so scores that differ by less than that are ties.

    >>> ranked({"a": 1.0 + 1e-12, "b": 2.0, "c": 1.0})
    [('b', 2.0), ('c', 1.0), ('a', 1.000000000001)]
    """
    found = zip(held_scores(hits).tolist(), hits.items(), strict=True)
    return [hit for _, hit in sorted(found, key=lambda f: (f[0], f[1][0]), reverse=True)]


def held_scores(hits: dict[str, float]) -> NDArray[np.float32]:
    """(K,) scores as trec_eval holds them; what 32 bits cannot hold is infinite there, too."""
    with np.errstate(over="ignore"):
        return np.fromiter(hits.values(), dtype=np.float64, count=len(hits)).astype(np.float32)


def _check_ids(ids: list[str], path: Path) -> None:
    """The columns of a TREC file are split at white space, so an id cannot hold any."""
    bad = next((name for name in ids if not name or name.split() != [name]), None)
    if bad is not None:
        raise CorpusError(
            f"{path}: the id {bad!r} is empty or holds white space, which a TREC file cannot say.",
            "give the documents and queries ids without spaces, e.g. with underscores",
        )


def _write(parts: Iterable[str], path: Path) -> None:
    """Write under another name, then rename: a file that stands is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with contextlib.ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(unfinished.open("wb"))
            if path.suffix == ".gz":
                # no name and no time: the same run gives the same bytes
                packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
                file = cast("IO[bytes]", stack.enter_context(packed))
            for part in parts:
                file.write(part.encode("utf-8"))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _read_rows(path: Path, form: str, *, n_columns: int) -> Iterator[tuple[int, list[str]]]:
    if not path.is_file():
        raise CorpusError(f"{path} does not exist or is not a file.", f"give a file of: {form}")
    try:
        with cast("IO[str]", _open(path)) as file:
            for number, line in enumerate(file, start=1):
                row = line.split()
                if row and len(row) != n_columns:
                    raise CorpusError(
                        f"{path}:{number}: {len(row)} columns, {n_columns} expected.",
                        f"make every line: {form}",
                    )
                if row:
                    yield number, row
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise CorpusError(
            f"{path} cannot be read: {error}.", "give UTF-8 text, or a whole .gz file of it"
        ) from error


def _open(path: Path) -> object:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open("rt", encoding="utf-8")


def _gather(
    rows: Iterator[tuple[int, str, str, str]],
    convert: Callable[[str], Number],
    path: Path,
    form: str,
) -> dict[str, dict[str, Number]]:
    gathered: dict[str, dict[str, Number]] = {}
    names: dict[str, str] = {}  # one string a document, however many queries find it
    for number, query_id, doc_id, raw in rows:
        try:
            value = convert(raw)
        except ValueError as error:
            raise CorpusError(
                f"{path}:{number}: {raw!r} is not {'a number' if convert is float else 'whole'}.",
                f"make every line: {form}",
            ) from error
        if not math.isfinite(value):
            raise CorpusError(f"{path}:{number}: the score is {raw}.", "give finite scores")
        found = gathered.setdefault(query_id, {})
        if doc_id in found:
            raise CorpusError(
                f"{path}:{number}: document {doc_id} stands twice for query {query_id}.",
                "keep one line for each pair",
            )
        found[names.setdefault(doc_id, doc_id)] = value
    return gathered
