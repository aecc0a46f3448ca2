"""A causal BERT in plain torch, with the names and files of `BertLMHeadModel` in transformers.

Why: small general encoders are BERTs, and their weights are a far better start than noise. Each
place sees the places before it only; positions are learned, norms follow their block. A test holds
the module equal to transformers' on the same weights.
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
from lbr_search.errors import EncoderError


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The fields of a transformers BERT config that shape the network."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @property
    def head_dim(self) -> int:
        """Size of a head."""
        return self.hidden_size // self.num_attention_heads

    @staticmethod
    def from_transformers(values: dict[str, Any], *, is_causal: bool = True) -> BertConfig | None:
        """Read a ``config.json``; None if it asks for anything this module does not do.

        Args:
            values: what the file holds.
            is_causal: what it must say of itself; a bidirectional encoder (false) is read where its
                weights are to begin a causal model.
        """
        is_plain = (
            values.get("model_type") == "bert"
            and bool(values.get("is_decoder")) == is_causal
            and values.get("hidden_act", "gelu") == "gelu"
            and values.get("position_embedding_type", "absolute") == "absolute"
            and values.get("tie_word_embeddings", True)
            and not values.get("add_cross_attention")
        )
        if not is_plain:
            return None
        return BertConfig(**{name: values[name] for name in BertConfig.__slots__ if name in values})

    def to_transformers(self) -> dict[str, Any]:
        """What ``config.json`` must hold for transformers to open the same network."""
        return {
            "architectures": ["BertLMHeadModel"],
            "model_type": "bert",
            "is_decoder": True,
            **asdict(self),
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "tie_word_embeddings": True,
            "pad_token_id": 0,
        }


class BertBackbone(nn.Module):
    """A causal LM: embeddings, post-norm layers, output layer tied to the embeddings.

    Args:
        config: sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.bert = _Body(config)
        self.cls = _Heads(config)

    @property
    def embedding(self) -> nn.Embedding:
        """Token id -> (D,)."""
        return self.bert.embeddings.word_embeddings

    @property
    def body(self) -> nn.Module:
        """Everything but the output layer."""
        return self.bert

    def states(
        self,
        embedded: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states, as `LlamaBackbone.states`.

        Raises:
            EncoderError: there are more places than position embeddings.
        """
        n_places = embedded.shape[1]
        limit = self.config.max_position_embeddings
        if n_places > limit:
            raise EncoderError(
                f"a text of {n_places} places, prompt and compression tokens included, does not "
                f"fit the {limit} positions of this backbone.",
                f"set max_tokens to at most {limit - (n_places - limit)}, or shorten the texts",
            )
        if position_ids is None:
            position_ids = torch.arange(n_places, device=embedded.device)
        states = self.bert.embeddings(embedded, position_ids)
        mask = None if attention_mask is None else visible_keys(attention_mask)
        layers = self.bert.encoder.layer
        for layer in layers[:-1]:
            states = layer(states, mask)
        if at is not None and mask is None:
            last: Tensor = layers[-1](states, visible_from(at, n_places), at)
            return last
        states = layers[-1](states, mask)
        return states if at is None else gather(states, at)

    def logits(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        logits: Tensor = self.cls.predictions(states, self.embedding.weight)
        return logits


class _Body(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)


class _Layers(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = _norm(config)

    def forward(self, embedded: Tensor, position_ids: Tensor) -> Tensor:
        place = self.position_embeddings(position_ids) + self.token_type_embeddings.weight[0]
        normed: Tensor = self.LayerNorm(embedded + place)
        return normed


class BertLayer(nn.Module):
    """Attention and feed-forward network, each followed by its residual and norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = nn.ModuleDict(
            {"dense": Linear(config.hidden_size, config.intermediate_size)}
        )
        self.output = _Residual(config.intermediate_size, config)

    def forward(self, states: Tensor, mask: Tensor | None, at: Tensor | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D), or (B, k, D) at the places `at`."""
        states = self.attention(states, mask, at)
        inner = functional.gelu(self.intermediate["dense"](states))
        output: Tensor = self.output(inner, states)
        return output


class _Attention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        sizes = (config.hidden_size, config.hidden_size)
        self.self = nn.ModuleDict({name: Linear(*sizes) for name in ("query", "key", "value")})
        self.output = _Residual(config.hidden_size, config)

    def forward(self, states: Tensor, mask: Tensor | None, at: Tensor | None) -> Tensor:
        asking = states if at is None else gather(states, at)
        query, key, value = (
            split_heads(self.self[name](inputs), self.head_dim)
            for name, inputs in (("query", asking), ("key", states), ("value", states))
        )
        output: Tensor = self.output(attend(query, key, value, mask), asking)
        return output


class _Residual(nn.Module):
    """A projection, added to what went into its block, then normed."""

    def __init__(self, n_inputs: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = Linear(n_inputs, config.hidden_size)
        self.LayerNorm = _norm(config)

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(inner) + residual)
        return normed


class _Heads(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions: nn.Module = OutputLayer(config)


class OutputLayer(nn.Module):
    """States -> logits of the next token, by the table that tokens are read with."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = nn.Sequential()
        self.transform.add_module("dense", Linear(config.hidden_size, config.hidden_size))
        self.transform.add_module("activation", nn.GELU())
        self.transform.add_module("LayerNorm", _norm(config))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """(…, D) -> (…, V), by the table of the token embeddings (V, D)."""
        return functional.linear(self.transform(states), table, self.bias)


def _norm(config: BertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
