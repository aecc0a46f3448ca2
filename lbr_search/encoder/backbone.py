"""The causal LM under an LBR model: our plain Llama or BERT, or any that transformers loads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from lbr_search.encoder.attention import gather
from lbr_search.encoder.bert import BertBackbone, BertConfig
from lbr_search.encoder.llama import LlamaBackbone, LlamaConfig
from lbr_search.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ours = TypeVar("Ours", LlamaBackbone, BertBackbone)
Config = TypeVar("Config", LlamaConfig, BertConfig)
TIED_WEIGHTS = {
    "lm_head.weight",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
}
"""Output layers that share the tensor of an embedding, or of their own bias."""
MASK_SAFE_ATTENTION = ("sdpa", "flash_attention_2", "flash_attention_3")
"""A boolean 4-D mask under eager attention is added to the scores as 1.0 and leaks."""
PART = ".rows."
"""Between a tensor's name and the number of a part of it that has a shard to itself."""


class TransformersBackbone(nn.Module):
    """Any `AutoModelForCausalLM`, with the interface of `LlamaBackbone`.

    Args:
        language_model: loaded with sdpa (or flash) attention.

    Raises:
        EncoderError: its attention is eager.
    """

    def __init__(self, language_model: Any) -> None:  # noqa: ANN401 - a PreTrainedModel
        super().__init__()
        attention = language_model.config._attn_implementation
        if attention not in MASK_SAFE_ATTENTION:
            raise EncoderError(
                f"attention {attention!r} leaks boolean masks; safe: {MASK_SAFE_ATTENTION}.",
                'load the backbone with attn_implementation="sdpa"',
            )
        self.language_model = language_model

    @property
    def embedding(self) -> nn.Embedding:
        """Token id -> (D,)."""
        table: nn.Embedding = self.language_model.get_input_embeddings()
        return table

    @property
    def body(self) -> nn.Module:
        """Everything but the output layer."""
        body: nn.Module = self.language_model.base_model
        return body

    def states(
        self,
        embedded: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states, as `LlamaBackbone.states`."""
        states: Tensor = self.language_model.base_model(
            inputs_embeds=embedded,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return states if at is None else gather(states, at)

    def logits(self, states: Tensor) -> Tensor:
        """(…, D) -> (…, V)."""
        logits: Tensor = self.language_model.get_output_embeddings()(states)
        return logits


Backbone = LlamaBackbone | BertBackbone | TransformersBackbone


def load_backbone(name_or_folder: str, *, dtype: torch.dtype) -> Backbone:
    """Open a causal LM: a plain Llama or BERT by ourselves, anything else by transformers.

    Args:
        name_or_folder: a folder in the layout of transformers, or a name on its hub.
        dtype: of the weights.

    Raises:
        EncoderError: the model is not causal.
        OSError, ValueError, RuntimeError: the folder is damaged (callers say which it was).
    """
    path = Path(name_or_folder) / "config.json"
    if path.is_file():
        values = json.loads(path.read_text("utf-8"))
        if (llama := LlamaConfig.from_transformers(values)) is not None:
            return _read_weights(LlamaBackbone, llama, path.parent, dtype)
        if (bert := BertConfig.from_transformers(values)) is not None:
            return _read_weights(BertBackbone, bert, path.parent, dtype)
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # transformers draws one for what takes milliseconds
    backbone = TransformersBackbone(
        AutoModelForCausalLM.from_pretrained(
            name_or_folder,
            attn_implementation="sdpa",
            dtype=dtype,
            trust_remote_code=False,  # left out, transformers asks the terminal whether to run it
            use_safetensors=True,
        )
    )
    _check_causal(backbone, name_or_folder)
    return backbone


@torch.inference_mode()
def _check_causal(backbone: TransformersBackbone, name: str) -> None:
    """Change the last of three tokens: in a causal model the two before cannot tell."""
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=backbone.embedding.weight.device)
    states = backbone.eval().states(backbone.embedding(ids))[:, :2].float()
    difference = float((states[0] - states[1]).abs().max())
    if difference > 1e-3 * float(states.abs().max()):
        raise EncoderError(
            f"{name} is not causal: a later token changes the state of an earlier one "
            f"(by {difference:.2g}).",
            "use a causal LM, or begin one with a BERT encoder's weights: "
            "[model] from_encoder = NAME in the recipe",
        )


def save_backbone(
    backbone: Backbone, folder: Path, *, dtype: torch.dtype, max_shard_bytes: int
) -> None:
    """Write weights and ``config.json`` as transformers would, so that it can open them.

    Where one tensor alone is larger than a shard, its rows are shared out over parts, which only
    `load_backbone` puts together again (models of transformers are left to transformers).
    """
    if isinstance(backbone, TransformersBackbone):
        model = backbone.language_model
        weights = {  # tied weights stand once here, and are tied again on loading
            name: tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in model.named_parameters()
        }
        model.save_pretrained(folder, state_dict=weights, max_shard_size=max_shard_bytes)
        return
    from huggingface_hub import save_torch_state_dict

    weights = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in backbone.named_parameters()
    }
    save_torch_state_dict(
        _in_parts(weights, max_shard_bytes), folder, max_shard_size=max_shard_bytes
    )
    values = {**backbone.config.to_transformers(), "dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def read_tokenizer(name_or_folder: str) -> Tokenizer:
    """The tokenizer of a checkpoint or backbone: without truncation, padding or special tokens.

    A text that spells a special token is read as text.

    Raises:
        EncoderError: the model has no fast tokenizer.
        OSError, ValueError: the file is damaged.
    """
    from tokenizers import Tokenizer

    path = Path(name_or_folder) / "tokenizer.json"
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise ValueError(f"{path}: {error}") from error
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            name_or_folder, trust_remote_code=False
        ).backend_tokenizer
        if tokenizer is None:
            raise EncoderError(
                f"{name_or_folder} has no fast tokenizer (tokenizer.json).",
                "convert it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained",
            )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _read_weights(
    network: Callable[[Config], Ours], config: Config, folder: Path, dtype: torch.dtype
) -> Ours:
    from safetensors.torch import load_file

    with torch.device("meta"):  # no time spent on random weights
        backbone = network(config)
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights |= {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    weights = _whole(weights)
    own = {name for name, _ in backbone.named_parameters()}
    for tied in TIED_WEIGHTS - own:
        weights.pop(tied, None)  # some writers store a tied weight twice
    backbone.load_state_dict(weights, assign=True)
    return backbone


def _in_parts(weights: dict[str, Tensor], max_bytes: int) -> dict[str, Tensor]:
    """Tensors of at most `max_bytes` each, where rows are no larger than that."""
    parts: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        n_parts = min(-(-tensor.nbytes // max_bytes), len(tensor))
        if n_parts == 1:
            parts[name] = tensor
            continue
        # a copy of each, since safetensors refuses two views of one memory
        rows = tensor.tensor_split(n_parts)
        parts |= {f"{name}{PART}{n:03}": part.clone() for n, part in enumerate(rows)}
    return parts


def _whole(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `_in_parts` was given."""
    parts = sorted(name for name in weights if PART in name)
    rows: dict[str, list[Tensor]] = {}
    for name in parts:
        rows.setdefault(name.partition(PART)[0], []).append(weights.pop(name))
    return weights | {name: torch.cat(found) for name, found in rows.items()}
