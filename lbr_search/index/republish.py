"""A generation built anew from the store, and published: after a repair or a removal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lbr_search.config import IndexConfig, from_mapping
from lbr_search.index.generation import Plan, Timer, build_generation, publish_and_clean
from lbr_search.index.journal import Journal
from lbr_search.index.manifest import IndexManifest
from lbr_search.index.store import ChunkStore


def republish(
    folder: Path, previous: IndexManifest, store: ChunkStore, journal: Journal
) -> IndexManifest:
    """Build what is derived from `store` in the next generation, and publish it.

    No encoder is needed: vectors are in the store. The caller holds the lock of the index.
    """
    config = from_mapping(IndexConfig, previous.settings, where=f"{folder} settings")
    plan = Plan(
        folder=folder,
        seal=previous.seal,
        config=config,
        previous=previous,
        next_row=journal.next_row,
        totals=journal.totals,
    )
    manifest = build_generation(plan, store, Timer())
    last = {**previous.last_build, "generation": manifest.generation, "warnings": []}
    manifest = replace(manifest, last_build=last | {"n_chunks": manifest.n_chunks})
    publish_and_clean(folder, manifest, store, previous)
    return manifest
