"""`cross-encoder:FOLDER`: a Hugging Face cross-encoder, which reads query and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbr_search.errors import EncoderError
from lbr_search.protocols import Encoder, Passage


class CrossEncoderReranker:
    """A sentence-transformers `CrossEncoder` on the first GPU, else on the CPU.

    Args:
        encoder: not used; a cross-encoder reads text.
        argument: its folder.

    Raises:
        EncoderError: the folder is missing or holds no cross-encoder.
    """

    needs_vectors = False

    def __init__(self, encoder: Encoder, argument: str) -> None:
        from sentence_transformers import CrossEncoder

        if not Path(argument).is_dir():
            raise EncoderError(
                f"there is no cross-encoder {argument!r}: not a folder.",
                "give one, e.g. --rerank cross-encoder:models/ms-marco",
            )
        try:
            self._model = CrossEncoder(argument, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EncoderError(
                f"{argument} does not load as a cross-encoder: {error}",
                "give a folder with the model's config.json, safetensors and tokenizer",
            ) from error

    def score(self, query: str, passages: Sequence[Passage]) -> list[float]:
        """The model's own score of each pair; its scale is the model's."""
        pairs = [(query, passage.text) for passage in passages]
        scores = self._model.predict(pairs, show_progress_bar=False)
        return [float(score) for score in scores]
