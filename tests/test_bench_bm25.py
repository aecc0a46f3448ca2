"""The lexical arm of a benchmark beside plain bm25s on real suites, with the index's analyser.

They differ by what the index adds to a query (long forms of abbreviations, at a low weight).
`pytest tests/test_bench_bm25.py --corpora DIR -s` prints the figures.
"""

from __future__ import annotations

from pathlib import Path

import bm25s
import pytest

from lbr_search.bench.metrics import DEPTH, evaluate
from lbr_search.bench.runner import run_bench
from lbr_search.corpus.suite import Suite, load_suite
from lbr_search.index.analysis import ANALYSERS
from lbr_search.index.lexical import K1, METHOD, B
from lbr_search.types import Run, passage_text
from tests.conftest import HashEncoder

SUITES = ("chemistry/chebi-synonyms", "code/mbpp", "medical/scifact")
TOLERANCE = 0.02


def plain_run(suite: Suite, analyser: str) -> Run:
    """The first hits of every query by bm25s alone."""
    analyse = ANALYSERS[analyser]
    documents = list(suite.documents())
    peer = bm25s.BM25(k1=K1, b=B, method=METHOD)
    terms = [analyse(passage_text(document.title, document.text)) for document in documents]
    peer.index(terms, show_progress=False)
    run: Run = {}
    for query in suite.queries:
        known = [term for term in analyse(query.text) if term in peer.vocab_dict]
        run[query.query_id] = {}
        if known:
            k = min(DEPTH, len(documents))
            places, scores = peer.retrieve([known], k=k, show_progress=False)
            run[query.query_id] = {
                documents[place].doc_id: float(score)
                for place, score in zip(places[0], scores[0], strict=True)
                if score > 0
            }
    return run


@pytest.mark.parametrize("name", SUITES)
def test_the_lexical_arm_is_plain_bm25s(
    name: str, corpora: Path, encoder: HashEncoder, tmp_path: Path
) -> None:
    """nDCG@10 lies within .02 of bm25s over the same terms, over the same judged queries."""
    folder = corpora / "suites" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    result = run_bench([folder], modes=["lexical"], encoders=[encoder], home=tmp_path).suites
    (ours,) = result.values()
    suite = load_suite(folder, home=tmp_path)
    (ingest,) = ours.ingests.values()
    plain = evaluate(plain_run(suite, ingest.analyser), suite.qrels)
    arm = ours.arms["lexical"].evaluation
    print(
        f"{name}: {arm.n_queries} queries, analyser {ingest.analyser}, nDCG@10 lexical arm "
        f"{arm.means['ndcg@10']:.4f}, plain bm25s {plain.means['ndcg@10']:.4f}"
    )
    assert arm.n_queries == plain.n_queries
    assert arm.means["ndcg@10"] == pytest.approx(plain.means["ndcg@10"], abs=TOLERANCE)
