"""What encodes the chunks of an index: one vector each, and compressed ones where it keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbr_search.errors import EncoderError
from lbr_search.index.manifest import Seal, check_golden
from lbr_search.index.multi_vectors import quantise
from lbr_search.index.writer import Embed, Encoded
from lbr_search.protocols import CompressingEncoder, Encoder, EncodeReport
from lbr_search.types import Chunk, pool


def n_vectors_of(encoder: Encoder) -> int:
    """How many compressed vectors a chunk has.

    Raises:
        EncoderError: the encoder makes one vector a text.
    """
    if isinstance(encoder, CompressingEncoder):
        return encoder.n_compression_tokens
    raise EncoderError(
        f"the encoder {encoder.name} makes one vector a text, and --multi-vector keeps several.",
        "use an LBR encoder, e.g. --encoder lbr-mini, or leave --multi-vector out",
    )


def embedder(
    encoder: Encoder, folder: Path, seal: Seal, *, n_vectors: int, is_checked: bool
) -> Embed:
    """Chunks -> vectors. An encoder that continues an index is checked on its first use.

    Not before: a run that finds nothing to encode should not encode five texts either.

    Args:
        encoder: the one that `seal` names.
        folder: the index, for the error.
        seal: of the index.
        n_vectors: compressed vectors to keep of each chunk; 0 = none.
        is_checked: its golden vectors were made by this very encoder, just now.
    """

    def embed(chunks: Sequence[Chunk], report: EncodeReport) -> Encoded:
        nonlocal is_checked
        if not is_checked:
            check_golden(folder, seal, encoder)
            is_checked = True
        passages = [chunk.passage for chunk in chunks]
        if not n_vectors:
            return encoder.encode_passages(passages, report=report), None
        assert isinstance(encoder, CompressingEncoder), "the fingerprint is that of such an encoder"
        compressed = encoder.compress_passages(passages, report=report)
        return pool(compressed), quantise(compressed)

    return embed
