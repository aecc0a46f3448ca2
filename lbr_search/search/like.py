"""More like a document: its stored vectors as the query, itself left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lbr_search.errors import ConfigError
from lbr_search.search.ranking import Candidate, fuse
from lbr_search.search.retrieval import Asked, retrieve
from lbr_search.search.sources import Source
from lbr_search.types import Embeddings


@dataclass(frozen=True, slots=True)
class Model:
    """The document that others shall be like."""

    source: str
    doc_id: str
    vector: Embeddings
    """(1, D) of length 1: the mean of the vectors of its chunks."""
    fingerprint: str
    """Of the encoder that made it."""


def find_model(doc_id: str, sources: Mapping[str, Source]) -> Model:
    """The document called `doc_id`, from the one source that holds it.

    Raises:
        ConfigError: no source holds it, or several.
    """
    rows: dict[str, NDArray[np.int64]] = {
        name: source.opened.rows_of(doc_id) for name, source in sources.items()
    }
    holding = [name for name, found in rows.items() if len(found)]
    if not holding:
        raise ConfigError(
            f"no document is called {doc_id!r} in {', '.join(sources)}.",
            'lbr-search query "WORDS" --json shows the doc_id of each hit',
        )
    if len(holding) > 1:
        raise ConfigError(
            f"several indexes hold a document {doc_id!r}: {', '.join(holding)}.",
            "name one with --index DIR",
        )
    opened = sources[holding[0]].opened
    vectors = opened.vectors(rows[holding[0]])  # (chunks, D)
    mean = vectors.mean(axis=0, keepdims=True)
    length = np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    vector = np.ascontiguousarray(mean / length, dtype=np.float32)
    return Model(holding[0], doc_id, vector, opened.manifest.seal.fingerprint)


def nearest(
    model: Model, source: Source, *, k: int, allowed: NDArray[np.int64] | None
) -> list[Candidate]:
    """The `k` documents of a source whose best chunk is nearest to `model`, which is left out."""
    asked = Asked([""], model.vector, [()])
    (legs,) = retrieve(source.opened, asked, mode="dense", n_documents=k + 1, allowed=allowed)
    if source.name == model.source:
        for column in legs["dense"]:
            column.pop(model.doc_id, None)
    return fuse(source.name, legs, source.settings.config, k=k)
