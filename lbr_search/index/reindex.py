"""Change of encoder: a shadow of the index from its stored texts, published in one step.

The shadow's table and generation lie in the folder of the index, beside those in use; readers
see them when the manifest names them. The state before stays under `BEFORE_FILE` until it is
dropped, so that the change can be taken back.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lbr_search.config import IndexConfig, from_mapping
from lbr_search.errors import IndexFormatError
from lbr_search.index.documents import document_states
from lbr_search.index.embedder import embedder, n_vectors_of
from lbr_search.index.files import read_json, write_json
from lbr_search.index.generation import Plan, Timer, build_generation, file_entry
from lbr_search.index.journal import Journal
from lbr_search.index.manifest import (
    BEFORE_FILE,
    STORE_FOLDER,
    IndexManifest,
    Seal,
    find_manifest,
    next_store_folder,
    publish,
    seal_of,
    store_folder,
    write_seal,
)
from lbr_search.index.report import BuildProgress
from lbr_search.index.store import ChunkStore
from lbr_search.index.stored import stored_chunks
from lbr_search.index.writer import Writer, group_documents
from lbr_search.protocols import CompressingEncoder, Encoder

SHADOW_FILE = "reindex.json"
"""Folder and encoder of the shadow that is being built, so that a stopped run goes on."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A built state that no reader sees yet."""

    manifest: IndexManifest
    n_encoded: int
    n_resumed: int
    """Documents that a stopped run had encoded already."""
    n_truncated: int
    """Chunks that the new encoder cuts: it reads less than the old one."""
    seconds: dict[str, float]


def before_of(folder: Path, manifest: IndexManifest) -> IndexManifest | None:
    """The state of the encoder before, if one is kept."""
    before = find_manifest(folder, BEFORE_FILE)
    # a run that was killed between writing it and the swap leaves the present state there
    return before if before is not None and before.generation != manifest.generation else None


def build_shadow(
    folder: Path,
    present: IndexManifest,
    encoder: Encoder,
    progress: Callable[[BuildProgress], None] | None = None,
) -> Shadow:
    """Encode every stored chunk with `encoder`, and derive a generation; the cuts stay as they are.

    The caller holds the lock.

    Raises:
        IndexFormatError: the index is sealed to this encoder, or keeps a state before already.
    """
    quoted = shlex.quote(str(folder))
    if present.seal.fingerprint == encoder.fingerprint:
        raise IndexFormatError(
            f"{folder} is built by {encoder.name} already.", "name another --encoder"
        )
    if before_of(folder, present) is not None:
        raise IndexFormatError(
            f"{folder} keeps the state of an encoder before this one.",
            f"lbr-search reindex {quoted} --drop-old",
        )
    timer = Timer()
    seal, where = _begin(folder, present, encoder)
    config = from_mapping(IndexConfig, present.settings, where=f"{folder} settings")
    keeps_several = bool(present.n_vectors) and isinstance(encoder, CompressingEncoder)
    config = replace(config, multi_vector=keeps_several)
    writer = _writer(where, seal, encoder, config, timer)
    _announce(writer, timer, progress)
    source = ChunkStore.open_version(store_folder(folder, present), present.store_version)
    for document in group_documents((chunk, None) for chunk in stored_chunks(source)):
        writer.offer(document)
    writer.finish(delete_missing=True)
    if writer.store.is_untidy:
        writer.store.tidy(keep=None)
    plan = Plan(folder, seal, config, present, writer.journal.next_row, writer.journal.totals)
    manifest = build_generation(plan, writer.store, timer)
    stored = [file_entry(folder, path) for path in writer.store.files()]
    manifest = replace(
        manifest, files=[*manifest.files, *stored], last_build={"reindexed_from": _name(present)}
    )
    return Shadow(
        manifest=manifest,
        n_encoded=writer.counts.n_encoded,
        n_resumed=writer.counts.n_resumed,
        n_truncated=writer.encoded.n_truncated,
        seconds=timer.totals(),
    )


def swap(folder: Path, present: IndexManifest, shadow: IndexManifest) -> None:
    """Make the shadow what readers see, in one step; the present state is kept beside it."""
    # row ids of the new table must never be given out again
    Journal.open(folder, rows=[shadow.next_row - 1])
    publish(folder, present, BEFORE_FILE)
    publish(folder, shadow)
    write_seal(folder, shadow.seal)
    (folder / SHADOW_FILE).unlink(missing_ok=True)


def take_back(folder: Path, present: IndexManifest) -> IndexManifest:
    """Go back to the state before the last change of encoder.

    Raises:
        IndexFormatError: none is kept, or the index was written since.
    """
    before = before_of(folder, present)
    if before is None:
        raise IndexFormatError(
            f"{folder} keeps no state before the present one.", "lbr-search reindex --encoder E"
        )
    if present.previous_generation != before.generation:
        raise IndexFormatError(
            f"{folder} was written since its encoder was changed (generation "
            f"{present.generation}); what was added would be lost.",
            f"lbr-search reindex {shlex.quote(str(folder))} --drop-old, then reindex with "
            f"--encoder {before.seal.encoder_spec}",
        )
    publish(folder, before)
    write_seal(folder, before.seal)
    (folder / BEFORE_FILE).unlink()
    _remove(folder, present, kept=before)
    return before


def drop_before(folder: Path, present: IndexManifest) -> IndexManifest:
    """Remove the state before the last change of encoder; returns what it was.

    Raises:
        IndexFormatError: none is kept.
    """
    before = before_of(folder, present)
    if before is None:
        raise IndexFormatError(f"{folder} keeps no state before the present one.", "nothing to do")
    (folder / BEFORE_FILE).unlink()
    _remove(folder, before, kept=present)
    return before


def _begin(folder: Path, present: IndexManifest, encoder: Encoder) -> tuple[Seal, Path]:
    """The seal and folder of the shadow; those of a stopped run where its encoder was the same."""
    file = folder / SHADOW_FILE
    if file.is_file():
        values = read_json(file, fix=f"rm {shlex.quote(str(file))}")
        if values.get("fingerprint") == encoder.fingerprint:
            return Seal(**values["seal"]), folder / str(values["store"])
    for left in folder.glob(f"{STORE_FOLDER}-*"):  # of a run with another encoder
        if left.name != present.store:
            shutil.rmtree(left)
    seal = seal_of(encoder, domain=present.seal.domain, analyser=present.seal.analyser)
    where = next_store_folder(folder, present)
    values = {"fingerprint": encoder.fingerprint, "store": where.name, "seal": asdict(seal)}
    write_json(file, values)
    return seal, where


def _writer(where: Path, seal: Seal, encoder: Encoder, config: IndexConfig, timer: Timer) -> Writer:
    n_vectors = n_vectors_of(encoder) if config.multi_vector else 0
    if ChunkStore.exists(where):
        store = ChunkStore.open_latest(where)
    else:
        store = ChunkStore.create(where, dim=encoder.dim, n_vectors=n_vectors)
    states, stale = document_states(store)
    journal = Journal.open(where, rows={s.first_row for s in states.values()}.union(stale))
    store.delete_rows(stale)
    embed = embedder(encoder, where.parent, seal, n_vectors=n_vectors, is_checked=False)
    return Writer(
        store=store,
        journal=journal,
        config=config,
        embed=embed,
        domain=seal.domain,
        timer=timer,
        states=states,
        published_rows=0,
    )


def _announce(
    writer: Writer, timer: Timer, progress: Callable[[BuildProgress], None] | None
) -> None:
    if progress is None:
        return

    def announce(phase: str) -> None:
        seconds = timer.totals()["total"]
        counts = writer.counts
        rate = counts.n_chunks / max(seconds, 1e-9)
        progress(BuildProgress(phase, counts.n_documents, counts.n_chunks, rate, seconds))

    timer.on_phase = announce


def _remove(folder: Path, state: IndexManifest, *, kept: IndexManifest) -> None:
    for name in {state.generation_folder, state.store} - {kept.generation_folder, kept.store}:
        shutil.rmtree(folder / name, ignore_errors=True)


def _name(manifest: IndexManifest) -> str:
    return f"{manifest.seal.encoder_name} ({manifest.seal.fingerprint[:12]})"
