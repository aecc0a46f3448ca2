"""One encoder from several runs of the same beginning: the mean of their weights.

Runs that began from the same weights and learned from other batches often lie in one basin, and
their mean does better than each on texts that neither saw. Source: Wortsman et al. 2022, *Model
soups*, arXiv:2203.05482; here with a weight for each run.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch

from lbr_search.corpus.rejects import Rejects
from lbr_search.encoder import int8
from lbr_search.encoder.batching import prompt_token_ids, tokenize
from lbr_search.encoder.checkpoint import LbrConfig, load_checkpoint, save_checkpoint
from lbr_search.encoder.read_texts import read_keys, write_read_texts
from lbr_search.errors import ConfigError
from lbr_search.train.card import write_average_card
from lbr_search.train.sources import read_text
from lbr_search.train.state import first_unlike

TEXTS_OF_A_SOURCE = 40
"""Read of each source for the input ranges of int8, as after a training run."""


def average_checkpoints(
    folders: Sequence[Path], weights: Sequence[float], *, texts: Sequence[Path], out: Path
) -> LbrConfig:
    """Write the weighted mean of checkpoints as bfloat16, its card, and its int8 input ranges.

    Args:
        folders: two checkpoints or more that began alike.
        weights: one each, above 0; they are divided by their sum.
        texts: sources of the kind that will be encoded, for the input ranges.
        out: folder of the result; the first one's settings and tokenizer are taken.

    Raises:
        ConfigError: weights and checkpoints do not fit each other.
        EncoderError: a folder is no sound checkpoint.
        CorpusError: a source of texts is missing or damaged.
    """
    if len(folders) < 2 or len(weights) != len(folders) or min(weights) <= 0:
        raise ConfigError(
            f"{len(folders)} checkpoints and the weights {list(weights)} make no mean.",
            "give two checkpoints or more and as many --weight above 0",
        )
    loaded = [load_checkpoint(folder, dtype=torch.float32) for folder in folders]
    model, tokenizer, config = loaded[0]
    total = sum(weights)
    for (other, other_tokenizer, other_config), folder in zip(loaded[1:], folders[1:], strict=True):
        _check_alike(config, other_config, folders[0], folder)
        if other_tokenizer.get_vocab() != tokenizer.get_vocab():
            raise _unlike(folders[0], folder, "their vocabularies")
        unlike = first_unlike(dict(model.named_parameters()), dict(other.named_parameters()))
        if unlike:
            raise _unlike(folders[0], folder, unlike)
    by_name = [dict(each.named_parameters()) for each, _, _ in loaded]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parts = zip(weights, by_name, strict=True)
            mean = sum(weight / total * each[name] for weight, each in parts)
            parameter.copy_(torch.as_tensor(mean))
    save_checkpoint(model, tokenizer, config, out, dtype=torch.bfloat16)
    shares = [weight / total for weight in weights]
    write_average_card(out, name=config.name, parts=list(zip(shares, folders, strict=True)))
    read = [read_keys(folder) for folder in folders]
    if all(keys is not None for keys in read):  # else the mean cannot say what it has read
        write_read_texts(out, [keys for keys in read if keys is not None])
    prompt = prompt_token_ids(tokenizer, config.passage_prompt)
    sample = [text for path in texts for text in _first_texts(path)]
    ids = tokenize(tokenizer, sample, prompt_ids=prompt, max_tokens=config.max_tokens)
    int8.measure_ranges(out, ids)
    return config


def _first_texts(path: Path) -> list[str]:
    rejects = Rejects(None)  # what cannot be read is no loss: ranges need some texts, not all
    return list(itertools.islice(read_text(path, rejects=rejects), TEXTS_OF_A_SOURCE))


def _check_alike(one: LbrConfig, other: LbrConfig, first: Path, folder: Path) -> None:
    for name in ("n_compression_tokens", "max_tokens", "query_prompt", "passage_prompt", "dims"):
        if getattr(one, name) != getattr(other, name):
            what = f"{name} is {getattr(one, name)!r} and {getattr(other, name)!r}"
            raise _unlike(first, folder, what)


def _unlike(first: Path, folder: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{first} and {folder} did not begin alike: {what}.",
        "average runs of recipes with the same [model] section",
    )
