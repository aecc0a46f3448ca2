"""How well a vocabulary fits a recipe's texts: bytes a token by domain, beside other ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lbr_search.corpus.rejects import Rejects
from lbr_search.encoder.backbone import read_tokenizer
from lbr_search.encoder.peer import PACKAGED, locate_model
from lbr_search.errors import EncoderError
from lbr_search.train.recipe import Recipe
from lbr_search.train.sources import domain_of, source_texts
from lbr_search.train.tokens import take_chars, train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MEASURED_EVERY = 10
"""One text in so many is measured on and not trained on."""
BYTE_LEVEL_FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Names under which GPT-2's kind of vocabulary is kept: entries, merges."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One vocabulary measured.

    Attributes:
        size: entries.
        bytes_per_token: domain -> UTF-8 bytes of the texts a token; more is better.
        unknown: share of the tokens that stand for what the vocabulary cannot write; they make
            `bytes_per_token` look better than it is.
    """

    name: str
    size: int
    bytes_per_token: dict[str, float]
    unknown: float


def compare_vocabularies(
    recipe: Recipe,
    folder: Path,
    *,
    others: Sequence[str],
    progress: Callable[[str], None] | None = None,
) -> list[Vocabulary]:
    """Train the recipe's byte-level BPE and measure it, and others, on texts that it did not see.

    Args:
        recipe: `tokenizer_chars` of each source are read, nine texts in ten for training.
        folder: what the sources' names are relative to.
        others: folders with a tokenizer, or names of packaged models.
        progress: told what is being done.

    Raises:
        EncoderError: a folder holds no tokenizer.
        CorpusError: a source is missing or damaged.
    """
    tell = progress or (lambda _: None)
    compared = {name: open_tokenizer(name) for name in others}
    measured: dict[str, list[str]] = {}
    tell(f"train {recipe.model.vocab_size:,} entries")
    ours = train_tokenizer(
        _training_texts(recipe, folder, measured),
        vocab_size=recipe.model.vocab_size,
        special_tokens=[],
    )
    found = []
    for name, tokenizer in {f"{recipe.model.name} (byte-level BPE)": ours, **compared}.items():
        tell(f"measure {name}")
        found.append(measure_vocabulary(name, tokenizer, measured))
    return found


def measure_vocabulary(name: str, tokenizer: Tokenizer, texts: dict[str, list[str]]) -> Vocabulary:
    """Bytes a token of some texts by domain."""
    unknown = tokenizer.token_to_id("[UNK]")  # None where nothing is unknown
    by_domain, n_unknown, n_all = {}, 0, 0
    for domain, own in sorted(texts.items()):
        encodings = tokenizer.encode_batch_fast(own, add_special_tokens=False)
        n_tokens = sum(len(encoding.ids) for encoding in encodings)
        if unknown is not None:
            n_unknown += sum(encoding.ids.count(unknown) for encoding in encodings)
        n_all += n_tokens
        by_domain[domain] = sum(len(text.encode()) for text in own) / max(1, n_tokens)
    return Vocabulary(name, tokenizer.get_vocab_size(), by_domain, n_unknown / max(1, n_all))


def open_tokenizer(name_or_folder: str) -> Tokenizer:
    """The tokenizer of a folder (tokenizer.json, or GPT-2's two files) or of a packaged model.

    Raises:
        EncoderError: there is none.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    packaged = name_or_folder in PACKAGED
    folder = locate_model(name_or_folder)[0] if packaged else Path(name_or_folder)
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer(str(folder))
    for entries, merges in BYTE_LEVEL_FILES:
        if (folder / entries).is_file() and (folder / merges).is_file():
            model = models.BPE.from_file(str(folder / entries), str(folder / merges))
            tokenizer = Tokenizer(model)
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            return tokenizer
    known = ", ".join(["tokenizer.json", *(" and ".join(pair) for pair in BYTE_LEVEL_FILES)])
    raise EncoderError(
        f"{name_or_folder} holds no tokenizer: looked for {known}.",
        f"give a folder with one of these, or a packaged model: {', '.join(PACKAGED)}",
    )


def _training_texts(recipe: Recipe, folder: Path, measured: dict[str, list[str]]) -> Iterator[str]:
    """Nine texts in ten of every source; the tenth goes to `measured`, by domain."""
    rejects = Rejects(None)  # counted where the same sources become tables
    for name, texts in source_texts(recipe.data, folder, rejects=rejects):
        kept = measured.setdefault(domain_of(name), [])
        for number, text in enumerate(take_chars(texts, recipe.data.tokenizer_chars)):
            if number % MEASURED_EVERY:
                yield text
            else:
                kept.append(text)
