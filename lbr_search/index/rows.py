"""What every vector backend shares: checked batches, row ids on disk, and the one exact order.

A backend numbers its vectors 0..N-1 in the order it was given them (*positions*); the store
knows them by *row ids*. `RowIds` maps one to the other.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import EncoderError, IndexFormatError, ShapeError
from lbr_search.types import Embeddings

REBUILD = "lbr-search index verify DIR --repair"
ROW_IDS_FILE = "row_ids.npy"
VECTORS_FILE = "vectors.npy"
SETTINGS_FILE = "settings.json"
ROUNDING = 4e-6
"""How far two float32 sums of the same inner product of unit vectors may lie apart (measured
about 5e-7 at 1,024 dimensions; the margin only widens a candidate list)."""

Settings = dict[str, str | int | float]
Ranking = tuple[NDArray[np.int64], NDArray[np.float32]]


def check_queries(queries: Embeddings, *, dim: int) -> Embeddings:
    """Queries as a backend may read them: (B, D) float32, C-contiguous, finite.

    Raises:
        ShapeError: another shape or dtype.
        EncoderError: a value is not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != dim or queries.dtype != np.float32:
        raise ShapeError(
            f"queries do not fit the index.\n  index    (B, {dim}) float32\n"
            f"  queries  {queries.shape} {queries.dtype}",
            "encode the queries with the encoder that built the index",
        )
    _check_finite(queries, "query", np.arange(len(queries)))
    return np.ascontiguousarray(queries)


def checked_batches(
    batches: Iterable[tuple[NDArray[np.int64], Embeddings]], *, dim: int, row_ids: list[int]
) -> Iterator[Embeddings]:
    """Yield the vectors of each batch, C-contiguous, and append its row ids to `row_ids`.

    Raises:
        ShapeError: rows and vectors differ in number, or vectors are not (N, dim) float32.
        EncoderError: a value is not finite.
    """
    for ids, vectors in batches:
        if vectors.shape != (len(ids), dim) or vectors.dtype != np.float32:
            raise ShapeError(
                f"a batch does not fit the index.\n  index  ({len(ids)}, {dim}) float32\n"
                f"  batch  {vectors.shape} {vectors.dtype}",
                "give one float32 vector of the index's size for each row id",
            )
        _check_finite(vectors, "row", ids)
        row_ids.extend(ids.tolist())
        yield np.ascontiguousarray(vectors)


def _check_finite(vectors: Embeddings, what: str, ids: NDArray[np.int64]) -> None:
    # One sum is finite only if every term is: a tenth of the time of isfinite over all.
    if np.isfinite(vectors.sum(dtype=np.float64)):
        return
    bad = ids[~np.isfinite(vectors).all(axis=1)]
    if len(bad):
        raise EncoderError(
            f"the vector of {what} {bad[0]} holds NaN or infinity ({len(bad)} such vectors).",
            "check the encoder: lbr-search doctor",
        )


@dataclass(frozen=True, slots=True)
class RowIds:
    """Row ids in position order, and the way back."""

    ids: NDArray[np.int64]
    order: NDArray[np.int64] | None
    """Positions in ascending order of row id; None where that is 0..N-1."""

    @classmethod
    def of(cls, ids: NDArray[np.int64]) -> RowIds:
        """Index `ids` for look-up.

        Raises:
            IndexFormatError: a row id stands twice.
        """
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        if len(ids) < 2 or bool((ids[1:] > ids[:-1]).all()):
            return cls(ids, None)
        order = np.argsort(ids, kind="stable")
        in_order = ids[order]
        twice = np.flatnonzero(in_order[1:] == in_order[:-1])
        if len(twice):
            first, second = order[twice[0]], order[twice[0] + 1]
            raise IndexFormatError(
                f"row id {in_order[twice[0]]} stands twice: as row {first} and row {second} given.",
                "give every row id once; " + REBUILD,
            )
        return cls(ids, order)

    def __len__(self) -> int:
        return len(self.ids)

    def save(self, folder: Path) -> None:
        """Write the ids into `folder`."""
        np.save(folder / ROW_IDS_FILE, self.ids, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> RowIds:
        """Read what `save` wrote; IndexFormatError where it is missing or damaged."""
        return cls.of(load_array(folder / ROW_IDS_FILE))

    def positions(self, allowed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ascending positions of those `allowed` row ids (sorted) that the index holds."""
        wanted = np.asarray(allowed, dtype=np.int64)
        if not len(self.ids) or not len(wanted):
            return np.empty(0, dtype=np.int64)
        in_order = self.ids if self.order is None else self.ids[self.order]
        places = np.searchsorted(in_order, wanted)
        places[places == len(in_order)] = 0
        places = np.unique(places[in_order[places] == wanted])
        return places if self.order is None else np.sort(self.order[places])


def load_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Read a .npy file, memory-mapped on request, never unpickling.

    Raises:
        IndexFormatError: it is missing, truncated or holds objects.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFormatError(f"{path} cannot be read: {error}.", REBUILD) from error
    return array


def release_pages(array: NDArray[Any]) -> None:
    """Let go of the pages of a memory-mapped file that `array` was read from; no-op for others.

    The bytes stay in the system's cache, so the next use costs a fault and no reading.
    """
    owner: Any = array
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = getattr(owner, "base", None)
    if owner is not None and hasattr(owner, "madvise"):  # Unix alone has it
        owner.madvise(mmap.MADV_DONTNEED)


def load_settings(folder: Path, *, dim: int, kind: str) -> Settings:
    """Read what a backend wrote down about itself, and check that it fits.

    Raises:
        IndexFormatError: the file is missing or damaged, or size or kind differ.
    """
    path = folder / SETTINGS_FILE
    try:
        settings: Settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise IndexFormatError(f"{path} cannot be read: {error}.", REBUILD) from error
    if settings.get("dim") != dim or settings.get("kind") != kind:
        raise IndexFormatError(
            f"{folder} holds another index.\n  wanted  {kind}, {dim} dimensions\n"
            f"  found   {settings.get('kind')}, {settings.get('dim')} dimensions",
            REBUILD,
        )
    return settings


def save_settings(folder: Path, settings: Settings) -> None:
    """Write the settings last, so that their presence means that the folder is complete."""
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    (folder / SETTINGS_FILE).write_text(text, "utf-8")


def write_vectors(path: Path, blocks: Iterable[Embeddings], *, dim: int) -> int:
    """Stream blocks of vectors into one .npy file; return the number of rows.

    The header is written again at the end, when the number of rows is known: numpy pads headers
    so that the first axis may grow in place.
    """
    n_rows = 0
    with path.open("wb") as file:
        _write_header(file, (0, dim))
        start = file.tell()
        for block in blocks:
            file.write(block.data)
            n_rows += len(block)
        file.seek(0)
        _write_header(file, (n_rows, dim))
        assert file.tell() == start, "a .npy header changed its length"
    return n_rows


def _write_header(file: object, shape: tuple[int, int]) -> None:
    description = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, description)  # type: ignore[arg-type]


def read_blocks(path: Path, *, n_block: int) -> Iterator[Embeddings]:
    """Read a (N, D) float32 .npy file block by block, without mapping it into memory."""
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    n_rows, dim = mapped.shape
    offset = mapped.offset
    del mapped
    for start in range(0, n_rows, n_block):
        count = min(n_block, n_rows - start) * dim
        yield np.fromfile(path, np.float32, count, offset=offset + start * dim * 4).reshape(-1, dim)


def no_hits(n_queries: int, k: int) -> Ranking:
    """(B, k) row ids -1 and scores -inf: what a search starts from."""
    return (
        np.full((n_queries, k), -1, dtype=np.int64),
        np.full((n_queries, k), -np.inf, dtype=np.float32),
    )


def exact_scores(query: Embeddings, vectors: Embeddings) -> NDArray[np.float32]:
    """Inner products of (D,) with (M, D), summed in float64 and rounded once.

    Float32 sums depend on where a row lies in memory; these do not, so equal vectors get equal
    scores in every backend and every batch.
    """
    return (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)


def kth_best(scores: NDArray[np.float32], k: int) -> float:
    """The k-th largest of k scores or more."""
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def best_first(
    scores: NDArray[np.float32], row_ids: NDArray[np.int64], *, k: int
) -> NDArray[np.int64]:
    """Places of the best k: score descending, ties by row id ascending."""
    return np.lexsort((row_ids, -scores))[:k]
