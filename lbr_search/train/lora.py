"""LoRA: low-rank additions to the linear layers of a backbone, merged into it after training.

Source: Hu et al. 2021, arXiv:2106.09685. The additions come from peft; a checkpoint holds merged
weights, so search needs no peft.
"""

from __future__ import annotations

import torch
from torch import nn

from lbr_search.encoder.backbone import Backbone
from lbr_search.errors import MissingExtraError


def add_adapters(backbone: Backbone, *, rank: int, seed: int) -> None:
    """Freeze a backbone and put a trainable low-rank addition beside each of its linear layers.

    The additions begin as zero. The output layer, which most models share with their embedding,
    gets none.

    Args:
        backbone: changed in place.
        rank: > 0, of the additions; they are scaled by 2 (alpha = 2 * rank).
        seed: of the additions, whatever was drawn before: a resumed run has the same.

    Raises:
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"lora_rank = {rank} needs the package peft, which is not installed.",
            'pip install "lbr-search[train]", or set lora_rank = 0 to train all weights',
        ) from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear_layers(backbone))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, backbone)


def merge_adapters(backbone: Backbone) -> None:
    """Add the low-rank additions to the weights and take them away; all weights are free again."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, module.get_base_layer())
    backbone.requires_grad_(True)


def linear_layers(backbone: Backbone) -> list[str]:
    """Names of the linear layers, without the one that gives the logits."""
    n_tokens = backbone.embedding.num_embeddings
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and module.out_features != n_tokens
    ]
