"""An index -> one Parquet file and back: chunks, metadata, vectors, a batch in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lbr_search.config import IndexConfig
from lbr_search.errors import IndexFormatError
from lbr_search.index.arrow import vectors_of
from lbr_search.index.build import build, build_from_vectors
from lbr_search.index.manifest import load_manifest, store_folder
from lbr_search.index.report import BuildProgress, BuildReport
from lbr_search.index.store import ChunkStore
from lbr_search.protocols import Encoder
from lbr_search.types import Chunk, Embeddings

EXPORTED = ("doc_id", "chunk_no", "title", "text", "domain", "start", "end", "doc_hash")
META = "meta_"
"""Before the key of a metadata column that has the name of a column above."""
BATCH_ROWS = 2_048
SEAL_KEY = b"lbr-search seal"
"""Key of the file's metadata under which the seal stands, as JSON."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    n_rows: int
    size_bytes: int


def export_index(folder: Path, file: Path, *, vectors: bool = True) -> Exported:
    """Write the published chunks of an index into a Parquet file.

    Metadata columns keep their keys; one that has the name of a column above gets ``meta_``
    before it. The seal of the index (encoder, dimensions) stands in the file's own metadata.

    Raises:
        IndexFormatError: there is no index, it is damaged, or the file cannot be written.
    """
    manifest = load_manifest(folder)
    store = ChunkStore.open_version(store_folder(folder, manifest), manifest.store_version)
    columns = {name: name for name in (*EXPORTED, *(("vector",) if vectors else ()))}
    for column in store.columns.by_key.values():
        columns[column.column] = column.key if column.key not in columns else META + column.key
    seal = {SEAL_KEY: json.dumps(asdict(manifest.seal)).encode()}
    temporary = file.with_name(f"{file.name}.tmp")
    n_rows = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        writer: pq.ParquetWriter | None = None
        for batch in store.scan(list(columns)):
            chosen = batch.select(list(columns)).rename_columns(list(columns.values()))
            if writer is None:
                schema = chosen.schema.with_metadata(seal)
                writer = pq.ParquetWriter(temporary, schema, compression="zstd")
            writer.write_batch(pa.RecordBatch.from_arrays(chosen.columns, schema=schema))
            n_rows += chosen.num_rows
        assert writer is not None, "a published index has rows"
        writer.close()
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise IndexFormatError(
            f"{file} cannot be written: {error.strerror or error}.",
            "free space, or give another FILE",
        ) from error
    return Exported(n_rows, file.stat().st_size)


@dataclass(frozen=True, slots=True)
class ExportSeal:
    """What an exported file says of the index that it was made of."""

    encoder_spec: str
    fingerprint: str
    dim: int
    domain: str
    analyser: str


def read_export_seal(file: Path) -> ExportSeal:
    """The seal in the metadata of an exported file.

    Raises:
        IndexFormatError: the file is not there, no Parquet, or was not exported from an index.
    """
    try:
        schema = pq.read_schema(file)
        values = json.loads((schema.metadata or {})[SEAL_KEY])
        names = ("encoder_spec", "fingerprint", "dim", "domain", "analyser")
        seal = ExportSeal(**{name: values[name] for name in names})
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise IndexFormatError(
            f"{file} is no export of an index: {type(error).__name__}: {error}.",
            "write it with: lbr-search index export INDEX FILE; other Parquet is for ingest",
        ) from error
    missing = [name for name in EXPORTED if name not in schema.names]
    if missing:
        raise IndexFormatError(
            f"{file} lacks the columns {', '.join(missing)} of an export.", "export the index again"
        )
    return seal


def import_index(
    file: Path,
    folder: Path,
    *,
    encoder: Encoder,
    config: IndexConfig | None = None,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Make an index of an exported file: the same chunks, and the same vectors if it has them.

    Vectors of another encoder than `encoder`, or none, are made anew. What an export leaves out is
    not there: compressed vectors, the record of sources (the index cannot be synced), versions.

    Args:
        file: as `export_index` writes it.
        folder: of the new index.
        encoder: which will encode queries.
        config: backend and kind; default `IndexConfig()`.
        progress: as for `build`.

    Raises:
        IndexFormatError: the file is no export or damaged, or the folder is not empty.
    """
    seal = read_export_seal(file)
    if folder.is_dir() and any(folder.iterdir()):
        raise IndexFormatError(f"{folder} is not empty.", "give a new folder")
    options: dict[str, Any] = {
        "encoder": encoder,
        "folder": folder,
        "config": config or IndexConfig(),
        "domain": seal.domain,
        "analyser": seal.analyser,
        "progress": progress,
    }
    has_vectors = "vector" in pq.read_schema(file).names
    if has_vectors and (seal.fingerprint, seal.dim) == (encoder.fingerprint, encoder.dim):
        return build_from_vectors(_batches(file), **options)
    return build((chunk for chunks, _ in _batches(file) for chunk in chunks), **options)


def _batches(file: Path) -> Iterator[tuple[Sequence[Chunk], Embeddings]]:
    """Chunks and their vectors; vectors of length 0 where the file has none."""
    try:
        with pq.ParquetFile(file) as opened:
            names = [name for name in opened.schema_arrow.names if name != "vector"]
            has_vectors = "vector" in opened.schema_arrow.names
            for batch in opened.iter_batches(BATCH_ROWS):
                chunks = [_chunk(row) for row in batch.select(names).to_pylist()]
                empty = np.empty((len(chunks), 0), dtype=np.float32)
                yield chunks, vectors_of(batch.column("vector")) if has_vectors else empty
    except (OSError, pa.ArrowException) as error:
        raise IndexFormatError(f"{file} cannot be read: {error}.", "export it again") from error


def _chunk(row: dict[str, Any]) -> Chunk:
    metadata = {
        name.removeprefix(META) if name.removeprefix(META) in EXPORTED else name: value
        for name, value in row.items()
        if name not in EXPORTED and value is not None
    }
    return Chunk(**{name: row[name] for name in EXPORTED}, metadata=metadata)
