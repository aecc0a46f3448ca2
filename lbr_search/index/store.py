"""The store of record: one LanceDB table of chunks, vectors and metadata.

Vector and lexical indexes and the payload file are built from it and can be built again. Every
row has a `row_id`, int64, that rises with each commit and is never used twice. LanceDB is imported
when a table is opened: it takes 1.5 s, and a query without a filter needs no table.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lbr_search.errors import IndexFormatError, ShapeError
from lbr_search.index.arrow import (
    ARROW_TYPES,
    chunk_arrays,
    fixed_size,
    store_schema,
    vectors_of,
)
from lbr_search.index.columns import RETYPED, MetadataColumns
from lbr_search.index.files import read_json, write_json
from lbr_search.index.filters import filter_error
from lbr_search.index.multi_vectors import SCALES, MultiVectors, to_columns
from lbr_search.types import Chunk, Embeddings

TABLE = "chunks"
COLUMNS_FILE = "columns.json"
SCAN_ROWS = 8_192
SCAN_BYTES = 64_000_000
DELETE_ROWS = 5_000
COMPACT_FRAGMENTS = 32
"""Small fragments above which the table is compacted; each costs a file handle in every scan."""
FRAGMENT_ROWS = 32_768
"""So many rows allow a fragment more: what a large ingest commits is not written twice."""
MAX_FRAGMENTS = 256
"""Small fragments above which any table is compacted."""
MAX_DELETED = 0.25
"""Share of deleted rows above which a table is written anew: every scan reads past them."""
MAX_VERSIONS = 100
"""Commits that may wait for the next tidying; each keeps a list of all fragments."""
YOUNGEST_REMOVED = timedelta(milliseconds=1)
"""Versions younger than this stay: below it LanceDB reads 0, and warns."""
SQL_TYPES = {"float": "double", "string": "string"}
"""What a column can be widened to."""

logger = logging.getLogger(__name__)


class ChunkStore:
    """The table of one index. Open it with `create`, `open_latest` or `open_version`."""

    def __init__(self, folder: Path, table: Any, columns: MetadataColumns) -> None:  # noqa: ANN401
        self._folder = folder
        self._table = table
        self.columns = columns

    @classmethod
    def create(cls, folder: Path, *, dim: int, n_vectors: int = 0) -> ChunkStore:
        """Make an empty table for vectors of size `dim` in `folder`, which holds none.

        With `n_vectors`, every row has so many more beside the one that is searched.
        """
        import lancedb

        shutil.rmtree(folder, ignore_errors=True)  # what a create that was cut off has left
        folder.mkdir(parents=True)
        write_json(folder / COLUMNS_FILE, {"columns": []})
        table = lancedb.connect(str(folder)).create_table(
            TABLE, schema=store_schema(dim, n_vectors=n_vectors)
        )
        return cls(folder, table, MetadataColumns())

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether `folder` holds a table."""
        return bool(version_files(folder))

    @classmethod
    def open_latest(cls, folder: Path, *, is_writer: bool = True) -> ChunkStore:
        """Open at the last commit; a writer completes a change of types that was cut off."""
        store = cls._open(folder)
        if is_writer:
            store._finish_retyping()
        return store

    @classmethod
    def open_published(cls, folder: Path, version: int) -> ChunkStore:
        """Open for writing at a version that a manifest names; what came after it is undone."""
        store = cls._open(folder)
        if store.version != version:
            store._table.restore(version)
        store._finish_retyping()
        return store

    @classmethod
    def open_version(cls, folder: Path, version: int) -> ChunkStore:
        """Open for reading, at the version that a manifest names.

        Raises:
            IndexFormatError: the table or that version of it is gone.
        """
        store = cls._open(folder)
        try:
            store._table.checkout(version)
        except (ValueError, RuntimeError) as error:
            raise IndexFormatError(
                f"{folder} lacks version {version} of its table, which the manifest names.",
                "open the index again (it may have been rebuilt), or ingest it anew",
            ) from error
        return store

    @classmethod
    def _open(cls, folder: Path) -> ChunkStore:
        import lancedb

        fix = "ingest the corpus into a new --index folder"
        try:
            table = lancedb.connect(str(folder)).open_table(TABLE)
        except (ValueError, RuntimeError) as error:
            raise IndexFormatError(f"{folder} holds no readable table {TABLE!r}.", fix) from error
        names = read_json(folder / COLUMNS_FILE, fix=fix)
        return cls(folder, table, MetadataColumns.from_list(names["columns"]))

    @property
    def folder(self) -> Path:
        """Where the table lies."""
        return self._folder

    @property
    def version(self) -> int:
        """Version of the table that this object reads."""
        return int(self._table.version)

    @property
    def dim(self) -> int:
        """Vector size D."""
        return int(self._table.schema.field("vector").type.list_size)

    @property
    def n_vectors(self) -> int:
        """Vectors that each row has beside the one that is searched; 0 = none."""
        schema = self._table.schema
        return int(schema.field(SCALES).type.list_size) if SCALES in schema.names else 0

    def count(self, expression: str | None = None) -> int:
        """How many rows, of those for which `expression` holds."""
        return int(self._table.count_rows(expression))

    def add(
        self,
        chunks: Sequence[Chunk],
        vectors: Embeddings,
        *,
        first_row: int,
        multi: MultiVectors | None = None,
    ) -> None:
        """Append rows `first_row`, `first_row` + 1, ... in one commit.

        Args:
            chunks: N chunks, with `doc_hash`.
            vectors: (N, D).
            first_row: row id of the first; above every id used before.
            multi: k vectors of each, where the table was created for them.

        Raises:
            ShapeError: `vectors` is not (N, D), or `multi` not what the table holds.
        """
        if vectors.shape != (len(chunks), self.dim):
            raise ShapeError(
                f"{len(chunks)} chunks of {self.dim} dimensions were given vectors of shape "
                f"{vectors.shape}.",
                "use the encoder that the index is sealed to",
            )
        n_given = 0 if multi is None else multi.codes.shape[1]
        if n_given != self.n_vectors:
            raise ShapeError(
                f"rows with {n_given} vectors were given to a table of {self.n_vectors} a row.",
                "ingest into a new --index folder to change --multi-vector",
            )
        if self.columns.learn(chunk.metadata for chunk in chunks):
            self._sync_columns()
        arrays = chunk_arrays(chunks, self.columns, first_row=first_row)
        arrays["vector"] = fixed_size(vectors)
        if multi is not None:
            arrays |= to_columns(multi)
        self._table.add(pa.table(arrays))

    def delete_rows(self, rows: Sequence[int]) -> None:
        """Remove rows by id, lowest first, in as many commits as their number needs.

        Lowest first: a document that is cut off in the middle of it has lost its chunk 0, by which
        `documents` knows the rest as stale.
        """
        ordered = sorted(rows)
        for start in range(0, len(ordered), DELETE_ROWS):
            ids = ", ".join(map(str, ordered[start : start + DELETE_ROWS]))
            self._table.delete(f"row_id IN ({ids})")

    def scan(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows in the order of their ids, as batches of `row_id` and `columns`.

        Batches hold at most `SCAN_ROWS` rows and about `SCAN_BYTES`, so that memory stays bounded.
        """
        last = -1
        stats = self._table.stats()
        row_bytes = stats["total_bytes"] / max(stats["num_rows"], 1)
        n_rows = int(min(SCAN_ROWS, max(1, SCAN_BYTES / max(row_bytes, 1))))
        wanted = ["row_id", *(name for name in columns if name != "row_id")]
        for batch in self._table.search().select(wanted).to_batches(n_rows):
            if not batch.num_rows:
                continue
            ids = batch.column("row_id").to_numpy()
            assert ids[0] > last and bool(np.all(np.diff(ids) > 0)), "rows out of order"
            last = int(ids[-1])
            yield batch

    def scan_vectors(self) -> Iterator[tuple[NDArray[np.int64], Embeddings]]:
        """All (row ids (N,), vectors (N, D)) in batches, for the vector backends."""
        for batch in self.scan(["vector"]):
            yield batch.column("row_id").to_numpy(), vectors_of(batch.column("vector"))

    def vectors(self, rows: NDArray[np.int64]) -> Embeddings:
        """(K, D) the vectors of some rows by id, in the order given.

        Raises:
            KeyError: a row id is not in the table.
        """
        listed = ", ".join(str(int(row)) for row in rows)
        query = self._table.search().where(f"row_id IN ({listed})").select(["row_id", "vector"])
        found = query.limit(len(rows)).to_arrow().combine_chunks()
        places = {int(row): place for place, row in enumerate(found["row_id"].to_numpy())}
        vectors = vectors_of(found["vector"].combine_chunks())
        return np.ascontiguousarray(vectors[[places[int(row)] for row in rows]])

    def row_ids(self) -> NDArray[np.int64]:
        """The ids of all rows, ascending."""
        ids = [batch.column("row_id").to_numpy() for batch in self.scan([])]
        return np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)

    def filter(self, expression: str) -> NDArray[np.int64]:
        """Sorted ids of the rows for which a SQL expression over the columns holds.

        Raises:
            FilterError: the expression does not parse, or names an unknown column.
        """
        try:
            found = self._table.search().where(expression).select(["row_id"]).to_arrow()
        except (ValueError, RuntimeError) as error:
            raise filter_error(expression, str(error), self._table.schema.names) from error
        return np.sort(found["row_id"].to_numpy())

    def fragments(self) -> int:
        """How many fragments (files of rows) the table has."""
        return int(self._table.stats()["fragment_stats"]["num_fragments"])

    @property
    def deleted_share(self) -> float:
        """Of the rows in the files of the latest version, how many are deleted; 0 to 1."""
        stats = self._table.stats()
        written = stats["fragment_stats"]["lengths"]["mean"] * self.fragments()
        # the mean is rounded down, so few rows in many fragments may seem more than were written
        return max(0.0, 1 - stats["num_rows"] / written) if written else 0.0

    @property
    def is_untidy(self) -> bool:
        """Whether `tidy` pays: many small fragments, many deleted rows, or many versions."""
        stats = self._table.stats()
        allowed = COMPACT_FRAGMENTS + stats["num_rows"] // FRAGMENT_ROWS
        small = stats["fragment_stats"]["num_small_fragments"]
        return bool(
            small > min(allowed, MAX_FRAGMENTS)
            or self.deleted_share > MAX_DELETED
            or len(version_files(self._folder)) > MAX_VERSIONS
        )

    def tags(self) -> dict[str, int]:
        """Name -> version that is kept under it."""
        return {name: int(tag["version"]) for name, tag in self._table.tags.list().items()}

    def tag(self, name: str, version: int) -> None:
        """Keep a version under a name."""
        change = self._table.tags.update if name in self.tags() else self._table.tags.create
        change(name, version)

    def untag(self, name: str) -> None:
        """Keep it no longer, if it was."""
        if name in self.tags():
            self._table.tags.delete(name)

    def tidy(self, *, keep: int | None) -> None:
        """Merge small fragments; remove versions older than `keep` (None: all but the latest).

        Versions from the oldest tag on stay in any case: Lance refuses to clean up a tagged one.
        Ages go by the clock: where it was set back, versions stay longer than they need.
        """
        logger.info("compacting %d fragments of %s", self.fragments(), self._folder)
        stamps = {row["version"]: row["timestamp"] for row in self._table.list_versions()}
        age = YOUNGEST_REMOVED
        keep = min((*self.tags().values(), *([] if keep is None else [keep])), default=None)
        if keep is not None:
            age = max(age, age + datetime.now() - stamps[keep] + timedelta(seconds=1))
        # no other writer exists: files of commits that were cut off may go too
        self._table.optimize(cleanup_older_than=age, delete_unverified=True)
        if keep is None:
            # merging commits a version, and the one before it may have been too young to go
            time.sleep(YOUNGEST_REMOVED.total_seconds())
            self._table.optimize(cleanup_older_than=age, delete_unverified=True)

    def copy_without(self, rows: Sequence[int], folder: Path) -> ChunkStore:
        """A new table in `folder` with all rows but some, under the same ids.

        Its files never held the others. Lance keeps deleted rows in a file until a tenth of it is
        deleted, and old versions by the clock, which may have been set back.
        """
        copy = ChunkStore.create(folder, dim=self.dim, n_vectors=self.n_vectors)
        copy.columns = self.columns
        write_json(folder / COLUMNS_FILE, {"columns": self.columns.to_list()})
        names, left_out = self._table.schema.names, pa.array(rows, pa.int64())
        batches = (
            batch.select(names).filter(pc.invert(pc.is_in(batch.column("row_id"), left_out)))
            for batch in self.scan(names)
        )
        reader = pa.RecordBatchReader.from_batches(self._table.schema, batches)
        copy._table.add(reader, mode="overwrite")
        return copy

    def files(self) -> list[Path]:
        """The files of rows, deletions and versions; written once, never changed."""
        table = self._folder / f"{TABLE}.lance"
        parts = ("data", "_deletions", "_versions")
        found = (path for part in parts for path in sorted((table / part).glob("*")))
        return [path for path in found if path.suffix != ".json"]

    def _sync_columns(self) -> None:
        """Bring the table to `self.columns`. The file is written first: it names the target."""
        write_json(self._folder / COLUMNS_FILE, {"columns": self.columns.to_list()})
        present = {field.name: field.type for field in self._table.schema}
        missing = []
        for column in self.columns.by_key.values():
            wanted = ARROW_TYPES[column.kind]
            if column.column not in present:
                missing.append(pa.field(column.column, wanted))
            elif present[column.column] != wanted:
                self._retype(column.column, column.kind)
        if missing:
            self._table.add_columns(pa.schema(missing))

    def _retype(self, name: str, kind: str) -> None:
        """Lance cannot cast in place: a cast copy is added, takes the place and then the name."""
        self._table.add_columns({RETYPED + name: f"cast(`{name}` as {SQL_TYPES[kind]})"})
        self._table.drop_columns([name])
        self._table.alter_columns({"path": RETYPED + name, "rename": name})

    def _finish_retyping(self) -> None:
        names = set(self._table.schema.names)
        for column in self.columns.by_key.values():
            copy = RETYPED + column.column
            if copy in names and column.column in names:
                self._table.drop_columns([copy])
            elif copy in names:
                self._table.alter_columns({"path": copy, "rename": column.column})
        self._sync_columns()


def version_files(folder: Path) -> list[Path]:
    """The files of a table in `folder` that name its versions, one a commit."""
    return sorted((folder / f"{TABLE}.lance" / "_versions").glob("*.manifest"))
