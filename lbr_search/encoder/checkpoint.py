"""Checkpoint folders: a Hugging Face causal LM folder plus `lbr.json` and `lbr.safetensors`.

Safetensors and JSON only. The fingerprint covers all that changes a vector.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbr_search.config import fingerprint, from_mapping
from lbr_search.encoder.backbone import load_backbone, read_tokenizer, save_backbone
from lbr_search.encoder.model import LbrModel
from lbr_search.encoder.read_texts import READ_FILE
from lbr_search.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

FORMAT_VERSION = 1
RANGES_FILE = "int8.safetensors"
"""Input ranges of the layers, which only int8 reads (encoder/int8.py)."""
ARITHMETIC = {"int8": "int8, oneDNN, smoothed, 4 columns apart"}
"""How a dtype is computed, where its name does not say it: other vectors, another fingerprint."""


@dataclass(frozen=True, slots=True)
class LbrConfig:
    """What an LBR checkpoint needs besides the backbone's own config."""

    name: str = "lbr"
    """Short name, for tables."""
    n_compression_tokens: int = 4
    """k, 1 to 16."""
    max_tokens: int = 256
    """Longest text in tokens; longer ones are cut and counted."""
    query_prompt: str = ""
    """Put before each query."""
    passage_prompt: str = ""
    """Put before each passage."""
    pooling: str = "mean of compression tokens"
    """Fixed; written so that other programs know."""
    stage: str = "untrained"
    """untrained, stage1 or stage2."""
    dims: tuple[int, ...] = ()
    """Sizes of vectors that were trained (Matryoshka), the whole first; empty = the whole only."""
    training: dict[str, str] = field(default_factory=dict)
    """Recipe, data and steps, in words."""


def save_checkpoint(
    model: LbrModel,
    tokenizer: Tokenizer,
    config: LbrConfig,
    folder: Path,
    *,
    dtype: torch.dtype,
    max_shard_bytes: int = 2**40,
) -> None:
    """Write a checkpoint beside `folder`, then put it in its place in one rename.

    Args:
        model: its weights are written as `dtype`.
        tokenizer: saved with it.
        config: becomes `lbr.json`.
        folder: replaced if it is there.
        dtype: float32 or bfloat16.
        max_shard_bytes: weights larger than this are split over several files.
    """
    from safetensors.torch import save_file

    partial = folder.with_name(folder.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    save_backbone(model.backbone, partial, dtype=dtype, max_shard_bytes=max_shard_bytes)
    extras = {"compression": model.compression, "bridge.weight": model.bridge.weight}
    save_file(
        {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in extras.items()},
        partial / "lbr.safetensors",
    )
    tokenizer.save(str(partial / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast"}  # for those who open it elsewhere
    (partial / "tokenizer_config.json").write_text(json.dumps(names) + "\n", "utf-8")
    described = {"format_version": FORMAT_VERSION, **asdict(config)}
    (partial / "lbr.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    if old.exists():
        shutil.rmtree(old)


def read_config(folder: Path) -> LbrConfig:
    """Read `lbr.json`.

    Raises:
        EncoderError: the folder is no LBR checkpoint, or of a later format.
    """
    path = folder / "lbr.json"
    if not path.is_file():
        raise EncoderError(
            f"{folder} is not an LBR checkpoint: it holds no lbr.json.",
            "give the folder that `lbr-search train all RECIPE --out DIR` wrote, or st:FOLDER "
            "for a sentence-transformers model",
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = values.pop("format_version")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
        raise _damaged(folder, f"lbr.json: {error!r}") from error
    if version != FORMAT_VERSION:
        raise EncoderError(
            f"{folder} has checkpoint format {version}; this program reads {FORMAT_VERSION}.",
            "install the version of lbr-search that wrote it",
        )
    try:
        return from_mapping(LbrConfig, values, where=str(path))
    except ConfigError as error:
        raise _damaged(folder, error.message) from error


def load_checkpoint(folder: Path, *, dtype: torch.dtype) -> tuple[LbrModel, Tokenizer, LbrConfig]:
    """Read what `save_checkpoint` wrote.

    Raises:
        EncoderError: a file is missing, truncated or of the wrong shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(folder)
    try:
        backbone = load_backbone(str(folder), dtype=dtype)
        extras = load_file(folder / "lbr.safetensors")
        tokenizer = read_tokenizer(str(folder))
        model = LbrModel(backbone, n_compression_tokens=config.n_compression_tokens)
        model.load_state_dict(
            {name: tensor.to(dtype) for name, tensor in extras.items()}, strict=False
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise _damaged(folder, str(error)) from error
    if set(extras) != {"compression", "bridge.weight"}:
        raise _damaged(folder, f"lbr.safetensors holds {sorted(extras)}")
    return model.to(dtype), tokenizer, config


def checkpoint_fingerprint(folder: Path, *, dtype: str, dim: int | None = None) -> str:
    """Hex digest of weights, tokenizer, backbone config, k, pooling, limit, prompts and dtype.

    Args:
        folder: a checkpoint.
        dtype: that it runs in.
        dim: size that vectors are shortened to; None = whole vectors.
    """
    config = read_config(folder)
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".safetensors" or path.name in ("tokenizer.json", "config.json")
        if path.name != READ_FILE and (path.name != RANGES_FILE or dtype == "int8")
    )
    return fingerprint(
        {
            "files": {path.name: hash_file(path) for path in files},
            "n_compression_tokens": config.n_compression_tokens,
            "pooling": config.pooling,
            "max_tokens": config.max_tokens,
            "prompts": [config.query_prompt, config.passage_prompt],
            "dtype": ARITHMETIC.get(dtype, dtype),
            **({} if dim is None else {"dim": dim}),
        }
    )


def hash_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _damaged(folder: Path, what: str) -> EncoderError:
    return EncoderError(
        f"the checkpoint {folder} is damaged or incomplete: {what}",
        "copy the folder again from where it was trained, or train it again with "
        "`lbr-search train all RECIPE --out DIR`",
    )
