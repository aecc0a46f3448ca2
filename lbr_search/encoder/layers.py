"""Linear and embedding layers that are drawn as transformers draws them, and not without memory."""

from __future__ import annotations

import torch
from torch import nn

SPREAD = 0.02
"""Standard deviation of new weights, as in transformers."""


class Linear(nn.Linear):
    """Weights drawn with `SPREAD`, bias 0; nothing is drawn on the meta device."""

    def reset_parameters(self) -> None:
        """See the class."""
        _draw(self.weight)
        if self.bias is not None and not self.bias.is_meta:
            nn.init.zeros_(self.bias)


class Embedding(nn.Embedding):
    """Rows drawn with `SPREAD`; nothing is drawn on the meta device."""

    def reset_parameters(self) -> None:
        """See the class."""
        _draw(self.weight)


def _draw(weight: torch.Tensor) -> None:
    # on the meta device a random draw would import torch's compiler: two seconds, for nothing
    if not weight.is_meta:
        nn.init.normal_(weight, std=SPREAD)
