"""Code -> terms: identifiers whole and in parts."""

from __future__ import annotations

import re

from lbr_search.terms.english import WORD, Memory, english

PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")
DOTTED = re.compile(r"[^\W\d]\w*(?:(?:\.|::)[^\W\d]\w*)+")


def code(text: str) -> list[str]:
    """English, the parts of identifiers (camelCase, snake_case, digits), and dotted names whole.

    >>> code("readFile(max_size)")
    ['readfil', 'max_siz', 'read', 'file', 'max', 'size']
    >>> code("os.path.join")
    ['os', 'path', 'join', 'os.path.join']
    """
    parts = " ".join(filter(None, map(_parts.__getitem__, WORD.findall(text))))
    return english(text) + english(parts) + [name.lower() for name in DOTTED.findall(text)]


def identifier_parts(word: str) -> str:
    """The parts of an identifier in one string; nothing where it is one word.

    >>> identifier_parts("HTTPServer2"), identifier_parts("plain")
    ('HTTP Server 2', '')
    """
    parts = " ".join(PART.findall(word))
    return "" if parts == word else parts


_parts = Memory(identifier_parts)
