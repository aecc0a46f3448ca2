"""What an index holds, and whether its files are what was written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lbr_search.errors import IndexFormatError
from lbr_search.index.columns import RESERVED
from lbr_search.index.files import file_hash, folder_bytes
from lbr_search.index.manifest import (
    PAYLOAD,
    IndexManifest,
    find_manifest,
    load_manifest,
    store_folder,
)
from lbr_search.index.payload import ROWS_FILE
from lbr_search.index.store import ChunkStore


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of `verify_index`."""

    n_files: int
    n_rows: int
    problems: list[str]
    """One line each; empty = the index is what was published."""


def index_info(folder: Path) -> dict[str, Any]:
    """A summary of the published index, ready for JSON.

    Raises:
        IndexFormatError: there is no index, it is half written, or files are missing or cut.
    """
    manifest = load_manifest(folder)
    store = ChunkStore.open_latest(store_folder(folder, manifest), is_writer=False)
    seal = asdict(manifest.seal)
    del seal["golden"]
    return {
        "folder": str(folder),
        "seal": seal,
        "generation": manifest.generation,
        "created": manifest.created,
        "n_documents": manifest.n_documents,
        "n_chunks": manifest.n_chunks,
        "vectors": {
            "backend": manifest.backend,
            "kind": manifest.ann,
            "reason": manifest.reason,
            "recall_at_10": manifest.recall_at_10,
            "vectors_per_chunk": manifest.n_vectors or 1,
            **manifest.vector_settings,
        },
        "metadata": manifest.columns,
        "columns": [name for name in RESERVED if not name.startswith("multi_")],
        "store": {
            "version": manifest.store_version,
            "latest_version": store.version,
            "fragments": store.fragments(),
            "rows_not_published": unpublished_rows(store, manifest),
        },
        "size_bytes": {
            "total": folder_bytes(folder),
            "store": _bytes_below(manifest, f"{manifest.store}/"),
            "vectors": _bytes_below(manifest, f"{manifest.generation_folder}/vectors/"),
            "multi_vectors": _bytes_below(manifest, f"{manifest.generation_folder}/multi/"),
            "lexical": _bytes_below(manifest, f"{manifest.generation_folder}/lexical/"),
            "payload": _bytes_below(manifest, f"{manifest.generation_folder}/payload/"),
        },
        "totals": manifest.totals,
        "settings": manifest.settings,
        "last_build": manifest.last_build,
        "packages": manifest.packages,
    }


def unpublished_rows(store: ChunkStore, manifest: IndexManifest) -> int:
    """Rows that an ingest which was cut off has committed, and no search sees yet."""
    if store.version == manifest.store_version:
        return 0
    return store.count(f"row_id >= {manifest.next_row}")


def verify_index(folder: Path) -> Verification:
    """Hash every file of the published index, and compare the store with what is derived from it.

    Raises:
        IndexFormatError: there is no index, or none was published.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        manifest = load_manifest(folder)  # raises the error that fits
    problems = []
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            problems.append(f"{entry.path}: missing")
        elif path.stat().st_size != entry.size_bytes or file_hash(path) != entry.sha256:
            problems.append(f"{entry.path}: its bytes are not those that were published")
    n_rows = 0
    try:
        store = ChunkStore.open_version(store_folder(folder, manifest), manifest.store_version)
        parts = []
        for batch in store.scan(["vector"]):
            parts.append(batch.column("row_id").to_numpy().copy())
        stored = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        n_rows = len(stored)
        published = np.load(folder / manifest.generation_folder / PAYLOAD / ROWS_FILE)
        if not np.array_equal(stored, published):
            problems.append(f"the store has {n_rows} rows, the index {len(published)}, or others")
    except (IndexFormatError, OSError, RuntimeError, ValueError) as error:
        problems.append(f"the store cannot be read: {str(error).splitlines()[0]}")
    return Verification(len(manifest.files), n_rows, problems)


def _bytes_below(manifest: IndexManifest, prefix: str) -> int:
    return sum(entry.size_bytes for entry in manifest.files if entry.path.startswith(prefix))
