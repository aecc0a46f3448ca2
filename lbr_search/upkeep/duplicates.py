"""Documents of an index that nearly repeat another: listed, not removed."""

from __future__ import annotations

from pathlib import Path

from lbr_search.config import check
from lbr_search.corpus.duplicates import NEAR, FirstOfKind
from lbr_search.index.manifest import load_manifest, store_folder
from lbr_search.index.store import ChunkStore
from lbr_search.index.stored import stored_documents
from lbr_search.types import passage_text


def near_duplicate_groups(index: Path, *, threshold: float = NEAR) -> dict[str, list[str]]:
    """Document -> the later ones that nearly repeat it, by the order of their rows.

    Texts with their titles are compared by MinHash (corpus/duplicates.py); those of fewer than 12
    words with none. Signatures and ids are held in memory: some 1.5 kB a document.

    Args:
        index: a published index.
        threshold: share of their runs of five words that both must have in common, above 0, at
            most 1.

    Raises:
        ConfigError: the threshold is out of range.
        IndexFormatError: no index, or a damaged one.
    """
    check(0 < threshold <= 1, "threshold", threshold, "above 0, at most 1")
    manifest = load_manifest(index)
    store = ChunkStore.open_version(store_folder(index, manifest), manifest.store_version)
    first, ids = FirstOfKind(threshold), []
    groups: dict[str, list[str]] = {}
    for number, document in enumerate(stored_documents(store)):
        ids.append(document.doc_id)
        earlier = first.repeated(passage_text(document.title, document.text), number)
        if earlier >= 0:
            groups.setdefault(ids[earlier], []).append(document.doc_id)
    return groups
