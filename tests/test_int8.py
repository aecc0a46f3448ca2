"""8-bit products: what they compute, and that vectors stay where float32 ones point."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lbr_search.encoder import int8
from lbr_search.encoder.attention import gather, visible_from
from lbr_search.encoder.batching import prompt_token_ids, tokenize
from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
from lbr_search.encoder.int8_layers import Int8BertLayer, Int8Linear
from lbr_search.encoder.lbr import LbrEncoder
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import EncoderError
from tests.tiny import WORDS, tiny_bert, tiny_bert_model, tiny_model, tiny_tokenizer

CONFIG = LbrConfig(
    name="tiny",
    n_compression_tokens=3,
    max_tokens=12,
    query_prompt="<query>",
    passage_prompt="<passage>",
)
TEXTS = [" ".join(WORDS[: 1 + n % 9]) for n in range(32)]
MODELS = pytest.mark.parametrize("make_model", [tiny_model, tiny_bert_model])

pytestmark = pytest.mark.skipif(
    not int8.is_supported(), reason="this CPU has no 8-bit dot products (VNNI)"
)


def rounded(values: Tensor, low: float, high: float) -> Tensor:
    """What 256 levels between `low` and `high`, one of them 0, keep of values."""
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    codes = (values / scale).round() + zero_point
    return (codes.clamp(0, 255) - zero_point) * scale


def rounded_copy(layer: nn.Module, ranges: int8.Ranges) -> nn.Module:
    """The layer in float32 with weights and inputs of 8 bits: what int8 must compute."""
    layer = copy.deepcopy(layer)
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            scales = module.weight.detach().abs().amax(dim=1, keepdim=True) / 127
            module.weight.data = (module.weight.detach() / scales).round() * scales
            span = ranges[name]
            module.register_forward_pre_hook(lambda _, inputs, span=span: rounded(inputs[0], *span))
    return layer


@pytest.fixture
def float_layer() -> tuple[nn.Module, int8.Ranges]:
    """A BERT layer, and ranges that cut some of its inputs."""
    names = [f"attention.self.{name}" for name in ("query", "key", "value")]
    ranges = dict.fromkeys(names, (-2.0, 2.5))
    ranges |= {"attention.output.dense": (-0.8, 0.8), "intermediate.dense": (-2.0, 2.0)}
    return tiny_bert().bert.encoder.layer[0].eval(), ranges | {"output.dense": (-0.17, 2.0)}


@torch.inference_mode()
def test_a_layer_computes_what_rounded_weights_and_inputs_give(
    float_layer: tuple[nn.Module, int8.Ranges],
):
    """At all places and at some, as the float32 layer whose numbers are rounded to 8 bits."""
    layer, ranges = float_layer
    states = torch.randn(5, 9, 32, generator=torch.Generator().manual_seed(0))
    expected, found = rounded_copy(layer, ranges), Int8BertLayer(layer, ranges)
    # a sum that float32 puts beyond the edge of a level moves it by one: few, and small
    close = torch.isclose(found(states, None), expected(states, None), atol=1e-4)
    assert close.float().mean() > 0.98
    assert (found(states, None) - layer(states, None)).abs().max() > 0.01  # rounding shows
    at = torch.tensor([[2, 5]]).expand(5, -1)
    some = found(states, visible_from(at, 9), at)
    torch.testing.assert_close(some, gather(found(states, None), at), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_layers_of_one_input_give_what_each_gives():
    """Joined layers stand one behind the other, without a bias too."""
    parts = [nn.Linear(32, 8, bias=False), nn.Linear(32, 24, bias=False)]
    inputs = torch.randn(7, 32)
    apart = [Int8Linear([part], low=-2.0, high=2.0)(inputs) for part in parts]
    torch.testing.assert_close(Int8Linear(parts, low=-2.0, high=2.0)(inputs), torch.cat(apart, 1))


@MODELS
def test_int8_keeps_vectors_and_does_not_depend_on_the_batch(
    make_model: Callable[[], LbrModel], tmp_path: Path
):
    """8-bit vectors point where float32 ones do, and are the same alone and in a batch."""
    checkpoint = tmp_path / "tiny"
    save_checkpoint(make_model(), tiny_tokenizer(), CONFIG, checkpoint, dtype=torch.float32)
    single = LbrEncoder(checkpoint, dtype="float32")
    with pytest.raises(EncoderError, match=r"cannot run in int8"):
        LbrEncoder(checkpoint, dtype="int8")
    assert LbrEncoder(checkpoint).spec.endswith(("#float32", "#bfloat16"))
    tokenizer = tiny_tokenizer()
    prompt = prompt_token_ids(tokenizer, "<passage>")
    ids = tokenize(tokenizer, TEXTS, prompt_ids=prompt, max_tokens=12)
    int8.write_ranges(int8.calibrate(single.model, ids), checkpoint)
    small = LbrEncoder(checkpoint, dtype="int8")
    together = small.encode_passages(TEXTS)
    alone = np.concatenate([small.encode_passages([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    cosines = (together * single.encode_passages(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.98
    assert small.fingerprint != single.fingerprint
    # the decoder runs through the same layers
    compressed = single.compress_passages(TEXTS[:3])
    likely = [
        encoder.query_log_likelihood("thins blood", compressed) for encoder in (small, single)
    ]
    np.testing.assert_allclose(*likely, rtol=0.05)


def test_ranges_of_another_model_are_refused(tmp_path: Path):
    """Ranges must name the model's own layers."""
    save_checkpoint(tiny_model(), tiny_tokenizer(), CONFIG, tmp_path / "tiny", dtype=torch.float32)
    int8.write_ranges({"layers.0.mlp.up_proj": (-1.0, 1.0)}, tmp_path / "tiny")
    with pytest.raises(EncoderError, match="describes 1 layers, the model has 14"):
        LbrEncoder(tmp_path / "tiny", dtype="int8")
