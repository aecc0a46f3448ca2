"""Is an index what was published? Every file's hash, and each part against the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import IndexFormatError, SealError
from lbr_search.index.build import OWN_FILES
from lbr_search.index.documents import document_states
from lbr_search.index.files import disk_errors, file_hash
from lbr_search.index.journal import JOURNAL_FILE, Journal
from lbr_search.index.lock import single_writer, writing
from lbr_search.index.manifest import (
    BEFORE_FILE,
    LEXICAL,
    MANIFEST_FILE,
    OTHER_BYTES,
    PAYLOAD,
    SEAL_FILE,
    SNAPSHOTS,
    VECTORS,
    IndexManifest,
    check_golden,
    check_seal,
    find_manifest,
    load_manifest,
    next_store_folder,
    publish,
    store_folder,
)
from lbr_search.index.payload import ROWS_FILE
from lbr_search.index.reindex import SHADOW_FILE
from lbr_search.index.republish import republish
from lbr_search.index.rows import ROW_IDS_FILE
from lbr_search.index.store import ChunkStore
from lbr_search.index.tuned import TUNED_FILE
from lbr_search.protocols import Encoder

KNOWN_FILES = {
    *OWN_FILES,
    *(SEAL_FILE, MANIFEST_FILE, BEFORE_FILE, JOURNAL_FILE, SHADOW_FILE),
    *(TUNED_FILE, "sources.json", "sources-*.parquet", "forgotten.json"),
}
"""Files of an index folder besides those of the manifest, as patterns."""


@dataclass(slots=True)
class Verification:
    """The outcome of `verify_index`."""

    n_files: int = 0
    n_rows: int = 0
    problems: list[str] = field(default_factory=list)
    """One line each; empty = the index is what was published."""
    notes: list[str] = field(default_factory=list)
    """What is odd and harmless: files that nothing names."""
    is_derived_only: bool = True
    """Whether the table itself is whole, so that a repair can build the rest from it."""


def verify_index(folder: Path, *, encoder: Encoder | None = None) -> Verification:
    """Hash every file of the published index, and compare its parts with the table.

    Checked: size and SHA-256 of each file; row ids of texts, vectors and terms against the
    table's; keys (document, chunk number) that stand twice, and chunks without their document's
    first; vectors that are not finite or not of length 1; with `encoder`, the golden vectors.

    Raises:
        IndexFormatError: there is no index, or none was published.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        manifest = load_manifest(folder)  # raises the error that fits
    found = Verification(n_files=len(manifest.files))
    for path, what in _changed_files(folder, manifest):
        found.problems.append(f"{path}: {what}")
        found.is_derived_only &= not path.startswith(f"{manifest.store}/")
    _check_table(folder, manifest, found)
    if encoder is not None:
        try:
            check_seal(folder, manifest.seal, encoder)
            check_golden(folder, manifest.seal, encoder)
        except SealError as error:
            found.problems.append(f"encoder: {error.message.splitlines()[0]}")
            found.is_derived_only = False
    found.notes.extend(_strangers(folder, manifest))
    if not found.problems:
        found.notes.extend(_record_times(folder))
    return found


def _record_times(folder: Path) -> Iterator[str]:
    """Of files that are whole and were copied or restored, so that opening reads them no more."""
    if not _moved(folder, load_manifest(folder)):
        return
    try:
        with writing(folder) as manifest:
            moved = _moved(folder, manifest)
            files = [
                replace(entry, mtime_ns=moved.get(entry.path, entry.mtime_ns))
                for entry in manifest.files
            ]
            publish(folder, replace(manifest, files=files))
    except IndexFormatError as error:
        yield f"the times of copied files are not recorded: {error.message.splitlines()[0]}"
    else:
        yield f"{len(moved)} files have other times than published; recorded"


def _moved(folder: Path, manifest: IndexManifest) -> dict[str, int]:
    """Path -> time of files that were written to, copied or restored since publication."""
    times = {entry.path: (folder / entry.path).stat().st_mtime_ns for entry in manifest.files}
    return {e.path: times[e.path] for e in manifest.files if times[e.path] != e.mtime_ns}


def repair_index(folder: Path) -> IndexManifest:
    """Build everything that is derived from the table anew, and remove stale rows of the table.

    What a run that was cut off has added since the last publication is undone: an ingest or `sync`
    adds it again.

    Raises:
        IndexFormatError: the table itself is damaged: no text to build from; another writer.
    """
    with disk_errors(folder), single_writer(folder):
        manifest = find_manifest(folder)
        if manifest is None:
            manifest = load_manifest(folder)
        damaged = [
            f"  {path}: {what}"
            for path, what in _changed_files(folder, manifest)
            if path.startswith(f"{manifest.store}/")
        ]
        if damaged:
            raise IndexFormatError(
                f"the table of {folder} is damaged, and nothing else holds its texts:\n"
                + "\n".join(damaged[:5]),
                f"rm -r {folder} && lbr-search ingest SOURCE... --index {folder} "
                f"--encoder {manifest.seal.encoder_spec}",
            )
        table = store_folder(folder, manifest)
        store = ChunkStore.open_published(table, manifest.store_version)
        states, stale = document_states(store)
        journal = Journal.open(folder, rows={s.first_row for s in states.values()}.union(stale))
        store.delete_rows(stale)
        return republish(folder, manifest, store, journal)


def _changed_files(folder: Path, manifest: IndexManifest) -> Iterator[tuple[str, str]]:
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            yield entry.path, "missing"
        elif path.stat().st_size != entry.size_bytes or file_hash(path) != entry.sha256:
            yield entry.path, OTHER_BYTES


def _check_table(folder: Path, manifest: IndexManifest, found: Verification) -> None:
    """The table's own order, and the row ids of what is derived from it."""
    generation = folder / manifest.generation_folder
    parts: dict[str, Path] = {
        "texts": generation / PAYLOAD / ROWS_FILE,
        "vectors": generation / VECTORS / ROW_IDS_FILE,
        "terms": generation / LEXICAL / ROW_IDS_FILE,
    }
    try:
        store = ChunkStore.open_version(store_folder(folder, manifest), manifest.store_version)
        stored = np.concatenate(
            [np.empty(0, dtype=np.int64), *(ids.copy() for ids in _rows(store, found))]
        )
        states, stale = document_states(store)
    except (IndexFormatError, OSError, RuntimeError, ValueError, AssertionError) as error:
        found.problems.append(f"the store cannot be read: {str(error).splitlines()[0]}")
        found.is_derived_only = False
        return
    found.n_rows = len(stored)
    if stale:
        found.problems.append(f"the table has {len(stale)} rows twice or without their document")
    if (len(states), len(stored)) != (manifest.n_documents, manifest.n_chunks):
        found.problems.append(
            f"the store has {len(states)} documents in {len(stored)} rows, the manifest says "
            f"{manifest.n_documents} in {manifest.n_chunks}"
        )
    for name, path in parts.items():
        _check_rows(name, path, stored, found)


def _rows(store: ChunkStore, found: Verification) -> Iterator[NDArray[np.int64]]:
    for ids, vectors in store.scan_vectors():
        lengths = np.linalg.norm(vectors, axis=1)
        n_wrong = int(np.count_nonzero(~(np.abs(lengths - 1) < 1e-2)))
        if n_wrong:
            found.problems.append(f"{n_wrong} vectors from row {ids[0]} on are not of length 1")
            found.is_derived_only = False
        yield ids


def _check_rows(name: str, path: Path, stored: NDArray[np.int64], found: Verification) -> None:
    if not path.is_file():  # LanceDB keeps ids beside its vectors; a missing file is told above
        return
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        found.problems.append(f"{name}: row ids cannot be read: {error}")
        return
    if not np.array_equal(np.sort(rows), stored):
        found.problems.append(f"{name}: {len(rows)} rows, the store has {len(stored)}, or others")


def _strangers(folder: Path, manifest: IndexManifest) -> Iterator[str]:
    """What nothing names: left by a run that was cut off, or put there by somebody."""
    before = find_manifest(folder, BEFORE_FILE)
    kept = {manifest.generation_folder, manifest.store, SNAPSHOTS}
    if manifest.previous_generation is not None:
        kept.add(f"gen-{manifest.previous_generation:06d}")
    if before is not None:
        kept |= {before.generation_folder, before.store}
    if (folder / SHADOW_FILE).is_file():
        kept.add(next_store_folder(folder, manifest).name)
    for path in sorted(folder.iterdir()):
        known = kept if path.is_dir() else KNOWN_FILES
        if not any(fnmatchcase(path.name, name) for name in known):
            yield f"{path.name} belongs to nothing; it can be removed"
