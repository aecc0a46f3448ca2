"""What a user may name as a source (a path or a shipped corpus) -> its documents."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbr_search.corpus.compressed import plain_name
from lbr_search.corpus.detect import detect_file, detect_reader
from lbr_search.corpus.walk import walk_tree
from lbr_search.errors import CorpusError
from lbr_search.protocols import ReadOptions, RejectSink
from lbr_search.registry import READERS, nearest
from lbr_search.types import Document

DOMAINS = ("medical", "chemistry", "code")
"""Domains that lbr-search knows by name; any other name works too."""

SOURCE_FILE = "SOURCE.json"


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A source that was found: where it is, which reader fits, and its domain ("" = unknown)."""

    name: str
    path: Path
    reader: str
    domain: str


def shipped_corpora(home: Path) -> dict[str, Path]:
    """The corpora that come with lbr-search, by name: medical, chemistry and code first.

    Raises:
        CorpusError: `home` holds no ``corpora/demo``.
    """
    folder = home / "corpora" / "demo"
    if not folder.is_dir():
        raise CorpusError(
            f"the shipped corpora are not here: {folder} does not exist.",
            "run inside the checkout of lbr-search, or give it with --home DIR",
        )
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    first = [name for name in DOMAINS if name in found]
    return {name: folder / name for name in [*first, *(n for n in found if n not in first)]}


def resolve_source(source: str, home: Path, *, reader: str | None = None) -> ResolvedSource:
    """Find what `source` names: an existing path, else a shipped corpus.

    Args:
        source: a path or a name.
        home: folder of the shipped corpora.
        reader: name in `READERS`; None = what the folder says of itself, else found by the path.

    Raises:
        CorpusError: neither; or the path is of no known kind.
        ConfigError: no such reader.
    """
    if reader is not None:
        READERS.resolve(reader)
    path = Path(source).expanduser()
    if not path.exists():
        path = _shipped(source, home)
    record = source_record(path) if path.is_dir() else {}
    reader = reader or record.get("reader") or detect_reader(path)
    if reader not in READERS:
        raise CorpusError(
            f"{path / SOURCE_FILE} names the unknown reader {reader!r}; "
            f"known: {', '.join(READERS)}.",
            nearest(str(reader), READERS),
        )
    name = path.resolve().name if path.is_dir() else Path(plain_name(path)).stem
    return ResolvedSource(name, path, reader, _domain(path, record, reader))


def read_source(
    source: str, *, options: ReadOptions, rejects: RejectSink, home: Path
) -> Iterator[Document]:
    """The documents of a source; their domain is that of the options, else of the source.

    Raises:
        CorpusError: the source is not found, of no known kind, damaged, or repeats an id.
    """
    return read_resolved(resolve_source(source, home), options=options, rejects=rejects)


def read_resolved(
    resolved: ResolvedSource, *, options: ReadOptions, rejects: RejectSink
) -> Iterator[Document]:
    """`read_source` for a source that was found already.

    Raises:
        CorpusError: the source is damaged, or repeats an id.
    """
    options = dataclasses.replace(options, domain=options.domain or resolved.domain)
    documents: Iterator[Document] = READERS.resolve(resolved.reader)(
        resolved.path, options=options, rejects=rejects
    )
    return documents


def source_record(folder: Path) -> dict[str, Any]:
    """What ``SOURCE.json`` says of a corpus (domain, licence, reader ...); {} without one.

    Raises:
        CorpusError: the file is not a JSON object.
    """
    file = folder / SOURCE_FILE
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{file} is not valid JSON: {error}.", f"edit {file}") from error
    if not isinstance(record, dict):
        raise CorpusError(
            f"{file} holds a {type(record).__name__}, not a JSON object.", f"edit {file}"
        )
    return record


def source_domain(folder: Path, record: dict[str, Any]) -> str:
    """Domain of a corpus folder: its record, else its parent folder's or own name, else ""."""
    if record.get("domain"):
        return str(record["domain"])
    resolved = folder.resolve()
    return next((n for n in (resolved.parent.name, resolved.name) if n in DOMAINS), "")


def _domain(path: Path, record: dict[str, Any], reader: str) -> str:
    if reader in ("python", "code"):
        return "code"
    named = source_domain(path if path.is_dir() else path.parent, record)
    return "code" if not named and reader == "files" and _is_mostly_code(path) else named


def _is_mostly_code(folder: Path) -> bool:
    """Whether more than half of the files that can be read are source code."""
    kinds = [kind for file in walk_tree(folder) if (kind := detect_file(file)) is not None]
    return 2 * sum(kind in ("code", "notebook") for kind in kinds) > len(kinds)


def _shipped(source: str, home: Path) -> Path:
    folder = home / "corpora" / "demo"
    shipped = shipped_corpora(home) if folder.is_dir() else {}
    if source not in shipped:
        known = f"; shipped corpora: {', '.join(shipped)}" if shipped else ""
        raise CorpusError(
            f"{source!r} is neither a path nor a shipped corpus{known}.",
            nearest(source, shipped) if shipped else "check the path, or give --home DIR",
        )
    return shipped[source]
