"""Raw LanceDB vector search over the vectors of our index, without an ANN index: exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lbr_search.protocols import PeerInputs, PeerRanking


class LancedbPeer:
    """A table of row numbers and vectors; one query at a time, as its API takes them."""

    needs_vectors = True
    beside = "dense"

    def __init__(self) -> None:
        self._table: Any = None

    def build(self, passages: PeerInputs, *, folder: Path) -> None:
        """Write the table."""
        import lancedb
        import pyarrow as pa

        vectors = np.ascontiguousarray(passages, dtype=np.float32)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        rows = pa.table({"row": pa.array(np.arange(len(vectors))), "vector": flat})
        self._table = lancedb.connect(str(folder)).create_table("vectors", rows)

    def search(self, queries: PeerInputs, *, k: int) -> list[PeerRanking]:
        """The nearest vectors, best first; LanceDB's distance is 1 - inner product."""
        rankings = []
        for query in queries:
            asked = self._table.search(query).distance_type("dot").limit(k)
            found = asked.select(["row", "_distance"]).to_arrow()
            scores = 1 - found.column("_distance").to_numpy()
            rankings.append(
                list(zip(found.column("row").to_pylist(), scores.tolist(), strict=True))
            )
        return rankings
