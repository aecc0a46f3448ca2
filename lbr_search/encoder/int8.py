"""A model -> the same with 8-bit matrix products, for CPUs; input ranges are measured once.

The ranges are part of the checkpoint, not of the batch, so a text keeps its vector whatever it is
encoded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lbr_search.encoder.batching import collate, length_sorted_batches
from lbr_search.encoder.bert import BertBackbone, BertLayer, OutputLayer
from lbr_search.encoder.checkpoint import RANGES_FILE, load_checkpoint
from lbr_search.encoder.int8_layers import Int8BertLayer, Int8Linear, Int8Output, Ranges, smoothing
from lbr_search.encoder.model import LbrModel
from lbr_search.errors import EncoderError

DECODED_TOKENS = 24
"""Of each text, written back from its vectors while ranges are measured."""


def is_supported() -> bool:
    """Whether this CPU multiplies 8-bit integers faster than floats (VNNI), and torch uses it."""
    operators = ((torch.ops.onednn, "qlinear_pointwise"), (torch.ops.onednn, "qlinear_prepack"))
    has_operators = all(hasattr(owner, name) for owner, name in operators)
    can_quantise = hasattr(torch, "quantize_per_tensor")
    return bool(has_operators and can_quantise and torch.cpu._is_vnni_supported())


@torch.inference_mode()
def calibrate(model: LbrModel, token_ids: Sequence[Sequence[int]]) -> Ranges:
    """Input ranges of every linear layer of the backbone over some texts, read and written back.

    Args:
        model: float32, in evaluation mode.
        token_ids: texts with their prompts, of the kind that will be encoded.
    """
    layers = _linear_layers(model)
    ranges: Ranges = {name: torch.zeros(2, layer.in_features) for name, layer in layers.items()}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def see(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = ranges[name]
            rows = inputs[0].flatten(0, -2)
            ranges[name] = torch.stack(
                [low.minimum(rows.amin(dim=0).cpu()), high.maximum(rows.amax(dim=0).cpu())]
            )

        return layers[name].register_forward_pre_hook(see)

    hooks = [watch(name) for name in layers]
    k = model.n_compression_tokens
    for rows in length_sorted_batches([len(ids) + k for ids in token_ids], batch_tokens=4_096):
        batch = collate([token_ids[row] for row in rows], n_compression_tokens=k)
        compressed, _ = model.compress(batch.to(model.compression.device))
        # the decoder runs through the same layers, from other inputs
        target = collate([token_ids[row][:DECODED_TOKENS] for row in rows], n_compression_tokens=0)
        model.token_nll(compressed, target.to(model.compression.device))
    for hook in hooks:
        hook.remove()
    return ranges


def quantise(model: LbrModel, ranges: Ranges) -> None:
    """Replace the backbone's linear layers in place; embeddings stay float32.

    So does the output layer, but for a causal BERT's.

    Raises:
        EncoderError: the ranges are of another model.
    """
    layers = _linear_layers(model)
    shapes = {name: (2, layer.in_features) for name, layer in layers.items()}
    if shapes != {name: tuple(spans.shape) for name, spans in ranges.items()}:
        raise EncoderError(
            f"{RANGES_FILE} describes {len(ranges)} layers, the model has {len(layers)}, or they "
            "are of other sizes.",
            "use the dtype float32 (CHECKPOINT#float32), or save the checkpoint again",
        )
    if isinstance(model.backbone, BertBackbone):
        _quantise_bert(model.backbone, ranges)
        return
    for name, layer in layers.items():
        parent, _, attribute = name.rpartition(".")
        smooth = smoothing([layer], ranges[name])
        owner = model.backbone.body.get_submodule(parent)
        setattr(owner, attribute, Int8Linear([layer], ranges[name], smooth=smooth))


def _quantise_bert(backbone: BertBackbone, ranges: Ranges) -> None:
    """Replace whole layers: what follows a product is then done while it is in the cache."""
    layers = backbone.bert.encoder.layer
    for number, layer in enumerate(layers):
        assert isinstance(layer, BertLayer)
        prefix = f"encoder.layer.{number}."
        own = {
            name.removeprefix(prefix): span
            for name, span in ranges.items()
            if name.startswith(prefix)
        }
        layers[number] = Int8BertLayer(layer, own)
    output = backbone.cls.predictions
    assert isinstance(output, OutputLayer)
    backbone.cls.predictions = Int8Output(output, backbone.embedding.weight)


def measure_ranges(folder: Path, token_ids: Sequence[Sequence[int]]) -> None:
    """Measure the input ranges of the weights in a checkpoint folder, as saved, and put them there.

    Raises:
        EncoderError: the folder is no sound checkpoint.
    """
    model, _, _ = load_checkpoint(folder, dtype=torch.float32)
    write_ranges(calibrate(model.eval(), token_ids), folder)


def write_ranges(ranges: Ranges, folder: Path) -> None:
    """Put the ranges beside the weights."""
    from safetensors.torch import save_file

    save_file(ranges, folder / RANGES_FILE)


def read_ranges(folder: Path) -> Ranges:
    """Read what `write_ranges` wrote.

    Raises:
        EncoderError: the checkpoint has none, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / RANGES_FILE
    if not path.is_file():
        raise EncoderError(
            f"{folder} has no {RANGES_FILE}, so it cannot run in int8.",
            f"use {folder}#float32, or train with this version of lbr-search",
        )
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"{path} is damaged: {error}.", "copy the checkpoint again from where it was trained"
        ) from error


def _linear_layers(model: LbrModel) -> dict[str, nn.Linear]:
    modules = model.backbone.body.named_modules()
    return {name: module for name, module in modules if isinstance(module, nn.Linear)}
