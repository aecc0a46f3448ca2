"""A Llama in plain torch, with the names and files of the transformers one.

Why here and not from transformers: importing that takes three seconds, more than a cold query may
last in all, and the last layer is needed at the compression tokens only. Training and search both
use this module; a test holds it equal to `LlamaForCausalLM` on the same weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lbr_search.encoder.attention import (
    attend,
    gather,
    split_heads,
    visible_from,
    visible_keys,
)
from lbr_search.encoder.layers import Embedding, Linear


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The fields of a transformers Llama config that shape the network."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = True

    @property
    def head_dim(self) -> int:
        """Size of a head."""
        return self.hidden_size // self.num_attention_heads

    @staticmethod
    def from_transformers(values: dict[str, Any]) -> LlamaConfig | None:
        """Read a ``config.json``; None if it asks for anything this module does not do."""
        rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
        is_plain = (
            values.get("model_type") == "llama"
            and values.get("hidden_act", "silu") == "silu"
            and not values.get("attention_bias")
            and not values.get("mlp_bias")
            and rope.get("rope_type", "default") == "default"
        )
        if not is_plain:
            return None
        heads = values["num_attention_heads"]
        if values.get("head_dim") not in (None, values["hidden_size"] // heads):
            return None
        names = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
        )
        return LlamaConfig(
            **{name: values[name] for name in names},
            num_key_value_heads=values.get("num_key_value_heads") or heads,
            rms_norm_eps=values.get("rms_norm_eps", 1e-6),
            rope_theta=rope.get("rope_theta", values.get("rope_theta", 10_000.0)),
            tie_word_embeddings=values.get("tie_word_embeddings", False),
        )

    def to_transformers(self) -> dict[str, Any]:
        """What ``config.json`` must hold for transformers to open the same network."""
        values = asdict(self)
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **{name: value for name, value in values.items() if name != "rope_theta"},
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": 0,
        }


class LlamaBackbone(nn.Module):
    """A causal LM: token embeddings, decoder layers, final norm, output layer.

    Args:
        config: sizes. Weights are drawn with a spread of 0.02, as transformers does.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Body(config)
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def embedding(self) -> nn.Embedding:
        """Token id -> (D,)."""
        return self.model.embed_tokens

    @property
    def body(self) -> nn.Module:
        """Everything but the output layer."""
        return self.model

    def states(
        self,
        embedded: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states.

        Args:
            embedded: (B, S, D).
            attention_mask: None = causal; (B, S) with 0 for padding; or 4-D, added to the scores.
            position_ids: (B, S); None = 0..S-1.
            at: (B, k) places; the last layer is then computed there only. Every other place of
                that layer feeds nothing but its keys and values.

        Returns:
            (B, S, D), or (B, k, D) with `at`.
        """
        n_places = embedded.shape[1]
        mask = None if attention_mask is None else visible_keys(attention_mask)
        places = torch.arange(n_places, device=embedded.device)
        rope = _rope(self.config, places if position_ids is None else position_ids, embedded)
        states = embedded
        for layer in self.model.layers[:-1]:
            states = layer(states, rope, mask)
        last = self.model.layers[-1]
        if at is not None and mask is None:
            return self._normed(last(states, rope, visible_from(at, n_places), at))
        states = self._normed(last(states, rope, mask))
        return states if at is None else gather(states, at)

    def logits(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        if self.config.tie_word_embeddings:
            return functional.linear(states, self.embedding.weight)
        output: Tensor = self.lm_head(states)
        return output

    def _normed(self, states: Tensor) -> Tensor:
        normed: Tensor = self.model.norm(states)
        return normed


class _Body(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class _Layer(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(
        self,
        states: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        at: Tensor | None = None,
    ) -> Tensor:
        mixed = self.self_attn(self.input_layernorm(states), rope, mask, at)
        states = (states if at is None else gather(states, at)) + mixed
        output: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return output


class _Attention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self._head_dim = config.head_dim
        self._is_grouped = config.num_key_value_heads != config.num_attention_heads
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj = Linear(config.hidden_size, config.hidden_size, bias=False)
        self.k_proj = Linear(config.hidden_size, keys, bias=False)
        self.v_proj = Linear(config.hidden_size, keys, bias=False)
        self.o_proj = Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        normed: Tensor,
        rope: tuple[Tensor, Tensor],
        mask: Tensor | None,
        at: Tensor | None,
    ) -> Tensor:
        cos, sin = rope
        key = _rotate(self._heads(self.k_proj(normed)), cos, sin)
        value = self._heads(self.v_proj(normed))
        if at is None:
            query = _rotate(self._heads(self.q_proj(normed)), cos, sin)
        else:  # rotary tables hold one row a place
            query = self._heads(self.q_proj(gather(normed, at)))
            query = _rotate(query, cos[0, 0][at][:, None], sin[0, 0][at][:, None])
        mixed = attend(query, key, value, mask, is_grouped=self._is_grouped)
        output: Tensor = self.o_proj(mixed)
        return output

    def _heads(self, projected: Tensor) -> Tensor:
        return split_heads(projected, self._head_dim)


class _FeedForward(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        gated = functional.silu(self.gate_proj(states)) * self.up_proj(states)
        output: Tensor = self.down_proj(gated)
        return output


def _rope(config: LlamaConfig, places: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each (1 or B, 1, S, d).

    Source: Su et al. 2021, arXiv:2104.09864; halves rotated as in transformers.
    """
    half = torch.arange(0, config.head_dim, 2, device=like.device).float() / config.head_dim
    angles = places.float()[..., None] * config.rope_theta**-half  # (S, d / 2) or (B, S, d / 2)
    angles = torch.cat([angles, angles], dim=-1)
    angles = angles[None, None] if angles.dim() == 2 else angles[:, None]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-right, left], dim=-1) * sin
