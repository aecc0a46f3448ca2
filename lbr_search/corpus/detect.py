"""Which reader fits a path: by its suffix, and where that is not enough by its first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from lbr_search.corpus.code.languages import CODE_SUFFIXES
from lbr_search.corpus.compressed import (
    COMPRESSIONS,
    find_compressed,
    kind_suffix,
    open_bytes,
    plain_name,
)
from lbr_search.corpus.formats.archive import SUFFIXES as ARCHIVE_SUFFIXES
from lbr_search.corpus.formats.chemistry import STRUCTURE_COLUMNS
from lbr_search.corpus.formats.columnar import ARROW_SUFFIXES, DATASET_FILES
from lbr_search.corpus.formats.sql import SQL_SUFFIX
from lbr_search.corpus.readers import TEXT_SUFFIXES
from lbr_search.corpus.records import TEXT_COLUMNS
from lbr_search.corpus.walk import walk_tree
from lbr_search.errors import CorpusError
from lbr_search.registry import READERS

PACKABLE = (
    *("jsonl", "csv", "tsv", "pubmed", "nbib", "jats", "obo", "sdf", "compounds", "cif"),
    *("json", "trials", "archive"),
)
"""Readers whose files may be compressed."""

_READER_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".json": "json",
    ".nbib": "nbib",
    ".nxml": "jats",
    ".xml": "xml",
    ".obo": "obo",
    ".cif": "cif",
    ".ipynb": "notebook",
    ".pdf": "pdf",
    ".docx": "docx",
    ".epub": "epub",
    **dict.fromkeys((".sdf", ".sd", ".mol"), "sdf"),
    **dict.fromkeys((".smi", ".smiles", ".inchi"), "compounds"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), "sqlite"),
    **dict.fromkeys(ARROW_SUFFIXES, "arrow"),
    **dict.fromkeys(ARCHIVE_SUFFIXES, "archive"),
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
    **dict.fromkeys(CODE_SUFFIXES, "code"),
}
_PEEK_BYTES = 16_384
_XML_KINDS = (
    (re.compile(rb"<(PubmedArticle|MedlineCitation|PubmedBookArticle|DeleteCitation)"), "pubmed"),
    (re.compile(rb"<(\w+:)?(article|pmc-articleset)[\s>]"), "jats"),
)


def detect_reader(path: Path) -> str:
    """Name in `registry.READERS` of the reader that fits `path`.

    A folder with corpus.jsonl is BEIR, one of text alone is text, one of MEDLINE XML alone is
    PubMed; any other folder with a file of a known kind is read file by file.

    Raises:
        CorpusError: the path is missing or of no known kind; lists the kinds.
    """
    if not path.exists():
        raise CorpusError(f"{path} does not exist.", "check the path")
    if path.is_dir():
        return _detect_folder(path)
    if path.suffix.lower() == ".py":
        return "python"
    if path.name.lower().endswith(SQL_SUFFIX):  # not in folders: other people's may be anywhere
        return "sql"
    name = detect_file(path)
    if name is None:
        raise _unknown_kind(path)
    return name


def detect_file(path: Path) -> str | None:
    """The reader of one file; None = it is of no known kind."""
    plain = plain_name(path)
    if path.name.lower().endswith(".tar.bz2"):
        return "archive"
    name = _READER_OF_SUFFIX.get(kind_suffix(path))
    if name == "xml":
        name = _kind_of_xml(path)
    elif name == "json" and b'"protocolSection"' in _head(path):
        name = "trials"
    elif name in ("csv", "tsv") and _is_compounds(path):
        name = "compounds"
    elif name == "sqlite" and not _head(path).startswith(b"SQLite format 3\0"):
        name = None
    return name if plain == path.name or name in PACKABLE else None


def has_known_suffix(path: Path) -> bool:
    """Whether a file may be of a known kind, by its name alone.

    >>> has_known_suffix(Path("a.jsonl.gz")), has_known_suffix(Path("a.png"))
    (True, False)
    """
    return kind_suffix(path) in _READER_OF_SUFFIX or path.name.lower().endswith(".tar.bz2")


def _kind_of_xml(path: Path) -> str | None:
    head = _head(path)
    return next((name for pattern, name in _XML_KINDS if pattern.search(head)), None)


def _is_compounds(path: Path) -> bool:
    """Whether a table's header has a structure and nothing that looks like text."""
    header = _head(path).split(b"\n")[0].decode("utf-8", "replace").lower()
    columns = {column.strip().strip("\"'") for column in re.split(r"[,\t]", header)}
    return bool(columns & STRUCTURE_COLUMNS) and not columns & set(TEXT_COLUMNS)


def _head(path: Path) -> bytes:
    """The first bytes of a file, unpacked; none of one that cannot be read: its reader will say."""
    try:
        with open_bytes(path) as stream:
            return stream.read(_PEEK_BYTES)
    except (CorpusError, OSError):
        return b""


def _detect_folder(path: Path) -> str:
    if find_compressed(path, "corpus.jsonl") is not None:
        return "beir"
    if any((path / name).is_file() for name in DATASET_FILES):
        return "arrow"
    kinds: set[str] = set()
    for file in walk_tree(path):
        kind = detect_file(file)
        if kind is not None:
            kinds.add(kind)
        if len(kinds) > 1:
            return "files"
    if not kinds:
        raise _unknown_kind(path)
    return kinds.pop() if kinds <= {"text", "pubmed"} else "files"


def _unknown_kind(path: Path) -> CorpusError:
    kinds = "\n".join(f"  {name:14}{entry.about}" for name, entry in READERS.items())
    return CorpusError(
        f"{path} is not a source of a known kind.\n{kinds}",
        f"convert it to one of these, or name its reader with --reader; {', '.join(PACKABLE)} may "
        f"also end in {', '.join(COMPRESSIONS)}",
    )
