"""A training recipe: every setting of a run, from TOML, checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lbr_search.config import check, from_mapping, load_toml, parse_assignments, to_mapping
from lbr_search.errors import ConfigError
from lbr_search.registry import nearest
from lbr_search.train.stage_config import (
    DistillConfig,
    Stage1Config,
    Stage2Config,
    check_teachers,
)

RECIPE_FOLDER = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What training begins with: a model named here, or a small Llama with random weights."""

    backbone: str = ""
    """Folder or hub name of an `AutoModelForCausalLM`; empty = from scratch with the rest."""
    from_encoder: str = ""
    """A BERT encoder (folder, or name of a packaged model) whose weights begin a causal LM."""
    from_checkpoint: str = ""
    """``lbr-mini`` or the folder of an LBR checkpoint, with which training goes on: compression
    tokens, bridge and all. Its k, prompts and longest text must be the recipe's."""
    change_shares: tuple[float, ...] = (1.0,)
    """After stage 2, shares of the change from `from_checkpoint` that are tried on dev; the best is
    kept (train/interpolate.py). 0 = the checkpoint as it was, 1 = all that was learnt."""
    lora_rank: int = 0
    """Rank of low-rank additions that are trained in the place of the backbone's own weights and
    merged into them at the end of a stage; 0 = all weights are trained."""
    compression_token: str = ""
    """Token of the vocabulary whose embedding the compression tokens begin as; empty = random."""
    name: str = "lbr"
    """Name of the encoder, for tables."""
    n_layers: int = 5
    hidden_size: int = 384
    """D, the size of a vector."""
    n_heads: int = 6
    intermediate_size: int = 1024
    """Width of the gated feed-forward."""
    vocab_size: int = 32_768
    """Entries of the byte-level BPE trained on the data."""
    value_scale: float = 2.0
    """Start of value and output projections, times identity (train/backbone.py); 0 = random."""
    compression_scale: float = 0.1
    """Start of the compression tokens, times the spread of the token embeddings."""
    n_compression_tokens: int = 4
    """k."""
    max_tokens: int = 256
    """Longest text the encoder reads."""
    query_prompt: str = "<query>"
    passage_prompt: str = "<passage>"

    def __post_init__(self) -> None:
        for name in ("n_layers", "hidden_size", "n_heads", "intermediate_size", "max_tokens"):
            check(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        check(
            self.hidden_size % (2 * self.n_heads) == 0,
            "hidden_size",
            self.hidden_size,
            f"that is a multiple of 2 * n_heads = {2 * self.n_heads}",
        )
        begun = [self.backbone, self.from_encoder, self.from_checkpoint]
        check(
            sum(map(bool, begun)) <= 1,
            "backbone, from_encoder, from_checkpoint",
            begun,
            "of which one is set: one of them begins the model",
        )
        shares = self.change_shares
        check(
            bool(shares) and all(0 <= share <= 1 for share in shares),
            "change_shares",
            list(shares),
            "of one or more numbers between 0 and 1",
        )
        check(
            bool(self.from_checkpoint) or shares == (1.0,),
            "change_shares",
            list(shares),
            "of [1.0] without from_checkpoint: other beginnings are no encoders to go back to",
        )
        check(self.lora_rank >= 0, "lora_rank", self.lora_rank, ">= 0")
        check(
            not self.lora_rank or any(begun),
            "lora_rank",
            self.lora_rank,
            "of 0: weights that begin at random are trained whole",
        )
        check(self.value_scale >= 0, "value_scale", self.value_scale, ">= 0")
        check(self.compression_scale > 0, "compression_scale", self.compression_scale, "> 0")
        check(self.vocab_size >= 300, "vocab_size", self.vocab_size, ">= 300")
        check(
            1 <= self.n_compression_tokens <= 16,
            "n_compression_tokens",
            self.n_compression_tokens,
            "between 1 and 16",
        )


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Sources and their mixing weights. Paths are relative to the data folder."""

    text: dict[str, float]
    """JSON-lines files of documents (``title``, ``text``), any compression -> weight."""
    pairs: dict[str, float]
    """JSON-lines files of ``query, title, positive, group``, or BEIR folders -> weight."""
    structure: dict[str, float] = field(default_factory=dict)
    """Anything that can be ingested, whose own structure makes pairs (train/pairs.py) -> weight."""
    cloze: dict[str, float] = field(default_factory=dict)
    """Texts of which single sentences ask for their passage (train/cloze.py) -> weight."""
    licences: dict[str, str] = field(default_factory=dict)
    """Source -> licence, for the model card."""
    held_out: str = ""
    """Folder of suites: what overlaps their dev and test splits is dropped and counted."""
    near_duplicate: float = 0.85
    """Share of runs of five words in common (Jaccard, estimated) from which a later passage is
    dropped as a near duplicate of an earlier one; 1 = exact duplicates only."""
    max_text_chars: int = 6_000_000
    """Characters read from each text source."""
    tokenizer_chars: int = 3_000_000
    """Characters read from each source to train the tokenizer."""
    dev_pairs: int = 80
    """Pairs of each source held out, by group, for dev evaluation (at most a tenth)."""
    dev_passages: int = 400
    """Passages of each source that a dev query is searched among."""
    generate: int = 0
    """Queries that the model writes for passages of the texts before stage 2 (train/generate.py);
    those that find their passage again become pairs."""
    seed: int = 13
    """Of weights that begin at random, and of the batches."""
    split_seed: int = 13
    """Decides which pairs are held out; runs that are compared share it."""

    def __post_init__(self) -> None:
        has_pairs = bool(self.pairs or self.structure or self.cloze)
        allowed = "with at least one file, or name sources: --text SOURCE, --pairs FILE"
        check(has_pairs, "data.pairs", self.pairs, allowed)
        for sources in (self.text, self.pairs, self.structure, self.cloze):
            for weight in sources.values():
                check(weight > 0, "weight of a source", weight, "> 0")
        asked = [*self.pairs, *self.structure, *self.cloze]
        twice = sorted({name for name in asked if asked.count(name) > 1})
        check(not twice, "a source of pairs", twice, "named once in pairs, structure and cloze")
        check(self.generate >= 0, "generate", self.generate, ">= 0")
        near = self.near_duplicate
        check(0 < near <= 1, "near_duplicate", near, "above 0, at most 1")


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What the one training loop needs, whatever the loss."""

    steps: int = 100
    """0 leaves the stage out: it ends with the weights that it began with."""
    learning_rate: float = 1e-3
    """Peak; Muon is scaled so that it takes the same."""
    warmup_steps: int = 20
    decay_share: float = 0.3
    """Share of the steps, at the end, over which the rate falls linearly to zero."""
    weight_decay: float = 0.05
    """On matrices only."""
    clip_norm: float = 1.0
    eval_every: int = 100
    """Steps between dev evaluations; 0 = at the end only."""
    save_every: int = 50
    """Steps between checkpoints that a killed run goes on from."""
    precision: str = "auto"
    """bf16 (autocast, fp32 master weights), fp32, or auto: the faster of the two here."""
    accumulate: int = 1
    """Micro-batches a step, whose mean loss is minimised; shared out over the processes."""
    optimizer: str = "adamw"
    """adamw, or muon: Muon for the matrices of the layers and AdamW for the rest."""
    ema_decay: float = 0.0
    """Share of the averaged weights kept at each step; what is evaluated and saved. 0 = none."""
    patience: int = 0
    """Evaluations without a better score after which the stage ends; 0 = it takes all steps."""
    compile: bool = False
    """torch.compile of the layers; needs a compiler on the machine."""

    def __post_init__(self) -> None:
        check(self.steps >= 0, "steps", self.steps, ">= 0")
        check(self.accumulate > 0, "accumulate", self.accumulate, "> 0")
        check(self.optimizer in ("adamw", "muon"), "optimizer", self.optimizer, "adamw or muon")
        check(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, ">= 0 and below 1")
        check(self.patience >= 0, "patience", self.patience, ">= 0")
        check(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        check(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, ">= 0")
        check(0 <= self.decay_share <= 1, "decay_share", self.decay_share, "between 0 and 1")
        check(self.save_every > 0, "save_every", self.save_every, "> 0")
        check(self.eval_every >= 0, "eval_every", self.eval_every, ">= 0")
        check(
            self.precision in ("auto", "bf16", "fp32"),
            "precision",
            self.precision,
            "auto, bf16 or fp32",
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """All settings of a run."""

    model: ModelConfig
    data: DataConfig
    stage1: Stage1Config
    stage2: Stage2Config
    stage1_loop: LoopConfig
    stage2_loop: LoopConfig
    distill: DistillConfig

    def __post_init__(self) -> None:
        check_teachers(self.stage1, self.stage2, self.distill)
        check(
            not self.stage1.kl_weight or bool(self.model.backbone),
            "stage1.kl_weight",
            self.stage1.kl_weight,
            "of 0, or give a pretrained causal LM as [model] backbone: without one the frozen "
            "copy has nothing to teach",
        )


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "stage1": Stage1Config,
    "stage2": Stage2Config,
    "stage1_loop": LoopConfig,
    "stage2_loop": LoopConfig,
    "distill": DistillConfig,
}


def find_recipe(name_or_path: str | Path) -> Path:
    """The file of a recipe: a path, or the name of one that ships.

    Raises:
        ConfigError: there is no such recipe; the shipped ones are named.
    """
    path = Path(name_or_path)
    shipped = sorted(file.stem for file in RECIPE_FOLDER.glob("*.toml"))
    if path.suffix == ".toml" or path.is_file():
        return path
    if path.name in shipped:
        return RECIPE_FOLDER / f"{path.name}.toml"
    raise ConfigError(
        f"there is no recipe {str(name_or_path)!r}; shipped: {', '.join(shipped)}.",
        nearest(path.name, shipped) + ", or give the path of a .toml file",
    )


def load_recipe(
    name_or_path: str | Path,
    *,
    overrides: list[str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides.

    Args:
        name_or_path: as for `find_recipe`.
        overrides: the last word on any setting.
        data: keys of [data] that take the place of the file's, such as a user's own sources.

    Raises:
        ConfigError: an unknown section or key, or a value out of range.
    """
    path = find_recipe(name_or_path)
    tables = load_toml(path)
    tables["data"] = {**tables.get("data", {}), **(data or {})}
    for section, values in parse_assignments(overrides or []).items():
        tables.setdefault(section, {}).update(values)
    unknown = [name for name in tables if name not in SECTIONS]
    if unknown:
        raise ConfigError(
            f"{path}: unknown section [{unknown[0]}].", nearest(unknown[0], dict(SECTIONS))
        )
    return recipe_of(tables, where=path)


def recipe_of(tables: dict[str, dict[str, Any]], *, where: Path) -> Recipe:
    """Sections as read from TOML -> the recipe; what is left out has its default.

    Raises:
        ConfigError: an unknown key, or a value out of range; `where` is named.
    """
    given = {name: dict(tables.get(name, {})) for name in SECTIONS}
    for key in ("text", "pairs"):
        given["data"].setdefault(key, {})
    return Recipe(
        **{
            name: from_mapping(cls, given[name], where=f"{where} [{name}]")
            for name, cls in SECTIONS.items()
        }
    )


def recipe_mapping(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Section -> key -> value, ready for TOML."""
    return {section.name: to_mapping(getattr(recipe, section.name)) for section in fields(recipe)}
