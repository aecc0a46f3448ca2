"""What an index was made from: sources, their files, and which documents each file gave.

Two files of the index folder: ``sources.json`` (sources and the state of their files) and
``sources.parquet`` (source, file, document). An ingest writes them last, `sync` reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.config import ChunkConfig
from lbr_search.corpus.inventory import FileState, file_of
from lbr_search.corpus.sources import ResolvedSource
from lbr_search.errors import IndexFormatError
from lbr_search.index.files import disk_errors, read_json, sync_folder, write_json
from lbr_search.protocols import ReadOptions

SOURCES_FILE = "sources.json"
DOCUMENTS_FILE = "sources.parquet"
FORGOTTEN_FILE = "forgotten.json"
FORMAT = 1


@dataclass(slots=True)
class RecordedSource:
    """One source of an index."""

    source: ResolvedSource
    """Its path is absolute."""
    read: ReadOptions
    files: dict[str, FileState] = field(default_factory=dict)
    documents: dict[str, list[str]] = field(default_factory=dict)
    """File -> the ids of its documents; file "" = the source as a whole."""

    @property
    def n_documents(self) -> int:
        """How many documents it gave."""
        return sum(map(len, self.documents.values()))


@dataclass(slots=True)
class SourceRecord:
    """The sources of an index and how their documents are cut."""

    chunk: ChunkConfig
    sources: list[RecordedSource]

    def replace(self, new: Iterable[RecordedSource]) -> None:
        """Put sources in the place of those of the same path, or behind the others."""
        for one in new:
            places = [n for n, old in enumerate(self.sources) if old.source.path == one.source.path]
            if places:
                self.sources[places[0]] = one
            else:
                self.sources.append(one)


def recorded(
    source: ResolvedSource, read: ReadOptions, files: Mapping[str, FileState], ids: Iterable[str]
) -> RecordedSource:
    """A source as it was read, with its documents by file."""
    documents: dict[str, list[str]] = {}
    names: Mapping[str, object] = {} if source.path.is_file() else files
    for doc_id in ids:
        documents.setdefault(file_of(doc_id, names), []).append(doc_id)
    absolute = dataclasses.replace(source, path=source.path.absolute())
    return RecordedSource(absolute, read, dict(files), documents)


def load_record(index: Path) -> SourceRecord:
    """The sources of an index.

    Raises:
        IndexFormatError: none were recorded, or the record is damaged.
    """
    path = index / SOURCES_FILE
    command = f"lbr-search ingest SOURCE... --index {index}"
    if not path.is_file():
        raise IndexFormatError(
            f"{index} has no record of its sources ({SOURCES_FILE}).", f"{command}   (writes it)"
        )
    values = read_json(path, fix=command)
    try:
        sources = [
            RecordedSource(
                ResolvedSource(row["name"], Path(row["path"]), row["reader"], row["domain"]),
                ReadOptions(**row["read"]),
                {name: FileState(*state) for name, state in row["files"].items()},
            )
            for row in values["sources"]
        ]
        record = SourceRecord(ChunkConfig(**values["chunk"]), sources)
        for number, file, doc_id in _read_documents(index / DOCUMENTS_FILE):
            sources[number].documents.setdefault(file, []).append(doc_id)
    except (KeyError, TypeError, IndexError, OSError, ValueError) as error:
        raise IndexFormatError(f"{path} is damaged: {error}.", command) from error
    return record


def save_record(index: Path, record: SourceRecord) -> None:
    """Write the record; the documents first, so that files are never ahead of them.

    Raises:
        IndexFormatError: the disk is full or read-only.
    """
    with disk_errors(index):
        _save(index, record)


def _save(index: Path, record: SourceRecord) -> None:
    _write_documents(index / DOCUMENTS_FILE, record)
    sources = [
        {
            "name": one.source.name,
            "path": str(one.source.path),
            "reader": one.source.reader,
            "domain": one.source.domain,
            "read": dataclasses.asdict(one.read),
            "files": {name: dataclasses.astuple(state) for name, state in one.files.items()},
        }
        for one in record.sources
    ]
    values = {"format": FORMAT, "chunk": dataclasses.asdict(record.chunk), "sources": sources}
    temporary = index / f"{SOURCES_FILE}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(values))  # at once and without indents: ten times as fast
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(index / SOURCES_FILE)
    sync_folder(index)


def load_forgotten(index: Path) -> frozenset[str]:
    """Digests of the ids of documents that must not come back."""
    path = index / FORGOTTEN_FILE
    if not path.is_file():
        return frozenset()
    return frozenset(read_json(path, fix=f"edit {path}")["documents"])


def save_forgotten(index: Path, digests: Iterable[str]) -> None:
    """Write the digests of forgotten ids."""
    write_json(index / FORGOTTEN_FILE, {"documents": sorted(digests)})


def without_forgotten(
    files: Mapping[str, FileState], forgotten: frozenset[str]
) -> dict[str, FileState]:
    """Files that are no forgotten document: the name of such a one is not kept either."""
    if not forgotten:
        return dict(files)
    return {name: state for name, state in files.items() if id_digest(name) not in forgotten}


def id_digest(doc_id: str) -> str:
    """What is kept of the id of a forgotten document."""
    return hashlib.blake2b(doc_id.encode("utf-8"), digest_size=16).hexdigest()


def _write_documents(path: Path, record: SourceRecord) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("source", pa.int32()), ("file", pa.string()), ("doc_id", pa.string())])
    temporary = path.with_name(f"{path.name}.tmp")
    with pq.ParquetWriter(temporary, schema) as writer:
        for number, one in enumerate(record.sources):
            files = [name for name, ids in one.documents.items() for _ in ids]
            ids = [doc_id for group in one.documents.values() for doc_id in group]
            columns = [pa.array([number] * len(ids), pa.int32()), pa.array(files), pa.array(ids)]
            writer.write_table(pa.table(columns, schema=schema))
    temporary.replace(path)


def _read_documents(path: Path) -> Iterator[tuple[int, str, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    yield from zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
