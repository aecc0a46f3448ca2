"""What a run starts from: tokenizer, backbone and compression tokens, as its recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lbr_search.encoder.backbone import Backbone, load_backbone, read_tokenizer
from lbr_search.encoder.checkpoint import load_checkpoint
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.encoder.load import checkpoint_folder
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import ConfigError
from lbr_search.train.backbone import (
    causal_from_encoder,
    start_as_bag_of_words,
    start_compression_at,
)
from lbr_search.train.recipe import ModelConfig, Recipe
from lbr_search.train.sources import tokenizer_texts
from lbr_search.train.tokens import train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def untrained_model(shape: ModelConfig, tokenizer: Tokenizer) -> LbrModel:
    """The network before any step.

    Raises:
        ConfigError: it goes on from a checkpoint with other settings than the recipe's.
    """
    if shape.from_checkpoint:
        return _continued(shape)
    backbone = new_backbone(shape, tokenizer)
    model = LbrModel(backbone, n_compression_tokens=shape.n_compression_tokens)
    if shape.compression_token:
        start_compression_at(model, tokenizer, shape.compression_token)
    elif not shape.backbone:
        model.compression.data.mul_(shape.compression_scale)
    return model


def _continued(shape: ModelConfig) -> LbrModel:
    folder = checkpoint_folder(shape.from_checkpoint)
    model, _, config = load_checkpoint(folder, dtype=torch.float32)
    for name in ("n_compression_tokens", "max_tokens", "query_prompt", "passage_prompt"):
        wanted, found = getattr(shape, name), getattr(config, name)
        if wanted != found:  # its vectors would no longer be those that it learnt
            raise ConfigError(
                f"{folder} was trained with {name} = {found!r}, the recipe has {wanted!r}.",
                f"--set model.{name}={found}",
            )
    return model


def new_backbone(shape: ModelConfig, tokenizer: Tokenizer) -> Backbone:
    """A pretrained causal LM, an encoder made causal, or a Llama that starts as a bag of words."""
    if shape.backbone:
        return load_backbone(shape.backbone, dtype=torch.float32)
    if shape.from_encoder:
        return causal_from_encoder(shape.from_encoder)[0]
    backbone = LlamaBackbone(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_heads,
            # room for the prompt, the compression tokens, and stage 1's text and target
            max_position_embeddings=2 * shape.max_tokens + 64,
        )
    )
    if shape.value_scale:
        start_as_bag_of_words(backbone, scale=shape.value_scale)
    return backbone


def tokenizer_of(recipe: Recipe, out: Path, data: Path) -> Tokenizer:
    """The backbone's own, or one trained on the data, kept in the run's folder."""
    if recipe.model.backbone:
        return read_tokenizer(recipe.model.backbone)
    if recipe.model.from_checkpoint:
        return read_tokenizer(str(checkpoint_folder(recipe.model.from_checkpoint)))
    if recipe.model.from_encoder:
        return read_tokenizer(str(causal_from_encoder(recipe.model.from_encoder)[1]))
    folder = out / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prompts = (recipe.model.query_prompt, recipe.model.passage_prompt)
        tokenizer = train_tokenizer(
            tokenizer_texts(recipe.data, data),
            vocab_size=recipe.model.vocab_size,
            special_tokens=[prompt for prompt in dict.fromkeys(prompts) if prompt],
        )
        tokenizer.save(str(folder / "tokenizer.json.partial"))
        (folder / "tokenizer.json.partial").rename(folder / "tokenizer.json")
    return read_tokenizer(str(folder))
