"""A two-layer random LBR model with a byte-level tokenizer, for tests that need a real network."""

from __future__ import annotations

from pathlib import Path

import torch

from lbr_search.encoder.bert import BertBackbone, BertConfig
from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.encoder.model import LbrModel
from lbr_search.train.tokens import train_tokenizer

WORDS = "insulin lowers glucose aspirin thins blood sort a list in place benzene ring".split()  # noqa: SIM905


def tiny_tokenizer():
    return train_tokenizer(
        [" ".join(WORDS)] * 3, vocab_size=400, special_tokens=["<query>", "<passage>"]
    )


def tiny_backbone(vocab_size: int = 400, kv_heads: int = 2) -> LlamaBackbone:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=256,
    )
    backbone = LlamaBackbone(config)
    for parameter in backbone.parameters():
        if parameter.dim() >= 2:  # wide, so that a wrong mask or position changes vectors visibly
            torch.nn.init.normal_(parameter, std=0.2)
    return backbone


def tiny_bert() -> BertBackbone:
    torch.manual_seed(0)
    backbone = BertBackbone(
        BertConfig(
            vocab_size=400,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    )
    for parameter in backbone.parameters():  # also biases: a forgotten one must show
        torch.nn.init.normal_(parameter, std=0.2)
    return backbone


def tiny_model(k: int = 3, kv_heads: int = 2) -> LbrModel:
    backbone = tiny_backbone(kv_heads=kv_heads)
    torch.manual_seed(1)
    return LbrModel(backbone, n_compression_tokens=k).eval()


def tiny_encoder(folder: Path, k: int = 3) -> LbrEncoder:
    """`tiny_model` as a checkpoint on disk, opened for search in float32."""
    config = LbrConfig(
        name="tiny",
        n_compression_tokens=k,
        max_tokens=24,
        query_prompt="<query>",
        passage_prompt="<passage>",
    )
    save_checkpoint(tiny_model(k), tiny_tokenizer(), config, folder, dtype=torch.float32)
    return LbrEncoder(folder, dtype="float32")


def tiny_bert_model(k: int = 3) -> LbrModel:
    backbone = tiny_bert()
    torch.manual_seed(1)
    return LbrModel(backbone, n_compression_tokens=k).eval()
