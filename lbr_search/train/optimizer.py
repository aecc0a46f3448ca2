"""What changes the weights: AdamW or Muon, the learning-rate schedule, the average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lbr_search.train.recipe import LoopConfig

BETAS = (0.9, 0.98)
"""Of AdamW: a shorter memory of squares than usual, for runs of some hundred steps."""


class Optimizers:
    """One step for all parameters: AdamW, and with ``optimizer = "muon"`` Muon for the matrices.

    Muon takes the two-dimensional weights of the repeated layers; embeddings, output layer,
    compression tokens, bridge, norms and biases stay with AdamW. Source: Jordan et al. 2024,
    "Muon: An optimizer for hidden layers in neural networks"; scaled so that it takes AdamW's
    learning rate and weight decay (Liu et al. 2025, arXiv:2502.16982, sec. 2.2).

    Args:
        model: its parameters that require a gradient.
        config: kind, peak rate, weight decay.
    """

    def __init__(self, model: nn.Module, config: LoopConfig) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        hidden = layer_matrices(model) if config.optimizer == "muon" else []
        taken = {id(parameter) for parameter in hidden}
        rest = [parameter for parameter in trained if id(parameter) not in taken]
        decay, rate = config.weight_decay, config.learning_rate
        groups = [
            {"params": [p for p in rest if p.dim() >= 2], "weight_decay": decay},
            {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=1e-8, fused=True)
        self._parts: list[torch.optim.Optimizer] = [adamw]
        if hidden:
            adjust = "match_rms_adamw"
            self._parts.append(
                torch.optim.Muon(hidden, lr=rate, weight_decay=decay, adjust_lr_fn=adjust)
            )

    def step(self, *, rate: float) -> None:
        """Change the weights by their gradients at a learning rate."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def forget_gradients(self) -> None:
        """Drop all gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All moments by ``part/parameter/name``; a parameter's number is its place."""
        return {
            f"{number}/{index}/{name}": tensor
            for number, part in enumerate(self._parts)
            for index, moments in part.state_dict()["state"].items()
            for name, tensor in moments.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self._parts]
        for place, tensor in tensors.items():
            number, index, name = place.split("/")
            states[int(number)].setdefault(int(index), {})[name] = tensor
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(
                {"state": state, "param_groups": part.state_dict()["param_groups"]}
            )


class WeightAverage:
    """Exponential moving average of the weights.

    ``average = d * average + (1 - d) * weights`` after step n, with
    ``d = min(decay, (1 + n) / (10 + n))``: short runs are not held back by their first weights.
    Source of the warm-up: `tf.train.ExponentialMovingAverage`, `num_updates`.

    Args:
        model: starts the average.
        decay: between 0 and 1; 0 = no average is kept.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.tensors = {name: w.detach().clone() for name, w in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Move towards the weights of step n >= 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        weights = dict(model.named_parameters())
        for name, average in self.tensors.items():
            average.lerp_(weights[name], 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside the block, and its own weights after it."""
        if not self.tensors:
            yield
            return
        own = {name: w.detach().clone() for name, w in model.named_parameters()}
        copy_weights(model, self.tensors)
        try:
            yield
        finally:
            copy_weights(model, own)


@torch.no_grad()
def copy_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put tensors into the parameters of the same names."""
    own = dict(model.named_parameters())
    for name, tensor in weights.items():
        own[name].copy_(tensor)


def repeated_layers(model: nn.Module) -> list[nn.Module]:
    """The layers: what stands in the outermost `ModuleList`s, where every backbone keeps them."""
    found: list[nn.Module] = []
    for child in model.children():
        found += list(child) if isinstance(child, nn.ModuleList) else repeated_layers(child)
    return found


def layer_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The two-dimensional parameters of the layers that require a gradient."""
    parameters = [p for layer in repeated_layers(model) for p in layer.parameters()]
    return [
        parameter for parameter in parameters if parameter.dim() == 2 and parameter.requires_grad
    ]


def learning_rate(config: LoopConfig, step: int) -> float:
    """Warm-up, stable, decay: linear up, constant, linear down to zero.

    Source: Hu et al. 2024, MiniCPM, arXiv:2404.06395, sec. 4 (WSD).

    >>> config = LoopConfig(steps=10, learning_rate=1.0, warmup_steps=2, decay_share=0.5)
    >>> [learning_rate(config, step) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """
    up = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    decay_steps = max(1, round(config.steps * config.decay_share))
    down = (config.steps - step) / decay_steps
    return config.learning_rate * min(1.0, up, down)
