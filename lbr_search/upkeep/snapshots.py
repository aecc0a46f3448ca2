"""Named states of an index that one can go back to.

A snapshot is a tag of the table's version, which keeps its rows from being cleaned away, and a
folder ``snapshots/NAME`` with the manifest and the record of sources of that moment. What is
derived from the table is not kept: it is built anew when one goes back.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.index.documents import document_states
from lbr_search.index.journal import Journal
from lbr_search.index.lock import writing
from lbr_search.index.manifest import (
    SNAPSHOTS,
    IndexManifest,
    find_manifest,
    load_manifest,
    publish,
    store_folder,
)
from lbr_search.index.republish import republish
from lbr_search.index.store import ChunkStore
from lbr_search.registry import nearest
from lbr_search.source_record import SOURCES_FILE, load_record, save_record

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state that was kept."""

    name: str
    manifest: IndexManifest
    is_reachable: bool
    """Whether the table still has its version: a change of encoder that was made final has not."""


def take_snapshot(index: Path, name: str) -> Snapshot:
    """Keep the published state of an index under a name.

    Raises:
        ConfigError: the name is none, or taken.
        IndexFormatError: no index, a damaged one, or another writer.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name of letters, digits, - . and _.", "take e.g. 2026-11"
        )
    with writing(index) as manifest:
        target = index / SNAPSHOTS / name
        if target.exists():
            raise ConfigError(
                f"{index} has a snapshot {name!r} already.",
                f"take another name, or: lbr-search index drop {index} {name}",
            )
        # the tag first: without its folder it only keeps some files longer
        store = ChunkStore.open_latest(store_folder(index, manifest), is_writer=False)
        store.tag(name, manifest.store_version)
        partial = target.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        publish(partial, manifest)
        if (index / SOURCES_FILE).is_file():
            save_record(partial, load_record(index))
        partial.rename(target)
    return Snapshot(name, manifest, is_reachable=True)


def list_snapshots(index: Path) -> list[Snapshot]:
    """The snapshots of an index, the oldest first.

    Raises:
        IndexFormatError: no index, or a damaged one.
    """
    manifest = load_manifest(index)
    tags = ChunkStore.open_latest(store_folder(index, manifest), is_writer=False).tags()
    found = []
    for folder in (index / SNAPSHOTS).glob("[!.]*"):
        kept = find_manifest(folder)
        if kept is not None:
            is_reachable = kept.store == manifest.store and folder.name in tags
            found.append(Snapshot(folder.name, kept, is_reachable))
    return sorted(found, key=lambda snapshot: snapshot.manifest.created)


def restore_snapshot(index: Path, name: str) -> IndexManifest:
    """Make an index what it was: its rows, and what is known of its sources.

    What is derived from the rows is built anew; no text is encoded. Row ids given since stay used.
    A later `sync` brings it in step with its sources again.

    Raises:
        ConfigError: there is no such snapshot.
        IndexFormatError: it is of another encoder, a damaged index, or another writer.
    """
    with writing(index) as manifest:
        snapshot = _named(index, name)
        if not snapshot.is_reachable:
            raise IndexFormatError(
                f"the snapshot {name!r} is of an earlier table of {index} (encoder "
                f"{snapshot.manifest.seal.encoder_name}; now {manifest.seal.encoder_name}).",
                f"lbr-search reindex {index} --take-back, or lbr-search index drop {index} {name}",
            )
        # the record first: if this is cut off, a sync reads again what the record does not know
        if (index / SNAPSHOTS / name / SOURCES_FILE).is_file():
            save_record(index, load_record(index / SNAPSHOTS / name))
        table = store_folder(index, manifest)
        store = ChunkStore.open_published(table, snapshot.manifest.store_version)
        states, stale = document_states(store)
        journal = Journal.open(index, rows={s.first_row for s in states.values()}.union(stale))
        store.delete_rows(stale)
        return republish(index, manifest, store, journal)


def drop_snapshot(index: Path, name: str) -> None:
    """Give a snapshot up; its rows go with a later tidying of the table.

    Raises:
        ConfigError: there is no such snapshot.
        IndexFormatError: no index, a damaged one, or another writer.
    """
    with writing(index) as manifest:
        _named(index, name)
        shutil.rmtree(index / SNAPSHOTS / name)
        store = ChunkStore.open_latest(store_folder(index, manifest), is_writer=False)
        store.untag(name)


def _named(index: Path, name: str) -> Snapshot:
    known = {snapshot.name: snapshot for snapshot in list_snapshots(index)}
    if name not in known:
        raise ConfigError(
            f"{index} has no snapshot {name!r}; it has: {', '.join(known) or 'none'}.",
            nearest(name, known) if known else f"lbr-search index snapshot {index} {name}",
        )
    return known[name]
