"""The code suite that every machine has: the standard library of the running Python.

Nothing is copied: functions and methods are read where Python keeps them. A document is a
function without its docstring; a query is the first sentence of a docstring, and the functions
that carried it are relevant.
"""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.corpus.docstrings import first_sentence, without_docstring
from lbr_search.corpus.python_source import Symbol, identified, source_lines, symbols_of
from lbr_search.corpus.readers import walk_files
from lbr_search.corpus.records import RowError, check_document
from lbr_search.corpus.sources import SOURCE_FILE, source_record
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import nearest
from lbr_search.types import Document, Qrels, Query

READER = "python-stdlib"
"""Value of ``reader`` in the SOURCE.json of such a corpus."""

_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "dist-packages", "site-packages"}


@dataclass(frozen=True, slots=True)
class StdlibRecipe:
    """What SOURCE.json asks for."""

    modules: tuple[str, ...]
    """Top-level modules and packages; empty = all."""
    n_queries: dict[str, int]
    """Split -> at most so many queries, dealt in this order; the rest is ``train``."""


@dataclass(frozen=True, slots=True)
class StdlibFunction:
    """A function of the standard library as a document, and the query it answers ("" = none)."""

    document: Document
    sentence: str


def read_stdlib(path: Path, *, options: ReadOptions, rejects: RejectSink) -> Iterator[Document]:
    """Functions and methods of the standard library, without their docstrings.

    Args:
        path: a corpus folder whose SOURCE.json lists the ``modules`` to take ("*" = all).
        options: only the domain is used.
        rejects: gets the files that do not parse.

    Raises:
        CorpusError: SOURCE.json is wrong or names a module that this Python does not have.
    """
    for function in stdlib_functions(load_recipe(path), domain=options.domain, rejects=rejects):
        yield function.document


def load_recipe(folder: Path) -> StdlibRecipe:
    """Read and check the SOURCE.json of a corpus made from the standard library.

    Raises:
        CorpusError: all mistakes of the file.
    """
    record = source_record(folder)
    modules, n_queries = record.get("modules", "*"), record.get("queries", {})
    mistakes = []
    if modules != "*" and not (
        isinstance(modules, list) and modules and all(isinstance(m, str) for m in modules)
    ):
        mistakes.append(f'modules = {modules!r} is neither "*" nor a list of names')
    if not isinstance(n_queries, dict) or not all(
        isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in n_queries.values()
    ):
        mistakes.append(f"queries = {n_queries!r} is not an object of split and number > 0")
    if mistakes:
        raise CorpusError("\n".join(mistakes) + ".", f"edit {folder / SOURCE_FILE}")
    return StdlibRecipe(() if modules == "*" else tuple(modules), n_queries)


def stdlib_functions(
    recipe: StdlibRecipe, *, domain: str, rejects: RejectSink
) -> Iterator[StdlibFunction]:
    """The functions of the modules of `recipe`, in the order of their files.

    Raises:
        CorpusError: this Python has no such module.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in stdlib_files(recipe):
        relative = file.relative_to(root).as_posix()
        try:
            lines = source_lines(file)
            for doc_id, symbol in identified(relative, symbols_of(lines)):
                if symbol.kind in ("function", "method"):
                    yield _function(doc_id, symbol, relative, lines, domain)
        except RowError as error:
            rejects.add(file, None, str(error))


def stdlib_files(recipe: StdlibRecipe) -> Iterator[Path]:
    """Source files of the modules of `recipe`; tests, idlelib and lib2to3 are left out.

    Raises:
        CorpusError: this Python has no such module.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    for file in walk_files(root, (".py",)):
        parts = file.relative_to(root).parts
        if recipe.modules and Path(parts[0]).stem not in recipe.modules:
            continue
        if _LEFT_OUT.isdisjoint(parts):
            yield file
    known = {entry.stem: entry for entry in root.iterdir()}
    unknown = [name for name in recipe.modules if name not in known]
    if unknown:
        raise CorpusError(
            f"Python {platform.python_version()} has no source of {', '.join(unknown)} in {root}.",
            f"edit modules in {SOURCE_FILE}: {nearest(unknown[0], known)}",
        )


def stdlib_judgements(
    recipe: StdlibRecipe, functions: Sequence[StdlibFunction]
) -> dict[str, tuple[list[Query], Qrels]]:
    """Deal the docstring sentences of `functions` out to splits, by a hash of the sentence.

    Returns:
        split -> (queries, qrels); what the recipe's splits do not take is ``train``.
    """
    relevant: dict[str, dict[str, int]] = {}
    for function in functions:
        if function.sentence:
            relevant.setdefault(function.sentence, {})[function.document.doc_id] = 1
    query_ids = {sentence: _query_id(sentence) for sentence in relevant}
    left = sorted(relevant, key=lambda sentence: query_ids[sentence])
    dealt: dict[str, tuple[list[Query], Qrels]] = {}
    for split, limit in [*recipe.n_queries.items(), ("train", len(left))]:
        taken, left = left[:limit], left[limit:]
        dealt[split] = (
            [Query(query_ids[sentence], sentence) for sentence in taken],
            {query_ids[sentence]: relevant[sentence] for sentence in taken},
        )
    return dealt


def stdlib_hash(folder: Path) -> str:
    """Hex digest over the Python version, SOURCE.json and every source file it chooses."""
    root = Path(sysconfig.get_paths()["stdlib"])
    digest = hashlib.blake2b(platform.python_version().encode(), digest_size=16)
    digest.update((folder / SOURCE_FILE).read_bytes())
    for file in stdlib_files(load_recipe(folder)):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _function(
    doc_id: str, symbol: Symbol, relative: str, lines: Sequence[str], domain: str
) -> StdlibFunction:
    module = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    text, docstring = without_docstring(symbol, lines)
    sentence = first_sentence(docstring)
    has_body = len(getattr(symbol.node, "body", [])) > 1
    if not has_body or sentence in " ".join(text.split()):
        sentence = ""  # nothing to find, or the answer would quote the question
    document = Document(
        doc_id=doc_id,
        title=f"{module}.{symbol.signature}",
        text=text,
        domain=domain,
        metadata={
            "path": relative,
            "symbol": symbol.name,
            "kind": symbol.kind,
            "start_line": symbol.start_line,
            "end_line": symbol.end_line,
        },
    )
    check_document(document)
    return StdlibFunction(document, sentence)


def _query_id(sentence: str) -> str:
    return "py-" + hashlib.blake2b(sentence.encode("utf-8"), digest_size=6).hexdigest()
