"""What the store holds of each document: how an ingest knows what it need not encode again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lbr_search.index.manifest import IndexManifest, store_folder
from lbr_search.index.store import ChunkStore, version_files


@dataclass(frozen=True, slots=True)
class DocumentState:
    """What the store holds of one document: a signature of its content and cut, and its rows."""

    signature: int
    first_row: int
    n_rows: int

    @property
    def rows(self) -> range:
        """Row ids; the chunks of a document are committed together, so they are contiguous."""
        return range(self.first_row, self.first_row + self.n_rows)


def signature(doc_hash: str, spans: Sequence[tuple[int, int]]) -> int:
    """Equal within one process for equal content that is cut into equal chunks."""
    return hash((doc_hash, tuple(spans)))


def document_states(store: ChunkStore) -> tuple[dict[str, DocumentState], list[int]]:
    """What is stored of each document, and the stale rows of documents half replaced.

    A changed document is added before its old rows are deleted. If the process died in between,
    both stand in the table: the rows from the last ``chunk_no`` 0 on are the document.
    """
    states: dict[str, DocumentState] = {}
    stale: list[int] = []
    batches = list(store.scan(["doc_id", "chunk_no", "doc_hash", "start", "end"]))
    if not batches:
        return states, stale
    table = pa.Table.from_batches(batches)
    rows, numbers = table["row_id"].to_numpy(), table["chunk_no"].to_numpy()
    doc_ids, hashes = table["doc_id"].to_pylist(), table["doc_hash"].to_pylist()
    spans = list(zip(table["start"].to_pylist(), table["end"].to_pylist(), strict=True))
    # ids of a document are contiguous: a gap without chunk 0 is what a cut-off delete left
    begins = (numbers == 0) | (np.diff(rows, prepend=-2) != 1)
    firsts = np.flatnonzero(begins).tolist()
    for first, stop in zip(firsts, [*firsts[1:], len(rows)], strict=True):
        state = DocumentState(
            signature(hashes[first], spans[first:stop]), int(rows[first]), stop - first
        )
        if numbers[first] != 0:
            stale.extend(state.rows)
            continue
        known = states.get(doc_ids[first])
        if known is not None:
            stale.extend(known.rows)
        states[doc_ids[first]] = state
    return states, stale


def uncertain_documents(folder: Path, manifest: IndexManifest, known: Iterable[str]) -> set[str]:
    """Documents whose state nobody vouches for: a run that was cut off wrote or removed them.

    It may have read them from a file that has changed since. LanceDB is not imported where the
    table is as it was published.

    Args:
        folder: the index.
        manifest: what is published.
        known: the documents that should be there.
    """
    table = store_folder(folder, manifest)
    published = {entry.path for entry in manifest.files}
    if all(path.relative_to(folder).as_posix() in published for path in version_files(table)):
        return set()
    states, _ = document_states(ChunkStore.open_latest(table, is_writer=False))
    written = {doc_id for doc_id, s in states.items() if s.first_row >= manifest.next_row}
    return written.union(doc_id for doc_id in known if doc_id not in states)
