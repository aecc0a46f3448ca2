"""An index -> one Parquet file: chunks, metadata and vectors, a batch in memory at a time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lbr_search.errors import IndexFormatError
from lbr_search.index.manifest import load_manifest, store_folder
from lbr_search.index.store import ChunkStore

EXPORTED = ("doc_id", "chunk_no", "title", "text", "domain", "start", "end", "doc_hash")
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
        columns[column.column] = column.key if column.key not in columns else f"meta_{column.key}"
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
