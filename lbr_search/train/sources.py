"""Training sources: what a recipe names -> texts, and pairs of query and passage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lbr_search.corpus.compressed import plain_name, read_lines
from lbr_search.corpus.readers import read_objects
from lbr_search.corpus.records import choose_columns
from lbr_search.corpus.rejects import Rejects
from lbr_search.corpus.sources import DOMAINS, read_resolved, resolve_source
from lbr_search.corpus.suite import load_suite
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.train.pairs import structure_pairs
from lbr_search.train.recipe import DataConfig
from lbr_search.train.tokens import take_chars
from lbr_search.types import passage_text

JSON_LINES = (".jsonl", ".ndjson")
PAIR_COLUMNS = ("query", "positive")
_ROWS_TO_KNOW_COLUMNS = 100


def own_data(text: Sequence[str], pairs: Sequence[Path], *, home: Path) -> dict[str, Any]:
    """The keys of [data] that put a user's own corpus in the place of a recipe's sources.

    Without pairs, the pairs are made from the structure of the texts. What the recipe holds out
    for its own sources is left out with them.

    Args:
        text: paths, or names of shipped corpora.
        pairs: JSON-lines files of ``query, title, positive, group``, or BEIR folders.
        home: folder of the shipped corpora.

    Raises:
        CorpusError: a source is not found, or is of no known kind.
    """
    texts = {str(resolve_source(name, home).path.resolve()): 1.0 for name in text}
    for path in pairs:
        if not path.exists():
            raise CorpusError(f"the pairs {path} do not exist.", "check the path of --pairs")
    return {
        "text": texts,
        "pairs": {str(path.resolve()): 1.0 for path in pairs},
        "structure": {} if pairs else texts,
        "licences": {},
        "held_out": "",
    }


def source_path(folder: Path, name: str) -> Path:
    """Where a source lies.

    Raises:
        CorpusError: it is not there.
    """
    path = folder / name
    if not path.exists():
        raise CorpusError(
            f"training data {name!r} is not under {folder}.",
            "give the folder that holds it with --data DIR, or edit [data] of the recipe",
        )
    return path


def domain_of(name: str) -> str:
    """The domain that a source's path names, else the folder that it lies in.

    >>> domain_of("pairs/chemistry/a.jsonl"), domain_of("corpora/demo/medical"), domain_of("x/y")
    ('chemistry', 'medical', 'x')
    """
    parts = Path(name).parts
    return next((part for part in reversed(parts) if part in DOMAINS), Path(name).parent.name)


def read_text(path: Path, *, rejects: RejectSink) -> Iterator[str]:
    """Title and text of each document of a source.

    JSON lines are read here, whatever their ids: training has no use for ids, so none is missing
    or repeated. All else is read as an ingest does.

    Args:
        path: anything that can be ingested.
        rejects: told of what cannot become a text.

    Raises:
        CorpusError: the source is of no known kind, or damaged.
    """
    if not path.is_dir() and plain_name(path).endswith(JSON_LINES):
        yield from _read_json_texts(path, rejects)
        return
    source = resolve_source(str(path), path)
    for document in read_resolved(source, options=ReadOptions(), rejects=rejects):
        yield passage_text(document.title, document.text)


def read_pairs(path: Path, *, rejects: RejectSink) -> Iterator[tuple[str, str, str]]:
    """(query, passage, group) of each line; a title that repeats the query is left out.

    Without that, name -> "name definition" would teach nothing but copying.

    Args:
        path: a JSON-lines file of ``query, title, positive, group``, or a BEIR folder, of which
            the train split is read; its group is the document.
        rejects: told of pairs with an empty side, or with two sides that are the same.

    Raises:
        CorpusError: a line is broken, or lacks a column.
    """
    if path.is_dir():
        yield from _suite_pairs(path)
        return
    for number, record in _pair_records(path):
        query, positive = record["query"].strip(), record["positive"].strip()
        if not query or not positive:
            rejects.add(path, number, "empty side")
        elif query.lower() == positive.lower():
            rejects.add(path, number, "identical sides")
        else:
            title = record.get("title") or ""
            is_copy = title.strip().lower() == query.lower()
            passage = passage_text("" if is_copy else title, record["positive"])
            yield record["query"], passage, record.get("group") or ""


def read_structure(path: Path, *, rejects: RejectSink) -> Iterator[tuple[str, str, str]]:
    """(query, passage, group) of the pairs that a source's own structure makes.

    Raises:
        CorpusError: the source is of no known kind, or damaged.
    """
    source = resolve_source(str(path), path)
    for pair in structure_pairs(source, rejects=rejects):
        yield pair.query, passage_text(pair.title, pair.positive), pair.group


def tokenizer_texts(config: DataConfig, folder: Path) -> Iterator[str]:
    """What a tokenizer is trained on: the same number of characters of every source."""
    rejects = Rejects(None)  # counted where the same sources become tables
    for _, texts in source_texts(config, folder, rejects=rejects):
        yield from take_chars(texts, config.tokenizer_chars)


def source_texts(
    config: DataConfig, folder: Path, *, rejects: RejectSink
) -> Iterator[tuple[str, Iterator[str]]]:
    """(name, texts) of every source; a pair is one text, its query above its passage."""
    for name in config.text:
        yield name, read_text(source_path(folder, name), rejects=rejects)
    for names, read in ((config.pairs, read_pairs), (config.structure, read_structure)):
        for name in names:
            pairs = read(source_path(folder, name), rejects=rejects)
            yield name, (f"{query}\n{passage}" for query, passage, _ in pairs)


def _read_json_texts(path: Path, rejects: RejectSink) -> Iterator[str]:
    objects = read_objects(path, rejects)
    head = list(itertools.islice(objects, _ROWS_TO_KNOW_COLUMNS))
    if not head:
        return
    columns = choose_columns((name for _, row in head for name in row), ReadOptions(), file=path)
    for number, row in itertools.chain(head, objects):
        text, title = row.get(columns.text), row.get(columns.title) if columns.title else ""
        if not isinstance(text, str) or not text.strip():
            rejects.add(path, number, "empty text" if text in ("", None) else "text is no string")
        else:
            yield passage_text(title if isinstance(title, str) else "", text)


def _suite_pairs(folder: Path) -> Iterator[tuple[str, str, str]]:
    suite = load_suite(folder, split="train", home=folder)
    queries = {query.query_id: query.text for query in suite.queries}
    asked: dict[str, list[str]] = {}
    for query_id, grades in suite.qrels.items():
        for doc_id, grade in grades.items():
            if grade > 0:
                asked.setdefault(doc_id, []).append(queries[query_id])
    for document in suite.documents():
        for query in asked.get(document.doc_id, []):
            yield query, passage_text(document.title, document.text), document.doc_id


def _pair_records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not plain_name(path).endswith(JSON_LINES):
        raise CorpusError(
            f"the pairs {path} are not JSON lines ({' or '.join(JSON_LINES)}, plain or packed).",
            "write one object a line with query and positive, and title and group if you have them",
        )
    for number, line in read_lines(path):
        if line.strip():
            yield number, _pair_record(path, number, line)


def _pair_record(path: Path, number: int, line: bytes) -> dict[str, str]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path}:{number}: not a JSON object with {' and '.join(PAIR_COLUMNS)}: {error}.",
            f"correct or delete line {number} of {path}",
        ) from error
    found = list(record) if isinstance(record, dict) else []
    missing = [name for name in PAIR_COLUMNS if name not in found]
    if missing:
        what = f"the columns {', '.join(found)}" if found else "no JSON object with columns"
        raise CorpusError(
            f"{path}:{number} has {what}, and not {' and '.join(missing)}.",
            f"rename a column to {missing[0]}" if found else f"correct line {number} of {path}",
        )
    for name in (*PAIR_COLUMNS, "title", "group"):
        if not isinstance(record.get(name) or "", str):
            raise CorpusError(
                f"{path}:{number}: {name} is not text but {record[name]!r}.", f"correct {path}"
            )
    return {name: value or "" for name, value in record.items() if isinstance(value, str | None)}
