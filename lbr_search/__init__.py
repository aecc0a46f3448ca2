"""Retrieval for specialised domains: learn before represent, index, search, and measure.

    from lbr_search import Encoder, Searcher, build_index, run_bench

The names are resolved on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lbr_search import protocols
    from lbr_search.bench.runner import run_bench
    from lbr_search.ingest import build_index
    from lbr_search.search.searcher import Searcher

__version__ = "0.1.0"
__all__ = ["Encoder", "Searcher", "__version__", "build_index", "run_bench"]

_WHERE = {
    "Searcher": "lbr_search.search.searcher",
    "build_index": "lbr_search.ingest",
    "run_bench": "lbr_search.bench.runner",
}


class Encoder:
    """Opens encoders; what it returns is a `protocols.Encoder`."""

    @staticmethod
    def load(spec: str = "lbr-mini") -> protocols.Encoder:
        """Open an encoder: ``lbr-mini``, a checkpoint folder, or ``st:NAME``.

        Raises:
            EncoderError: there is no such encoder, or it is damaged.
            MissingExtraError: its package is not installed.
        """
        from lbr_search.encoder.load import load_encoder

        return load_encoder(spec)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
