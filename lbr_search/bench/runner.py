"""`run_bench`: suites in, every arm measured, results out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lbr_search.bench.arms import SharedByArms, explain_first_hits, measure_arm
from lbr_search.bench.cache import BENCH_INDEXES, QUERIES, ingest_suite
from lbr_search.bench.comparisons import compare_suites
from lbr_search.bench.drilldown import drill_down
from lbr_search.bench.html_report import write_html
from lbr_search.bench.imported import (
    import_arm,
    parse_runs,
    refuse_shared_files,
)
from lbr_search.bench.metrics import METRICS, parse_metric
from lbr_search.bench.mteb_io import match_references, read_references, write_task_results
from lbr_search.bench.peer_arms import PeerSubject, measure_peer, refuse_peers
from lbr_search.bench.plan import BenchProgress, Plan, settings_of
from lbr_search.bench.queries import know_queries
from lbr_search.bench.references import Known, known_of
from lbr_search.bench.results import (
    MODES,
    ArmResult,
    BenchResult,
    SuiteIngest,
    SuiteResult,
    arm_name,
    make_folder,
    write_json,
)
from lbr_search.bench.suites import default_encoder, labels_of, open_encoders, open_suites
from lbr_search.bench.trec_io import write_run
from lbr_search.config import ChunkConfig, IndexConfig, SearchConfig, check
from lbr_search.corpus.suite import Suite
from lbr_search.drawing import require_matplotlib
from lbr_search.encoder.load import DEFAULT_ENCODER
from lbr_search.errors import ConfigError
from lbr_search.index.report import BuildProgress
from lbr_search.protocols import CompressingEncoder, Encoder
from lbr_search.search.searcher import Searcher
from lbr_search.types import Run

WHOLE_DOCUMENTS = ChunkConfig(chunk_tokens=0, overlap=0)
EXACT_SEARCH = IndexConfig(ann="flat")


def run_bench(  # noqa: PLR0913 - a front door: every option is a keyword with a default
    suites: Sequence[Path | str] = (),
    *,
    split: str = "test",
    modes: Sequence[str] = MODES,
    encoders: Sequence[str | Encoder] = (DEFAULT_ENCODER,),
    home: Path | str = Path(),
    json_path: Path | str | None = None,
    html_path: Path | str | None = None,
    runs_dir: Path | str | None = None,
    mteb_dir: Path | str | None = None,
    chunk: ChunkConfig = WHOLE_DOCUMENTS,
    index: IndexConfig = EXACT_SEARCH,
    search: SearchConfig | None = None,
    rerankers: Sequence[str] = (),
    peers: Sequence[str] = (),
    imported: Sequence[str] = (),
    references: Sequence[str] = (),
    metrics: Sequence[str] = (),
    against: str | None = None,
    fresh: bool = False,
    progress: Callable[[BenchProgress], None] | None = None,
) -> BenchResult:
    """Index, search and measure suites with every encoder and mode.

    Indexes are kept under ``indexes/bench`` of the home and used again while suite, encoder and
    settings are the same. The defaults are those of the field: whole documents, cut by the encoder
    (and counted), and exact search.

    Args:
        suites: folders or names of suites; none = all under ``corpora`` of the home.
        split: which judgements; ``dev`` also finds ``validation``.
        modes: lexical, dense, hybrid; the lexical arm is measured once, from the first index. None
            = imported runs alone: nothing is encoded.
        encoders: encoders or their specs. The first that is not a peer gives the arms ``dense``
            and ``hybrid``; the others give ``<encoder>:dense`` and ``<encoder>:hybrid``.
        home: folder of ``corpora`` and ``indexes``.
        json_path: write the results there as JSON.
        html_path: write a page with tables, plots and single queries there; needs matplotlib.
        runs_dir: write every run there as ``SUITE.ARM.trec``.
        mteb_dir: write every arm's means there as ``ARM/TASK.json`` in MTEB's layout.
        chunk: how documents are cut; 0 tokens = whole.
        index: backend and vector index.
        search: fusion and depth.
        rerankers: specs; each gives the hybrid arm of every LBR encoder once more, reranked, as
            ``hybrid+<reranker>``.
        peers: other search engines by their specs, as in `registry.PEERS`; arms under these. Those
            that search vectors are given the default encoder's.
        imported: ``NAME=FILE``: TREC runs of other systems, arms under their names; ``{suite}`` in
            FILE stands for the name of each suite.
        references: ``NAME=FILE``: MTEB task results of others, shown beside the suite that is their
            task.
        metrics: names as in `metrics.METRICS`; none = all of these. nDCG@10 is always measured.
        against: the arm that every other one is compared with; None = hybrid with lexical, reranked
            with not, and the default encoder with each peer.
        fresh: build all indexes anew.
        progress: told of every step.

    Raises:
        ConfigError: an unknown mode, metric or arm, no encoder, or no place for the output.
        CorpusError: no suite, or one without judged queries.
        EncoderError, MissingExtraError: an encoder cannot be loaded; no arm is left out.
    """
    is_given = bool(modes or peers or imported) and set(modes) <= set(MODES)
    check(is_given, "modes", list(modes), f"of {', '.join(MODES)}")
    for metric in metrics:
        parse_metric(metric)
    if html_path is not None:
        require_matplotlib()
    opened = open_encoders(encoders) if modes else ()
    plan = Plan(
        modes=tuple(mode for mode in MODES if mode in modes),
        encoders=opened,
        home=Path(home),
        runs_dir=Path(runs_dir) if runs_dir is not None else None,
        chunk=chunk,
        index=index,
        search=search or SearchConfig(),
        rerankers=tuple(rerankers),
        peers=tuple(peers),
        imported=parse_runs(imported),
        metrics=tuple(dict.fromkeys((METRICS[0], *(metrics or METRICS)))),
        is_fresh=fresh,
        is_explained=html_path is not None,
        progress=progress or (lambda _: None),
    )
    refuse_peers(plan.peers, has_vectors=bool(opened) and not chunk.chunk_tokens)
    if plan.rerankers and not any(_rerankers(plan, encoder) for encoder in plan.encoders):
        raise ConfigError(
            f"nothing would be reranked by {', '.join(plan.rerankers)}: there is no hybrid arm of "
            f"an LBR encoder among {', '.join(e.spec for e in plan.encoders) or 'no encoders'}, "
            f"modes {', '.join(plan.modes) or 'none'}.",
            f"--mode hybrid --encoder {DEFAULT_ENCODER}, or leave --rerank out",
        )
    files = [Path(path).parent for path in (json_path, html_path) if path is not None]
    folders = (Path(folder) for folder in (runs_dir, mteb_dir) if folder is not None)
    for folder in (*files, *folders):
        make_folder(folder)
    loaded = open_suites(suites, split=split, home=plan.home)
    refuse_shared_files(plan.imported, [suite.name for suite in loaded])
    # what others made is read before the work, so that a wrong file costs none
    known = {suite.name: known_of(suite, plan.home) for suite in loaded}
    tasks = {name: each.task_id for name, each in known.items()}
    by_others = match_references(read_references(references), tasks, split=split)
    imports = {suite.name: _import_runs(suite, plan) for suite in loaded}
    measured = {suite.name: _run_suite(suite, plan, known[suite.name]) for suite in loaded}
    for name, found in by_others.items():
        measured[name].references += tuple(found)
    for name, (arms, warnings) in imports.items():
        _add_imported(measured[name], arms)
        measured[name].warnings.extend(warnings)
    result = BenchResult(measured, settings=settings_of(plan, split))
    compare_suites(result.suites, against=against)
    if json_path is not None:
        write_json(result.to_json(), Path(json_path))
    if mteb_dir is not None:
        write_task_results(result, Path(mteb_dir), split=split)
    if html_path is not None:
        details = {suite.name: drill_down(suite, measured[suite.name]) for suite in loaded}
        write_html(result, details, Path(html_path))
    return result


def _run_suite(suite: Suite, plan: Plan, known: Known) -> SuiteResult:
    result = SuiteResult(suite.name, suite.domain, suite.content_hash, suite.n_documents)
    result.is_synthetic = suite.is_synthetic
    result.task_id, result.references = known.task_id, known.references
    result.warnings.extend([*suite.warnings, *known.warnings])
    default = default_encoder(plan.encoders)
    subject = PeerSubject(suite, plan.metrics, None, None)
    for number, (encoder, label) in enumerate(
        zip(plan.encoders, labels_of(plan.encoders), strict=True)
    ):
        modes = [mode for mode in plan.modes if mode != "lexical" or number == 0]
        if not modes:
            continue
        ingest, warnings = ingest_suite(
            suite,
            encoder,
            home=plan.home,
            chunk=plan.chunk,
            config=_index_config(plan, encoder),
            is_fresh=plan.is_fresh,
            progress=_ingest_progress(plan, suite.name, label),
        )
        result.warnings.extend([*warnings, *_cut_warnings(ingest)])
        result.ingests[label] = ingest
        result.n_documents = ingest.n_documents
        queries = know_queries(
            encoder,
            [query.text for query in suite.queries],
            folder=plan.home / BENCH_INDEXES / QUERIES,
            is_fresh=plan.is_fresh,
        )
        shared = SharedByArms(suite, ingest, queries, plan.metrics)
        if subject.ingest is None or encoder is default:
            subject = PeerSubject(suite, plan.metrics, ingest, queries)
        # reranked arms after those whose rankings they rerank
        stages = [(mode, "") for mode in modes]
        stages += [("hybrid", reranker) for reranker in _rerankers(plan, encoder)]
        for mode, reranker in stages:
            arm = arm_name(label, mode, is_default=encoder is default, reranker=reranker)
            plan.progress(BenchProgress(suite.name, f"search {arm}"))
            rerank = reranker or plan.search.rerank
            config = replace(plan.search, mode=mode, rerank=rerank)
            searcher = Searcher.open(ingest.folder, encoder=queries, config=config)
            result.arms[arm], run = measure_arm(shared, searcher, mode)
            _write_run(run, suite.name, arm, plan)
            if plan.is_explained and not rerank.startswith("llm"):  # a service is not asked twice
                result.why[arm] = partial(explain_first_hits, searcher, mode)
        result.warnings.extend(queries.warnings)
    for spec in plan.peers:
        plan.progress(BenchProgress(suite.name, f"peer {spec}"))
        result.arms[spec], run = measure_peer(spec, subject)
        _write_run(run, suite.name, spec, plan)
    return result


def _import_runs(suite: Suite, plan: Plan) -> tuple[dict[str, ArmResult], list[str]]:
    """Arms of other systems, and warnings."""
    arms, warnings = {}, []
    for run in plan.imported:
        arms[run.name], found = import_arm(suite, run, metrics=plan.metrics)
        warnings.extend(found)
    return arms, warnings


def _add_imported(result: SuiteResult, arms: Mapping[str, ArmResult]) -> None:
    for name, arm in arms.items():
        if name in result.arms:
            raise ConfigError(
                f"--run {name}=... has the name of an arm that is measured here.",
                f"call it otherwise, e.g. --run other-{name}=...",
            )
        result.arms[name] = arm


def _write_run(run: Run, suite: str, arm: str, plan: Plan) -> None:
    if plan.runs_dir is not None:
        name = f"{suite}.{arm}.trec".replace("/", "_")
        write_run(run, plan.runs_dir / name, system="_".join(arm.split()))


def _rerankers(plan: Plan, encoder: Encoder) -> tuple[str, ...]:
    """Those that this encoder's hybrid arm is reranked by."""
    is_ours = isinstance(encoder, CompressingEncoder) and "hybrid" in plan.modes
    return plan.rerankers if is_ours else ()


def _index_config(plan: Plan, encoder: Encoder) -> IndexConfig:
    """With the vectors that rerankers read, where there is a reranker and an encoder for them."""
    return replace(plan.index, multi_vector=bool(_rerankers(plan, encoder)))


def _ingest_progress(plan: Plan, suite: str, encoder: str) -> Callable[[BuildProgress], None]:
    step = f"ingest with {encoder}"
    return lambda build: plan.progress(BenchProgress(suite, step, build))


def _cut_warnings(ingest: SuiteIngest) -> list[str]:
    if not ingest.n_truncated:
        return []
    return [
        f"{ingest.encoder} read {ingest.n_truncated} of {ingest.n_chunks} texts in part "
        f"({ingest.n_tokens_lost} tokens lost)"
    ]
