"""How a backbone begins that is not a pretrained causal LM: as a bag of words, or as an encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lbr_search.encoder.bert import BertBackbone, BertConfig
from lbr_search.encoder.llama import LlamaBackbone
from lbr_search.encoder.model import LbrModel
from lbr_search.encoder.peer import locate_model
from lbr_search.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NOISE = 0.02
"""Standard deviation added to the identity, so that the heads of a layer can part."""
TOKEN_NOISE = 2.0
"""Spread added to a token's embedding, times its own: compression tokens that begin alike stay
alike (cosine of the rows of Z 0.99 after a hundred steps) and carry what one of them would."""


def start_as_bag_of_words(backbone: LlamaBackbone, *, scale: float) -> None:
    """Set the value and output projections of every attention layer to `scale` times identity.

    With small random queries and keys, attention is nearly uniform, so a compression token begins
    as the mean of the text's token embeddings: two texts that share words are near at step 0, and
    contrastive training refines that instead of having to find it. Idea: mimetic initialisation
    (Trockman and Kolter 2023, arXiv:2305.09828); the scale and the purpose are ours.

    Args:
        backbone: a Llama with as many key-value heads as heads; changed in place.
        scale: > 0; larger lets the text outweigh the residual stream.
    """
    with torch.no_grad():
        for name, weight in backbone.named_parameters():
            if name.endswith(("v_proj.weight", "o_proj.weight")):
                size = weight.shape[0]
                weight.copy_(torch.eye(size) * scale + torch.randn(size, size) * NOISE)


def causal_from_encoder(name_or_folder: str) -> tuple[BertBackbone, Path]:
    """A causal BERT with the weights of a bidirectional encoder; its output layer is new.

    Args:
        name_or_folder: as for the `st:` encoders: a folder, or a model that a package carries.

    Returns:
        The backbone, and the folder with the tokenizer.

    Raises:
        EncoderError: the encoder is no BERT, or has no safetensors.
    """
    from safetensors.torch import load_file

    folder, _, _ = locate_model(name_or_folder)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    config = BertConfig.from_transformers(values, is_causal=False)
    files = sorted(folder.glob("model*.safetensors"))
    if config is None or not files:
        found = f"model_type {values.get('model_type')!r}, {len(files)} safetensors files"
        raise EncoderError(
            f"{folder} is not a BERT encoder with safetensors weights: {found}.",
            "give a BERT encoder as from_encoder, or a causal LM as backbone",
        )
    backbone = BertBackbone(config)
    weights: dict[str, torch.Tensor] = {}
    for path in files:
        weights |= load_file(path)
    body = {name.removeprefix("bert."): tensor.float() for name, tensor in weights.items()}
    own = backbone.bert.state_dict()
    backbone.bert.load_state_dict({name: body[name] for name in own})
    return backbone, folder


def start_compression_at(model: LbrModel, tokenizer: Tokenizer, token: str) -> None:
    """Let every compression token begin as the embedding of one token, with noise to part them.

    A BERT has learned to gather the text's meaning at its end-of-text token.

    Args:
        model: changed in place.
        tokenizer: knows the token.
        token: e.g. ``[SEP]``.

    Raises:
        EncoderError: the tokenizer has no such token.
    """
    row = tokenizer.token_to_id(token)
    if row is None:
        raise EncoderError(
            f"the tokenizer has no token {token!r} for the compression tokens to begin as.",
            "set compression_token in [model] to one of its special tokens",
        )
    with torch.no_grad():
        start = model.backbone.embedding.weight[row]
        noise = torch.randn_like(model.compression) * TOKEN_NOISE * start.std()
        model.compression.copy_(start + noise)
