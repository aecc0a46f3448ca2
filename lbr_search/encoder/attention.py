"""What the attention of every backbone here shares: places, heads, and who may see whom."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gather(states: Tensor, places: Tensor) -> Tensor:
    """States at given places: (B, S, D), (B, k) -> (B, k, D)."""
    return states.gather(1, places[:, :, None].expand(-1, -1, states.shape[-1]))


def split_heads(projected: Tensor, head_dim: int) -> Tensor:
    """(B, S, H * d) -> (B, H, S, d)."""
    n_rows, n_places, _ = projected.shape
    return projected.view(n_rows, n_places, -1, head_dim).transpose(1, 2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, is_grouped: bool = False
) -> Tensor:
    """Causal attention, or attention under `mask`. (B, H, S, d) each -> (B, S, H * d)."""
    mixed = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=is_grouped
    )
    return mixed.transpose(1, 2).flatten(2)


def visible_keys(mask: Tensor) -> Tensor:
    """(B, S) of 0 and 1 -> which keys each place may see, (B, 1, S, S) bool; 4-D as it is."""
    if mask.dim() == 4:
        return mask
    n_places = mask.shape[1]
    causal = torch.ones(n_places, n_places, dtype=torch.bool, device=mask.device).tril()
    itself = torch.eye(n_places, dtype=torch.bool, device=mask.device)
    # padding sees itself: a row that sees nothing would be NaN, and NaN times 0 is NaN
    return (causal & mask[:, None, None, :].bool()) | itself


def visible_from(places: Tensor, n_places: int) -> Tensor:
    """Which of `n_places` keys each of the places (B, k) may see: (B, 1, k, S) bool."""
    keys = torch.arange(n_places, device=places.device)
    return keys[None, None, None, :] <= places[:, None, :, None]
