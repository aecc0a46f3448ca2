"""`cross-encoder:FOLDER`: a Hugging Face cross-encoder, which reads query and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.errors import EncoderError, MissingExtraError
from lbr_search.protocols import Encoder, Passage
from lbr_search.quiet import quiet_loading
from lbr_search.types import Compressed

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReranker:
    """A sentence-transformers `CrossEncoder` on the first GPU, else on the CPU.

    Args:
        encoder: not used; a cross-encoder reads text.
        argument: its folder.

    Raises:
        EncoderError: the folder does not load, or gives several scores a pair.
        MissingExtraError: sentence-transformers is absent.
    """

    needs_vectors = False
    is_listwise = False

    def __init__(self, encoder: Encoder, argument: str) -> None:
        self._model = load_cross_encoder(argument)

    def score(
        self,
        query: str,
        passages: Sequence[Passage],
        *,
        query_vectors: Compressed | None = None,
    ) -> list[float]:
        """The model's own score of each pair; its scale is the model's."""
        pairs = [(query, passage.text) for passage in passages]
        scores = self._model.predict(pairs, show_progress_bar=False)
        return [float(score) for score in scores]


def load_cross_encoder(folder: str) -> CrossEncoder:
    """Open a cross-encoder of sentence-transformers, for reranking or as a teacher.

    Nothing is downloaded.

    Raises:
        EncoderError: the folder does not load, or gives several scores a pair.
        MissingExtraError: the library is absent.
    """
    try:
        from sentence_transformers import CrossEncoder
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a cross-encoder needs the package {error.name!r}, which is not installed.",
            'pip install "lbr-search[peers]"',
        ) from error
    from safetensors import SafetensorError

    if not (Path(folder) / "config.json").is_file():
        raise EncoderError(
            f"{folder or '(no name)'} is not a cross-encoder folder: it has no config.json.",
            "give a folder that CrossEncoder.save_pretrained wrote, e.g. "
            "--rerank cross-encoder:models/ms-marco",
        )
    failures = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)
    try:
        with quiet_loading():
            model = CrossEncoder(folder, local_files_only=True)
    except failures as error:
        raise EncoderError(
            f"{folder} does not load as a cross-encoder: {error}",
            "check the folder with CrossEncoder(FOLDER), or copy it again",
        ) from error
    if model.num_labels != 1:
        raise EncoderError(
            f"the cross-encoder {folder} gives {model.num_labels} scores a pair, not one.",
            "give one that was trained to rank (num_labels = 1)",
        )
    return model
