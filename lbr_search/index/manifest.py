"""What an index is: its seal, written before the first row, and its manifest, published last.

The seal binds the folder to one encoder, so that a half-built index cannot be continued with
another. The manifest names the version of the table and the generation folder that belong
together; readers open what it names, whatever a writer is doing beside it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from lbr_search.config import fingerprint
from lbr_search.errors import IndexFormatError, SealError
from lbr_search.index.files import file_hash, read_json, write_json
from lbr_search.protocols import Encoder
from lbr_search.types import Embeddings

FORMAT = 1
SEAL_FILE = "seal.json"
MANIFEST_FILE = "manifest.json"
CHECKSUM = "checksum"
"""Key of the manifest's file: the fingerprint of all others."""
OTHER_BYTES = "its bytes are not those that were published"
BEFORE_FILE = "manifest.before.json"
"""The manifest of the encoder before the present one, until it is dropped."""
STORE_FOLDER = "store"
SNAPSHOTS = "snapshots"
"""Folder of the states that were kept by name (upkeep/snapshots.py)."""
VECTORS = "vectors"
LEXICAL = "lexical"
PAYLOAD = "payload"
MULTI = "multi"
"""Folders of a generation, derived from the store."""
GOLDEN_TEXTS = (
    "The library opens at nine in the morning and closes at six.",
    "Water expands when it freezes, so ice floats on a lake.",
    "Bread is made of flour, water, salt and yeast.",
    "She counted twelve boats in the harbour before the fog came in.",
    "A map shows roads, rivers and the names of towns.",
)
"""Neutral sentences whose vectors are stored and compared when an index is opened."""
GOLDEN_MAX_DIFFERENCE = 1e-3
GOLDEN_MIN_COSINE = 0.999
"""An encoder in bf16 on another processor stays within both; another encoder does not."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What an index is bound to for life."""

    encoder_name: str
    encoder_spec: str
    fingerprint: str
    dim: int
    domain: str
    analyser: str
    golden: list[str]
    """Vectors of `GOLDEN_TEXTS`, encoded as passages: D numbers of six digits each."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an index, by its path below the folder."""

    path: str
    size_bytes: int
    sha256: str
    mtime_ns: int = 0
    """When it was last written, as it was published; 0 = not recorded."""


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """A published state of an index."""

    seal: Seal
    generation: int
    store_version: int
    n_documents: int
    n_chunks: int
    next_row: int
    backend: str
    ann: str
    """What was built: flat, ivf or hnsw."""
    reason: str
    """Why `ann` was taken."""
    recall_at_10: float
    """Of the vector index, against exact search over sampled stored vectors."""
    files: list[FileEntry]
    store: str = STORE_FOLDER
    """Folder of the table; another one after a change of encoder."""
    n_vectors: int = 0
    """Compressed vectors of each chunk, beside the one that is searched; 0 = none."""
    analyser: str = ""
    """Name and version of the analyser of the terms: ``chemistry-2``; "" = version 1."""
    previous_generation: int | None = None
    created: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """The effective `IndexConfig`."""
    vector_settings: dict[str, Any] = field(default_factory=dict)
    """What the vector backend chose."""
    columns: list[dict[str, str]] = field(default_factory=list)
    """Metadata keys and the columns that hold them."""
    totals: dict[str, float] = field(default_factory=dict)
    """Encoded, truncated, tokens lost and encode seconds over the life of the index."""
    last_build: dict[str, Any] = field(default_factory=dict)
    """The report of the build that published this."""
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def generation_folder(self) -> str:
        """Name of the folder with the files derived from the store."""
        return generation_name(self.generation)


def generation_name(generation: int) -> str:
    """Folder name of a generation.

    >>> generation_name(3)
    'gen-000003'
    """
    return f"gen-{generation:06d}"


def store_folder(folder: Path, manifest: IndexManifest | None) -> Path:
    """Where the table of the index in `folder` lies; None = nothing was published yet."""
    return folder / (manifest.store if manifest is not None else STORE_FOLDER)


def next_store_folder(folder: Path, manifest: IndexManifest) -> Path:
    """Where a table goes that takes the place of the present one with the next generation."""
    return folder / f"{STORE_FOLDER}-{manifest.generation + 1:06d}"


def repair_command(folder: Path) -> str:
    """The command that builds anew what is derived from the table."""
    return f"lbr-search index verify {shlex.quote(str(folder))} --repair"


def ingest_command(folder: Path, spec: str) -> str:
    """The command that goes on with, or makes anew, the index in `folder`."""
    return f"{new_index_command(folder)} --encoder {shlex.quote(spec)}"


def new_index_command(folder: Path) -> str:
    """The command that makes an index in `folder` with the default encoder."""
    return f"lbr-search ingest SOURCE... --index {shlex.quote(str(folder))}"


def seal_of(encoder: Encoder, *, domain: str, analyser: str) -> Seal:
    """The seal of an index that `encoder` builds; encodes the golden texts."""
    return Seal(
        encoder_name=encoder.name,
        encoder_spec=encoder.spec,
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        domain=domain,
        analyser=analyser,
        golden=[" ".join(f"{x:.6g}" for x in row) for row in golden_vectors(encoder)],
    )


def write_seal(folder: Path, seal: Seal) -> None:
    """Bind `folder` to an encoder; comes before the first row."""
    write_json(folder / SEAL_FILE, asdict(seal))


def load_seal(folder: Path) -> Seal | None:
    """The seal of `folder`, or None where nothing was begun.

    That of the manifest counts, where there is one: a change of encoder is published by it.

    Raises:
        IndexFormatError: it is damaged, or of a newer format.
    """
    path = folder / SEAL_FILE
    if not path.is_file():
        return None
    manifest = find_manifest(folder)
    if manifest is not None:
        return manifest.seal
    fix = "ingest the corpus into a new --index folder"
    return _seal_from(read_json(path, fix=fix), path, fix)


def load_manifest(folder: Path) -> IndexManifest:
    """The published state of the index in `folder`, its files checked as in `damaged_files`.

    Raises:
        IndexFormatError: there is no index, it is half written, or files are missing or changed.
    """
    manifest = find_manifest(folder)
    if manifest is not None:
        wrong = damaged_files(folder, manifest)
        if wrong:
            raise damage_error(folder, manifest, wrong)
        return manifest
    seal = load_seal(folder)
    if seal is not None:
        raise IndexFormatError(
            f"{folder} is half written: its first ingest did not end.\n"
            f"  found    {SEAL_FILE} (encoder {seal.encoder_name}, {seal.dim} dimensions)\n"
            f"  missing  {MANIFEST_FILE}",
            f"{ingest_command(folder, seal.encoder_spec)}   (goes on where it stopped)",
        )
    if folder.is_file():
        raise IndexFormatError(f"{folder} is a file; an index is a folder.", "give --index DIR")
    what = "is empty or holds no index" if folder.is_dir() else "does not exist"
    raise IndexFormatError(f"{folder} {what}.", new_index_command(folder))


def find_manifest(folder: Path, name: str = MANIFEST_FILE) -> IndexManifest | None:
    """The manifest of `folder`, or None where none was published yet.

    Raises:
        IndexFormatError: it is damaged, or of a newer format.
    """
    path = folder / name
    if not path.is_file():
        return None
    fix = "ingest the corpus into a new --index folder"
    values = read_json(path, fix=fix)
    _check_sum(values, path, fix)
    try:
        values["seal"] = _seal_from(values["seal"], path, fix)
        values["files"] = [FileEntry(**row) for row in values["files"]]
        known = {each.name for each in fields(IndexManifest)}
        return IndexManifest(**{name: values[name] for name in values if name in known})
    except (KeyError, TypeError) as error:
        raise IndexFormatError(f"{path} is damaged: {error}.", fix) from error


def publish(folder: Path, manifest: IndexManifest, name: str = MANIFEST_FILE) -> None:
    """Make `manifest` what readers see, in one step."""
    values = asdict(manifest)
    write_json(folder / name, {**values, CHECKSUM: fingerprint(values)})


def damaged_files(folder: Path, manifest: IndexManifest) -> dict[str, str]:
    """Files of the manifest that are missing or not as published: path -> what was found.

    Reading all bytes at every opening would cost seconds where a query takes milliseconds. So a
    file is read, and its hash compared, only where its time of change is not the published one:
    something wrote to it. What changes bytes and no time (a failing disk, a copy that keeps times)
    is found by `verify.verify_index` alone.
    """
    wrong = {}
    for entry in manifest.files:
        path = folder / entry.path
        found = path.stat() if path.is_file() else None
        if found is None or found.st_size != entry.size_bytes:
            is_there = "missing" if found is None else f"{found.st_size} bytes"
            wrong[entry.path] = f"written {entry.size_bytes} bytes, found {is_there}"
        elif entry.mtime_ns not in (0, found.st_mtime_ns) and file_hash(path) != entry.sha256:
            wrong[entry.path] = OTHER_BYTES
    return wrong


def damage_error(
    folder: Path, manifest: IndexManifest, wrong: Mapping[str, str]
) -> IndexFormatError:
    """The error about damaged files; those derived from the store can be built again from it."""
    lines = [f"  {path}: {what}" for path, what in wrong.items()]
    command = ingest_command(folder, manifest.seal.encoder_spec)
    quoted = shlex.quote(str(folder))
    is_store = any(path.startswith(STORE_FOLDER) for path in wrong)
    return IndexFormatError(
        f"{folder} is damaged, {len(wrong)} of {len(manifest.files)} files:\n"
        + "\n".join(lines[:5]),
        f"rm -r {quoted} && {command}" if is_store else repair_command(folder),
    )


def check_seal(folder: Path, seal: Seal, encoder: Encoder) -> None:
    """Refuse an encoder that is not the one the index was built with.

    Raises:
        SealError: fingerprints or dimensions differ.
    """
    if (seal.fingerprint, seal.dim) == (encoder.fingerprint, encoder.dim):
        return
    mending = f"search with --encoder {seal.encoder_spec}"
    if encoder.spec == seal.encoder_spec:  # its weights, or how they are computed, have changed
        again = f"--encoder {shlex.quote(encoder.spec)}"
        mending = f"lbr-search reindex {shlex.quote(str(folder))} {again}, from its stored texts"
    raise SealError(
        "index and encoder do not match.\n"
        f"  index    {folder}    encoder {seal.fingerprint[:12]}, {seal.dim} dimensions "
        f"({seal.encoder_name})\n"
        f"  encoder  {encoder.spec}    encoder {encoder.fingerprint[:12]}, {encoder.dim} "
        f"dimensions ({encoder.name})",
        f"{mending}, or build a new index: "
        f"{ingest_command(folder.with_name(folder.name + '-new'), encoder.spec)}",
    )


def golden_vectors(encoder: Encoder) -> Embeddings:
    """(5, D) vectors of `GOLDEN_TEXTS`."""
    return encoder.encode_passages(list(GOLDEN_TEXTS))


def check_golden(folder: Path, seal: Seal, encoder: Encoder) -> None:
    """Refuse an encoder whose fingerprint fits but whose vectors have moved.

    Raises:
        SealError: a golden text is encoded otherwise than when the index was built.
    """
    stored = np.asarray([row.split() for row in seal.golden], dtype=np.float32)
    now = golden_vectors(encoder)
    difference = float(np.abs(stored - now).max())
    norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(now, axis=1)
    cosine = float(((stored * now).sum(axis=1) / np.maximum(norms, 1e-30)).min())
    if difference <= GOLDEN_MAX_DIFFERENCE and cosine >= GOLDEN_MIN_COSINE:
        return
    raise SealError(
        f"the encoder gives other vectors than when {folder} was built, under one fingerprint "
        f"({encoder.fingerprint[:12]}).\n"
        f"  largest difference  {difference:.2e}, at most {GOLDEN_MAX_DIFFERENCE:.0e}\n"
        f"  lowest cosine       {cosine:.6f}, at least {GOLDEN_MIN_COSINE}",
        "lbr-search doctor (versions, bf16), or build the index anew: "
        f"{ingest_command(folder.with_name(folder.name + '-new'), encoder.spec)}",
    )


def _check_sum(values: dict[str, Any], path: Path, fix: str) -> None:
    """Take the checksum out of the manifest's values; earlier versions wrote none."""
    written = values.pop(CHECKSUM, None)
    if written not in (None, fingerprint(values)):
        raise IndexFormatError(f"{path} is damaged: its checksum is that of other values.", fix)


def _seal_from(values: Mapping[str, Any], path: Path, fix: str) -> Seal:
    found = values.get("format")
    if found != FORMAT:
        raise IndexFormatError(
            f"{path} has format {found!r}; this version reads format {FORMAT}.",
            "update lbr-search, or ingest the corpus into a new --index folder",
        )
    try:
        return Seal(**values)
    except TypeError as error:
        raise IndexFormatError(f"{path} is damaged: {error}.", fix) from error
