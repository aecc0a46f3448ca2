"""What an index holds: a summary of its published state."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lbr_search.index.columns import RESERVED
from lbr_search.index.files import folder_bytes
from lbr_search.index.manifest import (
    IndexManifest,
    load_manifest,
    store_folder,
)
from lbr_search.index.mirror import mirrored_address
from lbr_search.index.store import ChunkStore, version_files
from lbr_search.index.tuned import read_tuned


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
        "address": mirrored_address(folder),
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
            "versions": len(version_files(store.folder)),
            "deleted_share": round(store.deleted_share, 4),
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
        "search": _search(folder),
        "last_build": manifest.last_build,
        "packages": manifest.packages,
    }


def _search(folder: Path) -> dict[str, Any]:
    """What ``search.toml`` says, if the index has been tuned."""
    tuned = read_tuned(folder)
    return asdict(tuned) if tuned is not None else {}


def unpublished_rows(store: ChunkStore, manifest: IndexManifest) -> int:
    """Rows that an ingest which was cut off has committed, and no search sees yet."""
    if store.version == manifest.store_version:
        return 0
    return store.count(f"row_id >= {manifest.next_row}")


def _bytes_below(manifest: IndexManifest, prefix: str) -> int:
    return sum(entry.size_bytes for entry in manifest.files if entry.path.startswith(prefix))
