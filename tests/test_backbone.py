"""Our plain Llama equals the one of transformers, and other causal LMs use the same door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, Qwen3Config
from transformers import BertConfig as TheirBertConfig
from transformers import LlamaConfig as TheirConfig

from lbr_search.encoder.attention import gather
from lbr_search.encoder.backbone import (
    TransformersBackbone,
    load_backbone,
    save_backbone,
)
from lbr_search.encoder.batching import collate
from lbr_search.encoder.bert import BertBackbone
from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.encoder.model import LbrModel, embed
from lbr_search.errors import EncoderError
from tests.tiny import tiny_backbone, tiny_bert, tiny_tokenizer

TEXTS = [[5, 9, 30, 31, 7], [8], [40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50], [9, 8, 7]]


@pytest.mark.parametrize("kv_heads", [2, 4])
@pytest.mark.parametrize("is_tied", [True, False])
def test_our_llama_equals_the_one_of_transformers(tmp_path: Path, kv_heads: int, is_tied: bool):
    """Written by us and opened by transformers: the same logits, also under left padding."""
    ours = tiny_backbone(kv_heads=kv_heads)
    if not is_tied:
        values = {**ours.config.to_transformers(), "tie_word_embeddings": False}
        ours = LlamaBackbone(LlamaConfig.from_transformers(values))
    save_backbone(ours, tmp_path, dtype=torch.float32, max_shard_bytes=2**40)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    batch = collate(TEXTS, n_compression_tokens=0, padding_side="left")
    with torch.inference_mode():
        states = ours.states(
            ours.embedding(batch.input_ids),
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        )
        logits = ours.logits(states)
        expected = theirs(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        ).logits
    is_text = batch.text_mask
    torch.testing.assert_close(logits[is_text], expected[is_text], atol=2e-5, rtol=0)


def test_a_llama_of_transformers_opens_as_ours(tmp_path: Path):
    """The other way round: transformers writes, we read, the same states."""
    config = tiny_backbone().config.to_transformers()
    theirs = AutoModelForCausalLM.from_config(
        TheirConfig(**config), attn_implementation="sdpa"
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_backbone(str(tmp_path), dtype=torch.float32)
    assert isinstance(ours, LlamaBackbone)
    ids = torch.tensor(TEXTS[:1])
    with torch.inference_mode():
        logits = ours.logits(ours.states(ours.embedding(ids)))
        torch.testing.assert_close(logits, theirs(input_ids=ids).logits, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mistral"},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"head_dim": 16},
    ],
)
def test_what_our_llama_does_not_do_is_left_to_transformers(change: dict[str, object]):
    """A config that asks for more than we compute is never opened as ours."""
    values = {**tiny_backbone().config.to_transformers()}
    assert LlamaConfig.from_transformers(values) is not None
    assert LlamaConfig.from_transformers({**values, **change}) is None


SIZES = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS = {
    "qwen3": Qwen3Config(**SIZES, intermediate_size=48, num_key_value_heads=2, head_dim=16),
    "gpt2": GPT2Config(
        vocab_size=400, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_causal_lm_becomes_an_encoder(tmp_path: Path, kind: str):
    """Another architecture is saved, reopened, and gives one vector a text whatever its batch."""
    torch.manual_seed(0)
    lm = AutoModelForCausalLM.from_config(OTHERS[kind], attn_implementation="sdpa").float()
    model = LbrModel(TransformersBackbone(lm), n_compression_tokens=2).eval()
    config = LbrConfig(name=kind, n_compression_tokens=2, max_tokens=20)
    save_checkpoint(model, tiny_tokenizer(), config, tmp_path / "c", dtype=torch.float32)
    encoder = LbrEncoder(tmp_path / "c", dtype="float32")
    assert isinstance(encoder.model.backbone, TransformersBackbone)
    texts = ["insulin lowers glucose", "sort", "benzene ring in place"]
    together = encoder.encode_passages(texts)
    alone = np.concatenate([encoder.encode_passages([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-5
    batch = collate(TEXTS, n_compression_tokens=2)
    with torch.inference_mode():
        right = embed(model.compress(batch)[0])
        left = embed(model.compress(collate(TEXTS, n_compression_tokens=2, padding_side="left"))[0])
    assert (right - left).abs().max() < 1e-5


def test_eager_attention_is_refused():
    """Eager attention adds boolean masks as 1.0 and leaks, so it is an error."""
    lm = AutoModelForCausalLM.from_config(OTHERS["qwen3"], attn_implementation="eager")
    with pytest.raises(EncoderError, match="eager"):
        TransformersBackbone(lm)


def test_our_bert_equals_the_causal_one_of_transformers(tmp_path: Path):
    """Written by us and opened by transformers: the same logits, also under left padding."""
    ours = tiny_bert()
    save_backbone(ours, tmp_path, dtype=torch.float32, max_shard_bytes=2**40)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="sdpa").eval()
    assert type(theirs).__name__ == "BertLMHeadModel"
    batch = collate(TEXTS, n_compression_tokens=0, padding_side="left")
    with torch.inference_mode():
        states = ours.states(
            ours.embedding(batch.input_ids),
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        )
        logits = ours.logits(states)
        expected = theirs(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        ).logits
    is_text = batch.text_mask
    torch.testing.assert_close(logits[is_text], expected[is_text], atol=2e-5, rtol=0)


def test_a_causal_bert_of_transformers_opens_as_ours(tmp_path: Path):
    """The other way round, and the last layer at a few places equals the whole pass there."""
    values = tiny_bert().config.to_transformers()
    del values["architectures"]
    theirs = AutoModelForCausalLM.from_config(
        TheirBertConfig(**values), attn_implementation="sdpa"
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_backbone(str(tmp_path), dtype=torch.float32)
    assert isinstance(ours, BertBackbone)
    ids = torch.tensor([[5, 9, 30, 31, 7], [8, 6, 4, 9, 9]])
    places = torch.tensor([[1, 4], [0, 3]])
    with torch.inference_mode():
        states = ours.states(ours.embedding(ids))
        torch.testing.assert_close(
            ours.logits(states), theirs(input_ids=ids).logits, atol=2e-5, rtol=0
        )
        some = ours.states(ours.embedding(ids), at=places)
    torch.testing.assert_close(some, gather(states, places), atol=1e-5, rtol=0)


def test_a_text_longer_than_the_positions_is_refused():
    """Learned positions end somewhere; the error says where."""
    ours = tiny_bert()
    with pytest.raises(EncoderError, match=r"70 places.*64 positions"):
        ours.states(torch.zeros(1, 70, 32))


def test_a_backbone_that_is_not_causal_is_refused(tmp_path: Path):
    """A bidirectional BERT loads as a causal LM in transformers; here it is found out."""
    values = {**tiny_bert().config.to_transformers(), "is_decoder": False}
    lm = AutoModelForCausalLM.from_config(TheirBertConfig(**values))
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    lm.save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="not causal"):
        load_backbone(str(tmp_path), dtype=torch.float32)
