"""A file of queries -> a TREC run."""

from __future__ import annotations

import json
from pathlib import Path

from lbr_search.bench.trec_io import write_run
from lbr_search.cli.console import to_stderr
from lbr_search.corpus.compressed import plain_name, read_lines
from lbr_search.errors import CorpusError
from lbr_search.search.searcher import Searcher
from lbr_search.types import Query


def answer_file(
    searcher: Searcher, queries: Path, run: Path, *, k: int, filter: str | None
) -> None:
    """Answer every query of a file and write the run."""
    asked = read_query_file(queries)
    rankings = searcher.rank_documents([query.text for query in asked], k=k, filter=filter)
    answers = {query.query_id: dict(hits) for query, hits in zip(asked, rankings, strict=True)}
    write_run(answers, run, system=f"lbr-search-{searcher.config.mode}")
    n_empty = sum(not hits for hits in answers.values())
    to_stderr(f"{len(asked)} queries answered, {n_empty} without a hit -> {run}")


def read_query_file(path: Path) -> list[Query]:
    """Queries of a BEIR ``queries.jsonl`` or of ``id<TAB>text`` lines, plain or compressed.

    Raises:
        CorpusError: the file is missing or empty, or lines are wrong (all named).
    """
    is_json = Path(plain_name(path)).suffix in (".jsonl", ".ndjson")
    queries: dict[str, Query] = {}
    mistakes = []
    for line, raw in read_lines(path):
        text = raw.decode("utf-8", "replace").strip("\r\n")
        if not text.strip():
            continue
        query = _from_json(text) if is_json else _from_tab(text)
        if query is None:
            mistakes.append(f"{path}:{line} is not {FORMS[is_json]}")
        elif query.query_id in queries:
            mistakes.append(f"{path}:{line} repeats the query id {query.query_id!r}")
        else:
            queries[query.query_id] = query
    if mistakes:
        shown = "\n".join(mistakes[:5])
        raise CorpusError(f"{len(mistakes)} lines of {path} are wrong:\n{shown}", f"edit {path}")
    if not queries:
        raise CorpusError(f"{path} holds no query.", f"write lines of {FORMS[is_json]}")
    return list(queries.values())


FORMS = {True: '{"_id": ..., "text": ...}', False: "id<TAB>text"}


def _from_json(text: str) -> Query | None:
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not str(row.get("text") or "").strip() or "_id" not in row:
        return None
    return Query(str(row["_id"]), str(row["text"]))


def _from_tab(text: str) -> Query | None:
    query_id, tab, rest = text.partition("\t")
    return (
        Query(query_id.strip(), rest.strip()) if tab and query_id.strip() and rest.strip() else None
    )
