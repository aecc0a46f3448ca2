"""The read path of hits: an Arrow file of ids, texts and metadata, mapped into memory.

It is derived from the store with each generation. Reason: ten rows by id take 5 to 9 ms through
LanceDB 0.40 (take_offsets, or a filter on `row_id` with and without a scalar index, 100,000 rows),
and 0.1 ms here; and a query that does not filter need not import LanceDB (1.5 s).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lbr_search.errors import IndexFormatError
from lbr_search.index.columns import MetadataColumns
from lbr_search.index.rows import REBUILD, load_array
from lbr_search.index.store import ChunkStore
from lbr_search.types import MetadataValue

PAYLOAD_FILE = "payload.arrow"
ROWS_FILE = "rows.npy"
FIELDS = ("doc_id", "chunk_no", "title", "text", "domain", "start", "end")


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the index gives it back, without its vector."""

    row_id: int
    doc_id: str
    chunk_no: int
    title: str
    text: str
    domain: str
    start: int
    end: int
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PayloadCounts:
    """What a payload file holds."""

    n_chunks: int
    n_documents: int


def write_payload(store: ChunkStore, folder: Path) -> PayloadCounts:
    """Write all rows of `store` into `folder`, batch by batch."""
    folder.mkdir(parents=True)
    names = [*FIELDS, *(column.column for column in store.columns.by_key.values())]
    rows: list[NDArray[np.int64]] = []
    n_documents = 0
    writer: pa.RecordBatchFileWriter | None = None
    with (folder / PAYLOAD_FILE).open("wb") as sink:
        for batch in store.scan(names):
            chosen = batch.select(names)
            if writer is None:
                writer = pa.ipc.new_file(sink, chosen.schema)
            writer.write_batch(chosen)
            rows.append(batch.column("row_id").to_numpy().copy())
            n_documents += int(np.count_nonzero(batch.column("chunk_no").to_numpy() == 0))
        assert writer is not None, "a build never publishes an empty store"
        writer.close()
    all_rows = np.concatenate(rows)
    np.save(folder / ROWS_FILE, all_rows)
    return PayloadCounts(n_chunks=len(all_rows), n_documents=n_documents)


class Payload:
    """Reads what `write_payload` wrote."""

    def __init__(self, folder: Path, columns: MetadataColumns) -> None:
        path = folder / PAYLOAD_FILE
        try:
            self._map = pa.memory_map(str(path))
            reader = pa.ipc.open_file(self._map)
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise IndexFormatError(f"{path} cannot be read: {error}.", REBUILD) from error
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.row_ids: NDArray[np.int64] = load_array(folder / ROWS_FILE, mapped=True)
        if len(self.row_ids) != self._starts[-1]:
            raise IndexFormatError(
                f"{folder} holds {len(self.row_ids)} row ids for {self._starts[-1]} rows.",
                REBUILD,
            )
        self._keys = [(column.key, column.column) for column in columns.by_key.values()]

    def fetch(self, rows: NDArray[np.int64]) -> list[StoredChunk]:
        """The chunks of row ids (K,), in their order; those of one record batch are read at once.

        Raises:
            KeyError: a row id is not in this generation.
        """
        positions = self.positions(rows)
        numbers = np.searchsorted(self._starts, positions, side="right") - 1
        chunks: dict[int, StoredChunk] = {}
        for number in np.unique(numbers).tolist():
            mine = np.flatnonzero(numbers == number)
            places = positions[mine] - self._starts[number]
            read = self._batches[number].take(pa.array(places)).to_pylist()
            for place, values in zip(mine.tolist(), read, strict=True):
                chunks[place] = self._chunk(int(rows[place]), values)
        return [chunks[place] for place in range(len(rows))]

    def doc_ids(self, rows: NDArray[np.int64]) -> list[str]:
        """Document ids of row ids (K,), in their order.

        Raises:
            KeyError: a row id is not in this generation.
        """
        if len(rows) == 0:
            return []
        ids: list[str] = self._doc_ids.take(pa.array(self.positions(rows))).to_pylist()
        return ids

    @property
    def mean_chars(self) -> float:
        """Bytes of title and text of a chunk, on average: characters, where they are ASCII."""
        columns = [batch.column(name) for batch in self._batches for name in ("title", "text")]
        return sum(pc.sum(pc.binary_length(each)).as_py() or 0 for each in columns) / max(
            1, len(self.row_ids)
        )

    def rows_of(self, doc_id: str) -> NDArray[np.int64]:
        """Row ids of a document's chunks, in their order; none where it is not here."""
        places = pc.indices_nonzero(pc.equal(self._doc_ids, doc_id))
        return np.asarray(self.row_ids[places.to_numpy()])

    def absent(self, doc_ids: Sequence[str]) -> list[str]:
        """Those of some document ids that are not here, in their order."""
        if not doc_ids:
            return []
        is_known = pc.is_in(pa.array(doc_ids, pa.large_string()), value_set=self._doc_ids)
        return [
            doc_id for doc_id, here in zip(doc_ids, is_known.to_pylist(), strict=True) if not here
        ]

    def close(self) -> None:
        """Drop the map; nothing can be fetched afterwards."""
        self._batches = []
        self.__dict__.pop("_doc_ids", None)
        self._map.close()

    @cached_property
    def _doc_ids(self) -> pa.Array:
        ids = [batch.column("doc_id") for batch in self._batches]
        return pa.chunked_array(ids).cast(pa.large_string()).combine_chunks()

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where row ids (K,) stand in the order of all rows.

        Raises:
            KeyError: a row id is not in this generation.
        """
        positions = np.searchsorted(self.row_ids, rows)
        inside = positions < len(self.row_ids)
        is_known = inside & (self.row_ids[np.where(inside, positions, 0)] == rows)
        if not is_known.all():
            raise KeyError(f"row id {int(np.asarray(rows)[~is_known][0])} is not in the index")
        return positions

    def _chunk(self, row: int, values: Mapping[str, MetadataValue]) -> StoredChunk:
        stored = ((key, values[column]) for key, column in self._keys)
        metadata = {key: value for key, value in stored if value is not None}
        own: dict[str, Any] = {name: values[name] for name in FIELDS}
        return StoredChunk(row_id=row, metadata=metadata, **own)
