"""A suite's index for an encoder: built once, kept under ``indexes/bench``, used again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from lbr_search import __version__
from lbr_search.bench.results import SuiteIngest
from lbr_search.config import ChunkConfig, IndexConfig, fingerprint, to_mapping
from lbr_search.corpus.chunking import chunk_documents
from lbr_search.corpus.suite import Suite
from lbr_search.errors import IndexFormatError
from lbr_search.index.build import build
from lbr_search.index.manifest import IndexManifest, load_manifest
from lbr_search.index.opened import open_index
from lbr_search.index.report import BuildProgress
from lbr_search.protocols import Encoder

BENCH_INDEXES = Path("indexes") / "bench"
"""Below a home; nothing but what a benchmark can make again lies there."""
QUERIES = "queries"
"""Below that: the vectors of suites' queries."""
_KEY_CHARACTERS = 12


def ingest_suite(  # noqa: PLR0913 - each decides what the index holds or whether it is made
    suite: Suite,
    encoder: Encoder,
    *,
    home: Path,
    chunk: ChunkConfig,
    config: IndexConfig,
    is_fresh: bool,
    progress: Callable[[BuildProgress], None] | None = None,
) -> tuple[SuiteIngest, list[str]]:
    """Find or build the index of `suite` for `encoder`.

    An index that is there is used when its seal and its golden vectors are those of the encoder.
    One that was cut off is gone on with, and its documents/s are those of what was left; one that
    is damaged is built anew, with a warning.

    Returns:
        The index, and warnings.

    Raises:
        IndexFormatError: another process is building it, or the disk is full or read-only.
    """
    folder = index_folder(suite, encoder, home=home, chunk=chunk, config=config)
    warnings: list[str] = []
    if is_fresh and folder.exists():
        shutil.rmtree(folder)
    manifest = None
    if (folder / "manifest.json").is_file():
        try:
            manifest = open_index(folder, encoder=encoder).manifest
        except IndexFormatError as error:
            warnings.append(f"the cached index was built anew: {error.message.splitlines()[0]}")
            shutil.rmtree(folder)
    is_reused = manifest is not None
    if manifest is None:
        chunks = chunk_documents(suite.documents(), token_spans=encoder.token_spans, config=chunk)
        report = build(
            chunks,
            encoder=encoder,
            folder=folder,
            config=config,
            domain=suite.domain,
            progress=progress,
        )
        warnings.extend(report.warnings)
        manifest = load_manifest(folder)
    return _describe(manifest, folder, encoder, is_reused=is_reused), warnings


def index_folder(
    suite: Suite, encoder: Encoder, *, home: Path, chunk: ChunkConfig, config: IndexConfig
) -> Path:
    """Where the index lies; another suite, encoder or setting gives another folder."""
    key = fingerprint(
        {
            "suite": suite.content_hash,
            "domain": suite.domain,
            "encoder": encoder.fingerprint,
            "chunk": to_mapping(chunk),
            "index": to_mapping(config),
            "version": __version__,
        }
    )
    return home / BENCH_INDEXES / f"{suite.name}-{key[:_KEY_CHARACTERS]}"


def _describe(
    manifest: IndexManifest, folder: Path, encoder: Encoder, *, is_reused: bool
) -> SuiteIngest:
    totals = manifest.totals
    return SuiteIngest(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        folder=folder,
        is_reused=is_reused,
        n_documents=manifest.n_documents,
        n_chunks=manifest.n_chunks,
        n_built=manifest.last_build["n_added"] + manifest.last_build["n_updated"],
        n_truncated=int(totals["n_truncated"]),
        n_tokens_lost=int(totals["n_tokens_lost"]),
        encode_seconds=totals["encode_seconds"],
        seconds=float(manifest.last_build["seconds"]["total"]),
        analyser=manifest.seal.analyser,
        backend=manifest.backend,
        ann=manifest.ann,
        index_mb=sum(entry.size_bytes for entry in manifest.files) / 1e6,
    )
