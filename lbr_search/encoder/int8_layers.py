"""Layers of 8-bit matrix products (oneDNN): weights by row, inputs by a range known before, or row.

Sums of products are exact integers, so a row's outputs do not depend on the rows beside it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbr_search.encoder.attention import attend, gather, split_heads

if TYPE_CHECKING:
    from lbr_search.encoder.bert import BertLayer, OutputLayer

Ranges = dict[str, Tensor]
"""Linear layer -> (2, in): the smallest and the largest input seen of each column."""
SMOOTHING = 0.7
"""Share of a column's size that moves from inputs to weights: of .3, .5, .7 and .9 the one that
keeps vectors nearest to float32 ones (ARCHITECTURE.md)."""
LARGE_COLUMNS = 4
"""Columns of GELU's output that stay float32: of 4, 16 and 64 the fewest, which gain nearly all
(ARCHITECTURE.md)."""


class Int8Linear(nn.Module):
    """Linear layers that read the same input, as one, with 8-bit weights and inputs.

    Args:
        linears: float32; copied. Their outputs stand one behind the other.
        spans: (2, in) smallest and largest input of each column; inputs outside are cut.
        smooth: (in,) what `smoothing` gives; None = inputs are taken as they are.
    """

    def __init__(
        self, linears: Sequence[nn.Linear], spans: Tensor, *, smooth: Tensor | None = None
    ) -> None:
        super().__init__()
        weight = torch.cat([linear.weight.detach() for linear in linears])
        self._shrink = None if smooth is None else 1 / smooth
        if smooth is not None:
            weight, spans = weight * smooth, spans / smooth
        low, high = min(0.0, float(spans[0].min())), max(0.0, float(spans[1].max()))
        self._weight_scales = (weight.abs().amax(dim=1) / 127).clamp(min=1e-12)  # one a row
        self._weight_zeros = torch.zeros(len(weight), dtype=torch.long)
        codes = (weight / self._weight_scales[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(codes, None)
        biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
        assert len(biases) in (0, len(linears)), "layers of one input all have a bias, or none"
        self._bias = torch.cat(biases) if biases else None
        self._scale = max(high - low, 1e-12) / 255
        self._zero_point = min(255, max(0, round(-low / self._scale)))
        with warnings.catch_warnings():
            # torch means to drop quantised tensors in favour of another package, and says so once
            # in a process; should it do so, `codes` needs another operator (ARCHITECTURE.md)
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            self.codes(torch.zeros(1, weight.shape[1]))

    def codes(self, inputs: Tensor) -> Tensor:
        """(…, in) float32 -> (…, in) uint8."""
        if self._shrink is not None:
            inputs = inputs * self._shrink
        quantised = torch.quantize_per_tensor(
            inputs.contiguous(), self._scale, self._zero_point, torch.quint8
        )
        # the bytes where they lie: `int_repr` copies them, for longer than quantising takes
        codes = torch.empty(0, dtype=torch.uint8)
        codes.set_(quantised.untyped_storage(), 0, quantised.shape, quantised.stride())
        return codes

    def forward(self, inputs: Tensor) -> Tensor:
        """(…, in) float32 -> (…, out) float32."""
        return self.product(self.codes(inputs))

    def product(self, codes: Tensor) -> Tensor:
        """Inputs as `codes` makes them, (…, in) -> (…, out) float32."""
        return self._pointwise(codes, torch.float32, 1.0, 0, "none")

    def gelu(self, codes: Tensor, *, reader: Int8Linear) -> Tensor:
        """GELU of the product, as the input codes of the layer that reads it: (…, out) uint8."""
        assert reader._shrink is None, "oneDNN writes codes of one scale"
        return self._pointwise(codes, torch.uint8, reader._scale, reader._zero_point, "gelu")

    def added_to(self, residual: Tensor, codes: Tensor) -> Tensor:
        """`residual` (…, out) and the product, float32."""
        summed: Tensor = torch.ops.onednn.qlinear_pointwise.binary(
            *self._operands(codes),
            residual,
            self._bias,
            1.0,  # scale and zero point of the output
            0,
            torch.float32,
            1.0,  # scale and zero point of what is added
            0,
            "add",
            1.0,
            "none",
            [],
            "",
        )
        return summed

    def _pointwise(
        self, codes: Tensor, dtype: torch.dtype, scale: float, zero_point: int, after: str
    ) -> Tensor:
        outputs: Tensor = torch.ops.onednn.qlinear_pointwise(
            *self._operands(codes), self._bias, scale, zero_point, dtype, after, [], "none"
        )
        return outputs

    def _operands(self, codes: Tensor) -> tuple[Tensor, float, int, Tensor, Tensor, Tensor]:
        return (
            codes,
            self._scale,
            self._zero_point,
            self._packed,
            self._weight_scales,
            self._weight_zeros,
        )


def smoothing(linears: Sequence[nn.Linear], spans: Tensor) -> Tensor:
    """(in,) numbers to divide the inputs by and to multiply the columns of the weights by.

    A few columns of a norm's output are ten times as large as the others; with one range for all,
    the others are left with a handful of the 256 codes. Source: Xiao et al. 2023, *SmoothQuant*,
    arXiv:2211.10438, eq. 4; deviation: the division is not folded into the norm, whose output the
    residual reads, too.

    Args:
        linears: that read the same inputs.
        spans: (2, in) smallest and largest input of each column.
    """
    inputs = spans.abs().amax(dim=0).clamp(min=1e-5)
    weights = torch.cat([linear.weight.detach() for linear in linears]).abs().amax(dim=0)
    return inputs**SMOOTHING / weights.clamp(min=1e-5) ** (1 - SMOOTHING)


class Int8BertLayer(nn.Module):
    """A `BertLayer` in which each input is quantised once, and GELU never leaves 8 bits.

    But for its few largest columns, which are computed in float32: with one range for all, they
    leave the others with a tenth of the 256 codes (Dettmers et al. 2022, *LLM.int8()*,
    arXiv:2208.07339, sec. 3.2).

    Args:
        layer: float32; its norms are kept, its linear layers copied.
        ranges: of its linear layers, by their names in it.
    """

    def __init__(self, layer: BertLayer, ranges: Ranges) -> None:
        super().__init__()
        names = [f"attention.self.{name}" for name in ("query", "key", "value")]
        # one range and one smoothing for the three, so that they read the same codes
        lows, highs = zip(*(ranges[name] for name in names), strict=True)
        spans = torch.stack([torch.stack(lows).amin(dim=0), torch.stack(highs).amax(dim=0)])
        query, *key_value = (_linear(layer, name) for name in names)
        smooth = smoothing([query, *key_value], spans)
        self._query = Int8Linear([query], spans, smooth=smooth)
        self._key_value = Int8Linear(key_value, spans, smooth=smooth)
        self._head_dim = layer.attention.head_dim
        mixed, inner, outer = "attention.output.dense", "intermediate.dense", "output.dense"
        self._mixed = Int8Linear([_linear(layer, mixed)], ranges[mixed])  # has no large columns
        linear, spans = _linear(layer, inner), ranges[inner]
        self._inner = Int8Linear([linear], spans, smooth=smoothing([linear], spans))
        # reads codes that oneDNN writes, in one scale: the large columns go another way
        reader, spans = _linear(layer, outer), ranges[outer]
        large = spans.abs().amax(dim=0).topk(min(LARGE_COLUMNS, reader.in_features)).indices
        self._outer = Int8Linear([_without(reader, large)], spans.index_fill(1, large, 0.0))
        self._to_large = linear.weight.detach()[large], linear.bias.detach()[large]
        self._from_large = reader.weight.detach()[:, large].T.contiguous()
        self._attention_norm = layer.attention.output.LayerNorm
        self._norm = layer.output.LayerNorm

    def forward(self, states: Tensor, mask: Tensor | None, at: Tensor | None = None) -> Tensor:
        """As `BertLayer`."""
        codes = self._query.codes(states)
        asking = states if at is None else gather(states, at)
        query = self._query.product(codes if at is None else gather(codes, at))
        key, value = self._key_value.product(codes).chunk(2, dim=-1)
        query, key, value = (split_heads(part, self._head_dim) for part in (query, key, value))
        mixed = self._mixed.codes(attend(query, key, value, mask))
        states = self._attention_norm(self._mixed.added_to(asking, mixed))
        inner = self._inner.gelu(self._inner.codes(states), reader=self._outer)
        normed: Tensor = self._norm(self._outer.added_to(self._with_large(states), inner))
        return normed

    def _with_large(self, states: Tensor) -> Tensor:
        """(…, D) inputs of the two outer layers, and what the large columns add to their output."""
        rows = states.flatten(0, -2)
        large = functional.gelu(functional.linear(rows, *self._to_large))
        return torch.addmm(rows, large, self._from_large).view_as(states)


class Int8Output(nn.Module):
    """The output layer of a `BertBackbone`; made with the first logits that are asked for.

    What it reads has no columns that are always large, so each row is quantised by its own largest
    value: no range needs to be known, and rows do not depend on each other.

    Args:
        output: float32; its parts are kept.
        table: (V, D) token embeddings.
    """

    def __init__(self, output: OutputLayer, table: Tensor) -> None:
        super().__init__()
        self._transform, self._bias = output.transform, output.bias
        self._table = table.detach()

    @cached_property
    def _product(self) -> Int8Linear:
        n_tokens, dim = self._table.shape
        linear = nn.Linear(dim, n_tokens, bias=False, device="meta")  # no second table is made
        linear.weight = nn.Parameter(self._table, requires_grad=False)
        return Int8Linear([linear], torch.tensor([[-1.0], [1.0]]).expand(2, dim))

    def forward(self, states: Tensor, _table: Tensor) -> Tensor:
        """As the layer that it replaces."""
        rows = self._transform(states)
        size = rows.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12)
        return torch.addcmul(self._bias, self._product(rows / size), size)


def _without(linear: nn.Linear, columns: Tensor) -> nn.Linear:
    """A copy that does not read some of its inputs."""
    rest = copy.deepcopy(linear).requires_grad_(False)
    rest.weight[:, columns] = 0.0
    return rest


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    linear = layer.get_submodule(name)
    assert isinstance(linear, nn.Linear)
    return linear
