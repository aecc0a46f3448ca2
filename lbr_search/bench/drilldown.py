"""Single queries to look at: where two arms differ most, what each returned, what was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lbr_search.bench.comparisons import COMPARED
from lbr_search.bench.results import SuiteResult
from lbr_search.corpus.suite import Suite

N_CASES = 8
"""Queries of each kind."""
_SNIPPET = 240
"""Characters of a document."""


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """A document as a reader sees it."""

    doc_id: str
    title: str
    text: str
    """Its beginning."""
    grade: int | None
    """Relevance; None = nobody judged it for this query."""
    score: float | None = None
    why: Sequence[str] = ()
    """Why it stands there, one fact each; none of imported runs and other engines."""


@dataclass(frozen=True, slots=True)
class Case:
    """One query: what every arm returned, and what it should have."""

    query_id: str
    text: str
    change: float
    """Of the system against the baseline; 0 without a baseline."""
    values: Mapping[str, float]
    """Arm -> nDCG@10."""
    hits: Mapping[str, Sequence[ShownDocument]]
    """Arm -> its first hits."""
    relevant: Sequence[ShownDocument]
    """The first few relevant documents by grade."""
    n_relevant: int


@dataclass(frozen=True, slots=True)
class DrillDown:
    """Single queries of one suite."""

    system: str
    baseline: str | None
    """None = one arm alone: no losses and no gains."""
    losses: Sequence[Case]
    """Where the system is furthest below the baseline."""
    gains: Sequence[Case]
    hardest: Sequence[Case]
    """Where the system itself has the least, ties by id."""
    easiest: Sequence[Case]
    """Where it has the most; of one arm alone."""


def drill_down(suite: Suite, result: SuiteResult, *, n_cases: int = N_CASES) -> DrillDown:
    """Queries of the first comparison, or of the first arm where there is none.

    Args:
        suite: read once more for the texts of the documents shown.
        result: its arms and comparisons.
        n_cases: queries of each kind.
    """
    system, baseline = next(iter(result.comparisons), (next(iter(result.arms)), None))
    values = {name: arm.evaluation.per_query[COMPARED] for name, arm in result.arms.items()}
    own = values[system]
    before = values[baseline] if baseline else own
    changes = {query_id: value - before[query_id] for query_id, value in own.items()}
    falls = sorted(changes, key=lambda q: (changes[q], q))
    rises = sorted(own, key=lambda q: (own[q], q))
    chosen = {
        "losses": [q for q in falls[:n_cases] if changes[q] < 0],
        "gains": [q for q in reversed(falls[-n_cases:]) if changes[q] > 0],
        "hardest": rises[:n_cases],
        "easiest": [] if baseline else [q for q in reversed(rises[n_cases:])][:n_cases],
    }
    wanted = list(dict.fromkeys(query_id for some in chosen.values() for query_id in some))
    cases = _cases(suite, result, wanted, changes)
    shown = {kind: [cases[q] for q in some] for kind, some in chosen.items()}
    return DrillDown(system, baseline, **shown)


def _cases(
    suite: Suite, result: SuiteResult, chosen: Sequence[str], changes: Mapping[str, float]
) -> dict[str, Case]:
    questions = {query.query_id: query.text for query in suite.queries}
    right = {q: _relevant_ids(suite.qrels[q]) for q in chosen}
    hits = {q: {a: arm.first_hits.get(q, ()) for a, arm in result.arms.items()} for q in chosen}
    wanted = {doc_id for q in chosen for doc_id in right[q][:5]}
    wanted |= {doc for q in chosen for found in hits[q].values() for doc, _ in found}
    texts = {
        document.doc_id: (document.title, document.text[:_SNIPPET])
        for document in suite.documents()
        if document.doc_id in wanted
    }

    why = {q: {arm: asked(questions[q]) for arm, asked in result.why.items()} for q in chosen}

    def shown(
        query_id: str, doc_id: str, score: float | None = None, arm: str = ""
    ) -> ShownDocument:
        title, text = texts.get(doc_id, ("", "(not in the corpus)"))
        facts = why[query_id].get(arm, {}).get(doc_id, ())
        return ShownDocument(doc_id, title, text, suite.qrels[query_id].get(doc_id), score, facts)

    return {
        q: Case(
            query_id=q,
            text=questions[q],
            change=changes[q],
            values={a: arm.evaluation.per_query[COMPARED][q] for a, arm in result.arms.items()},
            hits={arm: [shown(q, *hit, arm) for hit in found] for arm, found in hits[q].items()},
            relevant=[shown(q, doc_id) for doc_id in right[q][:5]],
            n_relevant=len(right[q]),
        )
        for q in chosen
    }


def _relevant_ids(judged: Mapping[str, int]) -> list[str]:
    """Relevant documents, the highest grade first."""
    found = [doc_id for doc_id, grade in judged.items() if grade > 0]
    return sorted(found, key=lambda doc_id: (-judged[doc_id], doc_id))
