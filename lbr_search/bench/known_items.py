"""A synthetic suite of an own corpus: a part of each document is held out and asks for the rest.

Known-item search (Azzopardi, de Rijke and Balog, SIGIR 2007, build such queries too). It shows
whether a document can be found by its own title, heading, docstring or definition; how real users
would ask, it does not show. So the suite is marked as synthetic wherever it appears.
"""

from __future__ import annotations

import random
import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lbr_search.corpus.add import write_record
from lbr_search.corpus.convert import write_beir
from lbr_search.corpus.definitions import defined_term
from lbr_search.corpus.docstrings import first_sentence, without_docstring
from lbr_search.corpus.python_source import symbols_of
from lbr_search.corpus.records import RowError
from lbr_search.errors import CorpusError
from lbr_search.index.manifest import load_manifest, store_folder
from lbr_search.index.store import ChunkStore
from lbr_search.index.stored import stored_documents
from lbr_search.types import Document

N_QUERIES = 500
MIN_QUERY_WORDS = 2
MIN_REST_WORDS = 8
"""Of a document without what was held out."""
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A query and the document that it was taken out of."""

    kind: str
    """docstring, heading, title or definition."""
    query: str
    document: Document
    """Without the query."""


@dataclass(frozen=True, slots=True)
class MadeSuite:
    """What `make_suite` wrote."""

    folder: Path
    n_documents: int
    by_kind: Mapping[str, int]
    n_repeated: int
    """Documents whose query another one has too; not asked."""


def make_suite(
    index: Path, *, name: str, into: Path, n_queries: int = N_QUERIES, seed: int = 0
) -> MadeSuite:
    """Write a suite from the documents of an index.

    Args:
        index: folder of an index.
        name: of the suite.
        into: the home's ``corpora``.
        n_queries: most queries; the documents of the others stay whole, to be found wrongly.
        seed: of the choice.

    Raises:
        CorpusError: the name is taken, or no document has a part that could be held out.
        IndexFormatError: there is no whole index.
    """
    target = into / name
    if target.exists():
        raise CorpusError(f"{target} exists.", f"take another --name, or remove {target}")
    manifest = load_manifest(index)
    documents = list(documents_of(index))
    items = {item.document.doc_id: item for d in documents if (item := hold_out(d)) is not None}
    counts = Counter(item.query.casefold() for item in items.values())
    unique = [key for key, item in items.items() if counts[item.query.casefold()] == 1]
    if not unique:
        raise CorpusError(
            f"no document of {index} has a title, heading, docstring or definition that could be "
            "held out and asked for.",
            "ingest documents with titles (--title-column), or write queries and qrels",
        )
    chosen = set(random.Random(seed).sample(sorted(unique), min(n_queries, len(unique))))
    asked = [items[document.doc_id] for document in documents if document.doc_id in chosen]
    rest = [items[d.doc_id].document if d.doc_id in chosen else d for d in documents]
    by_kind = Counter(item.kind for item in asked)
    record = {
        "synthetic": True,
        "how": "known items: " + ", ".join(f"{kind} {n}" for kind, n in sorted(by_kind.items())),
        "domain": manifest.seal.domain,
        "seed": seed,
    }
    _write(target, rest, asked, record)
    return MadeSuite(target, len(documents), dict(by_kind), len(items) - len(unique))


def hold_out(document: Document) -> KnownItem | None:
    """The part of a document that asks for the rest; None = it has none."""
    for kind, query, rest in _parts(document):
        words, left = query.split(), rest.text.split()
        is_told = " ".join(words).casefold() in " ".join([rest.title, *left]).casefold()
        if len(words) >= MIN_QUERY_WORDS and len(left) >= MIN_REST_WORDS and not is_told:
            return KnownItem(kind, " ".join(words), rest)
    return None


def documents_of(index: Path) -> Iterator[Document]:
    """The documents of an index, put together from their chunks, by id."""
    manifest = load_manifest(index)
    store = ChunkStore.open_version(store_folder(index, manifest), manifest.store_version)
    return iter(sorted(stored_documents(store), key=lambda document: document.doc_id))


def _parts(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Kind, query and the document without it, the best kind first."""
    if (found := _docstring(document)) is not None:
        yield "docstring", *found
    heading = _HEADING.search(document.text)
    if heading is not None:
        rest = document.text[: heading.start()] + document.text[heading.end() :]
        yield "heading", heading[1], replace(document, text=rest.strip())
    if document.title:
        yield "title", document.title, replace(document, title="")
    if (defined := defined_term(document.text)) is not None:
        term, definition = defined
        # the definition begins with a capital now; what follows it stays
        _, _, rest_of_text = document.text.partition(definition[1:])
        yield "definition", term, replace(document, text=definition + rest_of_text)


def _docstring(document: Document) -> tuple[str, Document] | None:
    if '"""' not in document.text and "'''" not in document.text:
        return None
    lines = textwrap.dedent(document.text).splitlines()
    try:
        symbol = symbols_of(lines)[0]
    except (RowError, IndexError):  # text with quotes in it, and no Python
        return None
    bare, docstring = without_docstring(symbol, lines)
    sentence = first_sentence(docstring)
    return (sentence, replace(document, text=bare)) if sentence else None


def _write(
    target: Path,
    documents: Sequence[Document],
    asked: Sequence[KnownItem],
    record: dict[str, object],
) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    queries = {f"q{number}": item.query for number, item in enumerate(asked)}
    judged = {f"q{number}": {item.document.doc_id: 1} for number, item in enumerate(asked)}
    write_beir(partial, documents=documents, queries=queries, qrels={"test": judged})
    write_record(partial, record)
    partial.replace(target)
