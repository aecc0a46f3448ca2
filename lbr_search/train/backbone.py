"""How a backbone without pretrained weights begins: as a bag of words, not as noise."""

from __future__ import annotations

import torch

from lbr_search.encoder.llama import LlamaBackbone

NOISE = 0.02
"""Standard deviation added to the identity, so that the heads of a layer can part."""


def start_as_bag_of_words(backbone: LlamaBackbone, *, scale: float) -> None:
    """Set the value and output projections of every attention layer to `scale` times identity.

    With small random queries and keys, attention is nearly uniform, so a compression token begins
    as the mean of the text's token embeddings: two texts that share words are near at step 0, and
    contrastive training refines that instead of having to find it. Idea: mimetic initialisation
    (Trockman and Kolter 2023, arXiv:2305.09828); the scale and the purpose are ours.

    Args:
        backbone: a Llama with as many key-value heads as heads; changed in place.
        scale: > 0; larger lets the text outweigh the residual stream.
    """
    with torch.no_grad():
        for name, weight in backbone.named_parameters():
            if name.endswith(("v_proj.weight", "o_proj.weight")):
                size = weight.shape[0]
                weight.copy_(torch.eye(size) * scale + torch.randn(size, size) * NOISE)
