"""Which files of a repository are left out by rule: generated, minified, vendored, binary."""

from __future__ import annotations

import re
from pathlib import Path

MAX_CODE_BYTES = 2_000_000
MAX_LINE_CHARS = 10_000
MEAN_LINE_CHARS = 400
"""Mean length of a line from which code is taken for minified (people's code: under 60)."""

VENDORED = frozenset(
    {
        *("node_modules", "bower_components", "vendor", "third_party", "third-party", "Pods"),
        *("site-packages", "dist-packages", "Godeps"),
    }
)
_LOCKS = frozenset(
    {
        *("package-lock.json", "npm-shrinkwrap.json", "composer.lock", "yarn.lock", "Cargo.lock"),
        *("poetry.lock", "pnpm-lock.yaml", "Pipfile.lock", "go.sum", "uv.lock"),
    }
)
_GENERATED_NAME = re.compile(
    r"(\.min\.(js|css|html)|\.bundle\.js|[._-]pb2(_grpc)?\.pyi?|\.pb\.(go|cc|h)|\.g\.cs"
    r"|\.designer\.cs|_generated\.\w+|\.generated\.\w+|\.js\.map)$",
    re.IGNORECASE,
)
_GENERATED_MARK = re.compile(
    rb"@generated|auto-?generated|generated (by|from|file|code)[^\n]*|code generated"
    rb"|do not (edit|modify)",
    re.IGNORECASE,
)
_HEAD_LINES = 6
_COMMENT = re.compile(rb"^\s*(//|#|/\*|\*|--|;|<!--|\"\"\")")
_PEEK_BYTES = 8_192


def skipped_by_name(relative: str) -> str | None:
    """Why a file is left out for its path, as ``kind: detail``; None = it is not.

    >>> skipped_by_name("web/node_modules/a/index.js")
    'vendored: node_modules'
    """
    *folders, name = relative.split("/")
    folder = next((part for part in folders if part in VENDORED), None)
    if folder is not None:
        return f"vendored: {folder}"
    if name in _LOCKS:
        return "lock file: written by a package manager"
    if _GENERATED_NAME.search(name):
        return "generated: by its name"
    return None


def skipped_by_content(file: Path, data: bytes) -> str | None:
    """Why source code is left out for what it holds; None = it is not."""
    if b"\0" in data[:_PEEK_BYTES] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "binary: it holds NUL bytes"
    head = data[:_PEEK_BYTES].split(b"\n")[:_HEAD_LINES]
    if any(_COMMENT.match(line) and _GENERATED_MARK.search(line) for line in head):
        return "generated: it says so"
    lines = data.count(b"\n") + 1
    longest = max(map(len, data.split(b"\n")))
    if longest > MAX_LINE_CHARS or (file.suffix != ".sql" and len(data) / lines > MEAN_LINE_CHARS):
        return f"minified: a line of {longest:,} bytes"
    return None
