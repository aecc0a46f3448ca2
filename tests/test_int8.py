"""8-bit products: what they compute, and that vectors stay where float32 ones point."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lbr_search.encoder import int8
from lbr_search.encoder.attention import gather, visible_from
from lbr_search.encoder.batching import prompt_token_ids, tokenize
from lbr_search.encoder.checkpoint import LbrConfig, save_checkpoint
from lbr_search.encoder.int8_layers import (
    LARGE_COLUMNS,
    Int8BertLayer,
    Int8Linear,
    Int8Output,
    smoothing,
)
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
    """The layer in float32 with weights and inputs of 8 bits: what int8 must compute.

    All but the largest columns that its last product reads, and what makes them.
    """
    layer = copy.deepcopy(layer)
    outer = layer.output.dense
    large = ranges["output.dense"].abs().amax(dim=0).topk(LARGE_COLUMNS).indices
    made, read = copy.deepcopy(layer.intermediate.dense), outer.weight.detach()[:, large]
    outer.weight.data[:, large] = 0.0
    layer.output.register_forward_pre_hook(
        lambda _, parts: (parts[0], parts[1] + functional.gelu(made(parts[1])[..., large]) @ read.T)
    )
    attention = layer.attention.self
    asking = [attention.query, attention.key, attention.value]
    inner = [layer.intermediate.dense]
    shared = smoothing(asking, ranges["attention.self.query"])
    smooth = {id(module): shared for module in asking}
    smooth[id(inner[0])] = smoothing(inner, ranges["intermediate.dense"])
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            factor = smooth.get(id(module), torch.ones(module.in_features))
            weight = module.weight.detach() * factor
            scales = weight.abs().amax(dim=1, keepdim=True) / 127
            module.weight.data = (weight / scales).round() * scales
            low, high = ranges[name] / factor
            span = float(low.min()), float(high.max())
            module.register_forward_pre_hook(
                lambda _, inputs, by=factor, span=span: rounded(inputs[0] * (1 / by), *span)
            )
    return layer


def spans(low: float, high: float, size: int = 32) -> Tensor:
    """The same range for every column."""
    return torch.tensor([[low], [high]]).expand(2, size).contiguous()


@pytest.fixture
def float_layer() -> tuple[nn.Module, int8.Ranges]:
    """A BERT layer, and ranges that cut some of its inputs."""
    names = [f"attention.self.{name}" for name in ("query", "key", "value")]
    layer = tiny_bert().bert.encoder.layer[0].eval()
    ranges = dict.fromkeys(names, spans(-2.0, 2.5))
    ranges |= {"attention.output.dense": spans(-0.8, 0.8), "intermediate.dense": spans(-2.0, 2.0)}
    ranges["output.dense"] = spans(-0.17, 2.0, layer.output.dense.in_features)
    return layer, ranges


@torch.inference_mode()
def test_a_layer_computes_what_rounded_weights_and_inputs_give(
    float_layer: tuple[nn.Module, int8.Ranges],
):
    """At all places and at some, as the float32 layer whose numbers are rounded to 8 bits."""
    layer, ranges = float_layer
    states = torch.randn(5, 9, 32, generator=torch.Generator().manual_seed(0))
    expected, found = rounded_copy(layer, ranges), Int8BertLayer(layer, ranges)
    # what float32 puts beyond the edge of a level moves it by one, and a row with it: few, small
    away = (found(states, None) - expected(states, None)).abs()
    assert (away < 1e-4).float().mean() > 0.9 and away.max() < 0.01
    assert (found(states, None) - layer(states, None)).abs().max() > 0.01  # rounding shows
    at = torch.tensor([[2, 5]]).expand(5, -1)
    some = found(states, visible_from(at, 9), at)
    torch.testing.assert_close(some, gather(found(states, None), at), atol=1e-4, rtol=0)


@torch.inference_mode()
def test_layers_of_one_input_give_what_each_gives():
    """Joined layers stand one behind the other, without a bias too."""
    parts = [nn.Linear(32, 8, bias=False), nn.Linear(32, 24, bias=False)]
    inputs = torch.randn(7, 32)
    apart = [Int8Linear([part], spans(-2.0, 2.0))(inputs) for part in parts]
    torch.testing.assert_close(Int8Linear(parts, spans(-2.0, 2.0))(inputs), torch.cat(apart, 1))


@torch.inference_mode()
def test_smoothing_keeps_small_columns_beside_a_large_one():
    """One column thirty times as large as the others: the error falls to less than half."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(200, 32, generator=generator)
    inputs[:, 5] *= 30
    linear = nn.Linear(32, 16)
    measured = torch.stack([inputs.amin(dim=0), inputs.amax(dim=0)])
    exact = linear(inputs)
    plain = Int8Linear([linear], measured)(inputs)
    smoothed = Int8Linear([linear], measured, smooth=smoothing([linear], measured))(inputs)
    assert (smoothed - exact).square().mean() < 0.25 * (plain - exact).square().mean()


@torch.inference_mode()
def test_a_large_column_of_gelu_leaves_the_others_their_levels(
    float_layer: tuple[nn.Module, int8.Ranges],
):
    """A column forty times as large as the others costs no more than one that is not."""
    layer, ranges = float_layer
    states = torch.randn(5, 9, 32, generator=torch.Generator().manual_seed(0))
    errors = []
    for size in (1.0, 40.0):
        layer.intermediate.dense.weight.data[7] *= size
        layer.output.dense.weight.data[:, 7] /= size
        ranges["output.dense"] = ranges["output.dense"].clone()
        ranges["output.dense"][1, 7] *= size
        found, exact = Int8BertLayer(layer, ranges)(states, None), layer(states, None)
        errors.append(float((found - exact).square().mean()))
    assert errors[1] < 1.1 * errors[0]


@torch.inference_mode()
def test_the_output_layer_rounds_each_row_by_its_own_largest_value():
    """What rounded weights and rows give, whatever else is in the batch."""
    backbone = tiny_bert().eval()
    output, table = backbone.cls.predictions, backbone.embedding.weight
    states = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))
    found = Int8Output(output, table)(states, table)
    rows = output.transform(states)
    size = rows.abs().amax(dim=1, keepdim=True)
    scales = table.abs().amax(dim=1, keepdim=True) / 127
    expected = rounded(rows / size, -1.0, 1.0) @ ((table / scales).round() * scales).T
    torch.testing.assert_close(found, expected * size + output.bias, atol=1e-4, rtol=0)
    assert (found - output(states, table)).abs().max() > 1e-4  # rounding shows
    alone = Int8Output(output, table)(states[:1], table)
    torch.testing.assert_close(alone, found[:1], atol=0.01, rtol=0)  # a level, at most


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
    int8.write_ranges({"layers.0.mlp.up_proj": spans(-1.0, 1.0)}, tmp_path / "tiny")
    with pytest.raises(EncoderError, match="describes 1 layers, the model has 14"):
        LbrEncoder(tmp_path / "tiny", dtype="int8")
    (tmp_path / "tiny" / int8.RANGES_FILE).write_bytes(b"short")
    with pytest.raises(EncoderError, match="is damaged"):
        LbrEncoder(tmp_path / "tiny", dtype="int8")
