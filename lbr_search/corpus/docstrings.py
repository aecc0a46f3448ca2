"""Docstrings: the first sentence as a query, and the function without it as its answer."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Sequence

from lbr_search.corpus.python_source import Symbol, cut_lines, first_line

MIN_QUERY_WORDS = 4

_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bcf)[.!?](?=\s|$)")
_CALL = re.compile(r"^[\w.]+\(")


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring as one line; "" when it is no sentence to search with.

    Paragraphs that show a call or a doctest are passed over.

    >>> first_sentence("Return the sum, e.g. of prices. It adds.")
    'Return the sum, e.g. of prices.'
    """
    for paragraph in re.split(r"\n[ \t]*\n", inspect.cleandoc(docstring)):
        line = " ".join(paragraph.split())
        if not line or line.startswith(">>>") or _CALL.match(line):
            continue
        end = _SENTENCE_END.search(line)
        sentence = line[: end.end()] if end else line
        return sentence if len(sentence.split()) >= MIN_QUERY_WORDS else ""
    return ""


def without_docstring(symbol: Symbol, lines: Sequence[str]) -> tuple[str, str]:
    """Source of a function without its docstring, and the docstring ("" = it has none)."""
    node = symbol.node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return symbol.text, ""
    docstring = ast.get_docstring(node, clean=False)
    if docstring is None:
        return symbol.text, ""
    first, rest = node.body[0], node.body[1:]
    start, end = first.lineno, first.end_lineno or first.lineno
    header_end = max(
        [node.lineno, *(a.end_lineno or 0 for a in ast.walk(node.args) if isinstance(a, ast.arg))]
    )
    if start <= header_end or (rest and rest[0].lineno <= end):
        bare = copy.copy(node)  # shares a line with code: written anew from the tree
        bare.body = rest or [ast.Pass()]
        return ast.unparse(bare), docstring
    indent = node.col_offset
    kept = cut_lines(lines, first_line(node), start - 1, indent=indent)
    kept += cut_lines(lines, end + 1, symbol.end_line, indent=indent)
    return "\n".join(kept), docstring
