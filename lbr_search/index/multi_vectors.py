"""The k compressed vectors of each chunk, as 8-bit codes: what reranking reads instead of text.

A row of Z becomes D whole numbers and one scale. They are part of the store, and lie once more in
each generation as files that are mapped into memory, so that a query reads only its candidates'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lbr_search.errors import IndexFormatError
from lbr_search.index.rows import REBUILD, load_array
from lbr_search.types import Compressed

if TYPE_CHECKING:
    from lbr_search.index.store import ChunkStore

CODES, SCALES = "multi_codes", "multi_scales"
"""Columns of the store, and files of a generation."""
LARGEST_CODE = 127


@dataclass(frozen=True, slots=True)
class MultiVectors:
    """k vectors of each of N chunks.

    Attributes:
        codes: (N, k, D) int8.
        scales: (N, k) float32; a vector is its codes times its scale.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.codes)

    def floats(self) -> Compressed:
        """(N, k, D) float32, each number within half a scale of what was given."""
        return self.codes.astype(np.float32) * self.scales[:, :, None]

    def take(self, positions: NDArray[np.int64]) -> MultiVectors:
        """Those of some of the chunks, read from disk where they lie there."""
        return MultiVectors(np.asarray(self.codes[positions]), np.asarray(self.scales[positions]))


def quantise(compressed: Compressed) -> MultiVectors:
    """(N, k, D) float32 -> codes; the largest number of each vector becomes 127 or -127."""
    largest = np.abs(compressed).max(axis=2, initial=0.0)
    scales = np.maximum(largest / LARGEST_CODE, np.float32(1e-12)).astype(np.float32)
    return MultiVectors(np.rint(compressed / scales[:, :, None]).astype(np.int8), scales)


def joined(parts: Sequence[MultiVectors]) -> MultiVectors:
    """Several as one."""
    return MultiVectors(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.scales for part in parts]),
    )


def fields(n_vectors: int, dim: int) -> dict[str, pa.DataType]:
    """Columns of the store for `n_vectors` vectors of size `dim` a chunk."""
    return {
        CODES: pa.list_(pa.int8(), n_vectors * dim),
        SCALES: pa.list_(pa.float32(), n_vectors),
    }


def to_columns(multi: MultiVectors) -> dict[str, pa.Array]:
    """Column name -> N values."""
    _, k, dim = multi.codes.shape
    codes, scales = pa.array(multi.codes.reshape(-1)), pa.array(multi.scales.reshape(-1))
    return {
        CODES: pa.FixedSizeListArray.from_arrays(codes, k * dim),
        SCALES: pa.FixedSizeListArray.from_arrays(scales, k),
    }


def from_columns(batch: pa.RecordBatch | pa.Table) -> MultiVectors:
    """What `to_columns` made, from a scan."""
    codes, scales = (
        batch.column(name).flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
        for name in (CODES, SCALES)
    )
    k = scales.shape[1]
    return MultiVectors(codes.reshape(batch.num_rows, k, -1), scales)


def write_multi_vectors(store: ChunkStore, folder: Path, *, n_rows: int) -> None:
    """Write those of all rows of `store`, in the order of their ids, batch by batch."""
    folder.mkdir(parents=True)
    k, dim = store.n_vectors, store.dim
    codes, scales = (
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)
        for name, dtype, shape in (
            (CODES, np.int8, (n_rows, k, dim)),
            (SCALES, np.float32, (n_rows, k)),
        )
    )
    start = 0
    for batch in store.scan([CODES, SCALES]):
        part = from_columns(batch)
        codes[start : start + len(part)] = part.codes
        scales[start : start + len(part)] = part.scales
        start += len(part)
    assert start == n_rows, "the store has other rows than its payload"
    codes.flush()
    scales.flush()


def open_multi_vectors(folder: Path, *, shape: tuple[int, int, int]) -> MultiVectors:
    """Map what `write_multi_vectors` wrote; nothing is read yet.

    Args:
        folder: of the generation.
        shape: (N, k, D), as the manifest says.

    Raises:
        IndexFormatError: a file is missing, damaged or of another shape.
    """
    codes, scales = (load_array(folder / f"{name}.npy", mapped=True) for name in (CODES, SCALES))
    if (codes.shape, scales.shape) != (shape, shape[:2]):
        raise IndexFormatError(
            f"{folder} does not fit its index.\n  wanted  {shape} and {shape[:2]}\n"
            f"  found   {codes.shape} and {scales.shape}",
            REBUILD,
        )
    return MultiVectors(codes, scales)
