"""A Python source tree -> documents: its functions, methods and classes, by `ast`."""

from __future__ import annotations

import ast
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbr_search.corpus.compressed import count_read
from lbr_search.corpus.readers import walk_files
from lbr_search.corpus.records import RowError, check_document
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.types import Document

MAX_LINE_CHARS = 10_000
"""A file with a longer line is taken for generated or minified."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = FunctionNode | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function, method, class or module of one file; lines are 1-based and inclusive."""

    name: str
    """Qualified name within the file, e.g. ``JSONEncoder.encode``."""
    kind: str
    """function, method, class or module."""
    signature: str
    """The name with its parameters, or the class with its bases."""
    text: str
    """Its source, moved to the left margin; of a class without the bodies of its methods."""
    start_line: int
    end_line: int
    node: Definition | None
    """Its syntax tree; None for a module."""


def read_python_tree(
    path: Path, *, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    """Functions, methods and classes of every .py below a folder (or of one file).

    The id is ``path/in/tree.py::Qualified.name``, with ``:line`` when that name stands in the
    file before. A file without definitions is one document. Hidden folders, ``__pycache__``,
    ``site-packages`` and virtual environments are left out; files that do not parse, or that
    have a line over `MAX_LINE_CHARS`, are rejected; files without code are passed over.
    """
    root = path if path.is_dir() else path.parent
    for file in walk_files(path, (".py",)) if path.is_dir() else iter([path]):
        relative = file.relative_to(root).as_posix()
        try:
            lines = source_lines(file)
            documents = [
                _document(symbol_id, symbol, relative, options.domain)
                for symbol_id, symbol in identified(relative, symbols_of(lines))
            ]
            for document in documents:
                check_document(document)
        except RowError as error:
            rejects.add(file, None, str(error))
        else:
            yield from documents


def source_lines(file: Path) -> list[str]:
    """Lines of a source file without their ends, decoded as PEP 263 says.

    Lines are cut as Python counts them; ``str.splitlines`` also cuts at form feeds.

    Raises:
        RowError: unreadable, wrongly encoded, or with a line over `MAX_LINE_CHARS`.
    """
    try:
        with tokenize.open(file) as stream:
            lines = stream.read().split("\n")
        count_read(file)
    except OSError as error:
        raise RowError(f"unreadable: {error.strerror}") from error
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise RowError(f"wrong encoding: {error}") from error
    longest = max(map(len, lines))
    if longest > MAX_LINE_CHARS:
        raise RowError(f"generated or minified: a line of {longest:,} characters")
    return lines


def symbols_of(lines: Sequence[str]) -> list[Symbol]:
    """The functions, methods and classes of a module; the module itself when it has none.

    Functions inside functions belong to the text of the outer one.

    Raises:
        RowError: the source does not parse.
    """
    source = "\n".join(lines)
    try:
        with warnings.catch_warnings():
            # what the compiler thinks of other people's escapes is no concern of a search
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        raise RowError(f"syntax error: {error.msg} at line {error.lineno}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise RowError(f"syntax error: {error or type(error).__name__}") from error
    found = [_symbol(node, name, kind, lines) for node, name, kind in _walk(tree.body, "", False)]
    if not found and source.strip():
        found = [Symbol("", "module", "", source.strip("\n"), 1, len(lines), None)]
    return found


def identified(relative: str, symbols: Sequence[Symbol]) -> Iterator[tuple[str, Symbol]]:
    """Pair each symbol with its document id."""
    seen: Counter[str] = Counter()
    for symbol in symbols:
        symbol_id = f"{relative}::{symbol.name}" if symbol.name else relative
        seen[symbol_id] += 1
        repeated = seen[symbol_id] > 1
        yield (f"{symbol_id}:{symbol.start_line}" if repeated else symbol_id), symbol


def cut_lines(lines: Sequence[str], start: int, end: int, *, indent: int) -> list[str]:
    """Lines `start` to `end` (1-based, inclusive) with up to `indent` blanks taken off each."""
    cut = []
    for line in lines[start - 1 : end]:
        n_blanks = len(line) - len(line.lstrip(" \t"))
        cut.append(line[min(indent, n_blanks) :])
    return cut


def first_line(node: Definition) -> int:
    """Line of the first decorator, else of ``def`` or ``class``."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def signature(node: Definition, name: str) -> str:
    """A function with the names of its parameters, a class with its bases.

    >>> signature(ast.parse("def dump(obj, *, indent=2): ...").body[0], "dump")
    'dump(obj, *, indent)'
    """
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"{name}({bases})" if bases else name
    given = node.args
    names = [argument.arg for argument in given.posonlyargs]
    names += ["/"] if given.posonlyargs else []
    names += [argument.arg for argument in given.args]
    if given.vararg or given.kwonlyargs:
        names.append(f"*{given.vararg.arg}" if given.vararg else "*")
    names += [argument.arg for argument in given.kwonlyargs]
    names += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return f"{name}({', '.join(names)})"


def _walk(
    body: Sequence[ast.stmt], prefix: str, is_in_class: bool
) -> Iterator[tuple[Definition, str, str]]:
    """Definitions in order, also those under ``if``, ``try``, ``with`` and loops."""
    for node in body:
        if isinstance(node, FunctionNode):
            yield node, f"{prefix}{node.name}", "method" if is_in_class else "function"
        elif isinstance(node, ast.ClassDef):
            yield node, f"{prefix}{node.name}", "class"
            yield from _walk(node.body, f"{prefix}{node.name}.", True)
        else:
            yield from _walk(_inner_statements(node), prefix, is_in_class)


def _inner_statements(node: ast.stmt) -> list[ast.stmt]:
    inner: list[ast.stmt] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            inner.append(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            inner.extend(child.body)
    return inner


def _symbol(node: Definition, name: str, kind: str, lines: Sequence[str]) -> Symbol:
    start, end = first_line(node), node.end_lineno or node.lineno
    text = cut_lines(lines, start, end, indent=node.col_offset)
    if isinstance(node, ast.ClassDef):
        hidden = _method_body_lines(node)
        text = [line for n, line in enumerate(text, start=start) if n not in hidden]
    return Symbol(name, kind, signature(node, name), "\n".join(text), start, end, node)


def _method_body_lines(node: ast.ClassDef) -> set[int]:
    """Lines that stand in the documents of the methods already (their signatures stay)."""
    hidden: set[int] = set()
    for inner, _, kind in _walk(node.body, "", True):
        first = inner.body[0]
        # an inner class is a document too: of it, the header stays here
        start = first_line(first) if isinstance(first, Definition) else first.lineno
        if kind == "method" or isinstance(inner, ast.ClassDef):
            hidden.update(range(max(start, inner.lineno + 1), (inner.end_lineno or start) + 1))
    return hidden


def _document(symbol_id: str, symbol: Symbol, relative: str, domain: str) -> Document:
    return Document(
        doc_id=symbol_id,
        title=symbol.signature or relative,
        text=symbol.text,
        domain=domain,
        metadata={
            "path": relative,
            "symbol": symbol.name,
            "kind": symbol.kind,
            "start_line": symbol.start_line,
            "end_line": symbol.end_line,
        },
    )
