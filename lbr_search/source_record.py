"""What an index was made from: sources, their files, and which documents each file gave.

Two files of the index folder: ``sources.json`` (sources and the state of their files) and
``sources-NUMBER.parquet`` (source, file, document), which it names, so that both change in one
step. An ingest writes them last, `sync` reads them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import operator
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lbr_search.config import ChunkConfig
from lbr_search.corpus.inventory import FileState, file_of
from lbr_search.corpus.sources import ResolvedSource
from lbr_search.errors import IndexFormatError
from lbr_search.index.files import disk_errors, read_json, write_json
from lbr_search.index.manifest import new_index_command
from lbr_search.protocols import ReadOptions

SOURCES_FILE = "sources.json"
DOCUMENTS_FILES = "sources-*.parquet"
FORGOTTEN_FILE = "forgotten.json"
FORMAT = 2
_state_row = operator.attrgetter(*(one.name for one in dataclasses.fields(FileState)))
"""The fields of a state in order; `dataclasses.astuple` takes 0.5 s for 100,000 of them."""


@dataclass(slots=True)
class RecordedSource:
    """One source of an index."""

    source: ResolvedSource
    """Its path is absolute."""
    read: ReadOptions
    chunk: ChunkConfig
    """How its documents are cut."""
    files: dict[str, FileState] = field(default_factory=dict)
    documents: dict[str, list[str]] = field(default_factory=dict)
    """File -> the ids of its documents; file "" = the source as a whole."""

    @property
    def n_documents(self) -> int:
        """How many documents it gave."""
        return sum(map(len, self.documents.values()))


@dataclass(slots=True)
class SourceRecord:
    """The sources of an index."""

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
    source: ResolvedSource,
    read: ReadOptions,
    chunk: ChunkConfig,
    *,
    files: Mapping[str, FileState],
    ids: Iterable[str],
) -> RecordedSource:
    """A source as it was read, with its documents by file."""
    documents: dict[str, list[str]] = {}
    names: Mapping[str, object] = {} if source.path.is_file() else files
    for doc_id in ids:
        documents.setdefault(file_of(doc_id, names), []).append(doc_id)
    absolute = dataclasses.replace(source, path=source.path.absolute())
    return RecordedSource(absolute, read, chunk, dict(files), documents)


def load_record(index: Path) -> SourceRecord:
    """The sources of an index.

    Raises:
        IndexFormatError: none were recorded, or the record is damaged.
    """
    path = index / SOURCES_FILE
    command = new_index_command(index)
    if not path.is_file():
        raise IndexFormatError(
            f"{index} has no record of its sources ({SOURCES_FILE}).", f"{command}   (writes it)"
        )
    fix = f"rm {shlex.quote(str(path))} && {command}"
    values = read_json(path, fix=fix)
    if values.get("format") != FORMAT:
        raise IndexFormatError(
            f"{path} has format {values.get('format')!r}; this version reads format {FORMAT}.", fix
        )
    try:
        sources = [
            RecordedSource(
                ResolvedSource(row["name"], Path(row["path"]), row["reader"], row["domain"]),
                ReadOptions(**row["read"]),
                ChunkConfig(**row["chunk"]),
                {name: FileState(*state) for name, state in row["files"].items()},
            )
            for row in values["sources"]
        ]
        for number, file, doc_id in _read_documents(index / values["documents"]):
            sources[number].documents.setdefault(file, []).append(doc_id)
    except (KeyError, TypeError, IndexError, OSError, ValueError) as error:
        raise IndexFormatError(f"{path} is damaged: {error}.", fix) from error
    return SourceRecord(sources)


def save_record(index: Path, record: SourceRecord) -> None:
    """Write the record: the documents under a new name, then what names them.

    Raises:
        IndexFormatError: the disk is full or read-only.
    """
    old = sorted(index.glob(DOCUMENTS_FILES))
    number = 1 + max((int(path.stem.rpartition("-")[2]) for path in old), default=0)
    documents = index / DOCUMENTS_FILES.replace("*", f"{number:06d}")
    sources = [
        {
            "name": one.source.name,
            "path": str(one.source.path),
            "reader": one.source.reader,
            "domain": one.source.domain,
            "read": dataclasses.asdict(one.read),
            "chunk": dataclasses.asdict(one.chunk),
            "files": {name: _state_row(state) for name, state in one.files.items()},
        }
        for one in record.sources
    ]
    values = {"format": FORMAT, "documents": documents.name, "sources": sources}
    with disk_errors(index):
        _write_documents(documents, record)
        write_json(index / SOURCES_FILE, values, is_compact=True)
        for path in old:
            path.unlink()


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
    with path.open("wb") as stream:
        with pq.ParquetWriter(stream, schema) as writer:
            for number, one in enumerate(record.sources):
                files = [name for name, ids in one.documents.items() for _ in ids]
                ids = [doc_id for group in one.documents.values() for doc_id in group]
                columns = [
                    pa.array([number] * len(ids), pa.int32()),
                    pa.array(files),
                    pa.array(ids),
                ]
                writer.write_table(pa.table(columns, schema=schema))
        stream.flush()
        os.fsync(stream.fileno())


def _read_documents(path: Path) -> Iterator[tuple[int, str, str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    yield from zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
