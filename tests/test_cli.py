"""The command line: help texts, exit codes, output forms, and the bare commands.

``python -m tests.test_cli`` writes the help texts anew into tests/golden/help.txt.
"""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TOPICS
from tests.hash_cli import run

GOLDEN = Path(__file__).parent / "golden" / "help.txt"
COMMANDS = (
    (),
    ("ingest",),
    ("sync",),
    ("forget",),
    ("reindex",),
    ("query",),
    ("bench",),
    ("tune",),
    ("bench", "gate"),
    ("bench", "contamination"),
    ("bench", "ann"),
    ("bench", "probe"),
    ("train",),
    ("train", "stage1"),
    ("train", "stage2"),
    ("train", "all"),
    ("train", "pairs"),
    ("train", "pack"),
    ("train", "tokenizer"),
    ("train", "ablate"),
    ("train", "report"),
    ("train", "benchmark"),
    ("doctor",),
    ("corpora",),
    ("corpora", "list"),
    ("corpora", "fetch"),
    ("corpora", "check"),
    ("corpora", "add"),
    ("corpora", "make"),
    ("corpora", "export"),
    ("corpora", "speed"),
    ("index",),
    ("index", "info"),
    ("index", "verify"),
    ("index", "snapshot"),
    ("index", "snapshots"),
    ("index", "restore"),
    ("index", "drop"),
    ("index", "export"),
    ("index", "import"),
    ("index", "duplicates"),
)
HEAVY = [
    "torch",
    "transformers",
    "faiss",
    "lancedb",
    "pyarrow",
    "bm25s",
    "sentence_transformers",
    "ir_measures",
    "numpy",
]


def all_help() -> str:
    """The help of every command, 100 columns wide, without colours."""
    parts = []
    for command in COMMANDS:
        outcome = run(*command, "--help")
        lines = [line.rstrip() for line in outcome.out.splitlines()]
        parts.append("\n".join(lines).strip())
    return "\n\n".join(parts) + "\n"


def write_suite(folder: Path, domain: str) -> Path:
    """A BEIR folder of ten notes and three judged queries."""
    (folder / "qrels").mkdir(parents=True)
    sentences = TOPICS[domain]
    rows = [
        {
            "_id": f"{domain}-{n}",
            "title": f"note {n}",
            "text": f"{sentences[n % 3]} variant{n}.",
            "metadata": {"year": 2010 + n},
        }
        for n in range(10)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": s}) + "\n" for n, s in enumerate(sentences))
    )
    judged = [f"q{n % 3}\t{domain}-{n}\t1\n" for n in range(10)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


@pytest.fixture(scope="module")
def full_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with three small shipped corpora, ingested by the bare command."""
    home = tmp_path_factory.mktemp("home")
    for domain in TOPICS:
        write_suite(home / "corpora" / "demo" / domain, domain)
    outcome = run("--home", home, "ingest", "--encoder", "hash:a")
    assert outcome.code == 0, outcome.err
    return home


def query(home: Path, *arguments: object):
    return run("--home", home, "query", *arguments)


def test_help_texts_are_the_golden_ones():
    shown = "help texts changed; if they should: python -m tests.test_cli"
    assert all_help() == GOLDEN.read_text("utf-8"), shown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_ends_with_an_example(command):
    last = run(*command, "--help").out.strip().splitlines()[-1]
    assert re.match(r" *Example: lbr-search", last) or "Example: lbr-search" in last


def test_help_imports_nothing_heavy():
    code = f"import lbr_search.cli, sys; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_is_quick():
    """0.5 s; counted in processor time, which other work on the machine does not stretch."""
    seconds = []
    for _ in range(3):
        before = os.times()
        command = [sys.executable, "-m", "lbr_search.cli", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(seconds) < 0.5


def test_bare_ingest_makes_an_index_of_each_shipped_corpus(full_home):
    made = (full_home / "indexes").glob("*/manifest.json")
    assert sorted(path.parent.name for path in made) == sorted(TOPICS)
    again = run("--home", full_home, "ingest", "--encoder", "hash:a", "--json")
    reports = [json.loads(line) for line in again.out.splitlines()]
    assert [report["domain"] for report in reports] == ["medical", "chemistry", "code"]
    assert all(report["n_unchanged"] == 10 and report["is_noop"] for report in reports)


def test_the_summary_of_an_ingest_names_every_count(tmp_path, full_home):
    source = full_home / "corpora" / "demo" / "medical"
    outcome = run("ingest", source, "--index", tmp_path / "i", "--encoder", "hash:a")
    words = ("documents", "chunks", "skipped", "truncated", "seconds", "vectors", "size")
    for name in words:
        assert re.search(rf"^ *{name} ", outcome.out, re.MULTILINE), name
    assert "10 read: 10 added" in outcome.out
    assert re.search(r"faiss flat.*recall@10 1\.000", outcome.out, re.DOTALL)


def test_bare_query_searches_every_index_and_shows_the_domain(full_home):
    outcome = query(full_home, "insulin lowers glucose", "-k", 30)
    assert outcome.code == 0
    for domain in TOPICS:
        assert domain in outcome.out
    assert "[insulin] [lowers] [glucose] variant0." in outcome.out


def test_json_hits_have_exactly_the_promised_keys(full_home):
    outcome = query(full_home, "insulin lowers glucose", "--json", "-k", 5)
    hits = [json.loads(line) for line in outcome.out.splitlines()]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    for hit in hits:
        assert list(hit) == [
            "rank", "doc_id", "score", "title", "text", "domain", "metadata", "legs",
        ]  # fmt: skip
        assert list(hit["legs"]) == ["dense", "lexical"]
    best = hits[0]
    assert best["domain"] == "medical" and best["title"].startswith("note ")
    assert best["legs"]["lexical"]["rank"] >= 1
    assert set(best["legs"]["dense"]) == {"rank", "score"}


def test_a_mode_searches_its_leg_alone(full_home):
    for mode, other in (("dense", "lexical"), ("lexical", "dense")):
        outcome = query(full_home, "benzene is aromatic", "--mode", mode, "--json")
        hits = [json.loads(line) for line in outcome.out.splitlines()]
        assert hits
        for hit in hits:
            assert hit["legs"][other] is None
            assert hit["legs"][mode] is not None


def test_a_filter_keeps_what_passes(full_home):
    index = full_home / "indexes" / "code"
    outcome = query(full_home, "parse", "--index", index, "--filter", "year > 2015", "--json")
    hits = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(hits) == 4
    assert all(hit["metadata"]["year"] > 2015 for hit in hits)


@pytest.mark.parametrize("name", ["queries.jsonl", "queries.tsv"])
def test_a_file_of_queries_becomes_a_trec_run(full_home, tmp_path, name):
    file = tmp_path / name
    if name.endswith("tsv"):
        file.write_text("q1\tacids donate protons\nq2\tbenzene is aromatic\n")
    else:
        file.write_text(
            '{"_id": "q1", "text": "acids donate protons"}\n'
            '{"_id": "q2", "text": "benzene is aromatic"}\n'
        )
    out = tmp_path / "out.trec"
    index = full_home / "indexes" / "chemistry"
    outcome = query(full_home, "--index", index, "--queries", file, "--run", out, "-k", 3)
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in out.read_text().splitlines()]
    assert [(row[0], row[3]) for row in rows] == [
        (query_id, rank) for query_id in ("q1", "q2") for rank in "123"
    ]
    single = query(full_home, "acids donate protons", "--index", index, "-k", 3, "--json")
    hits = [json.loads(line) for line in single.out.splitlines()]
    assert [(row[2], float(row[4])) for row in rows[:3]] == [
        (hit["doc_id"], hit["score"]) for hit in hits
    ]


def test_bench_writes_the_promised_json_and_runs(full_home, tmp_path):
    out, runs = tmp_path / "out.json", tmp_path / "runs"
    suites = [full_home / "corpora" / "demo" / domain for domain in ("medical", "code")]
    command = ("bench", *suites, "--encoder", "hash:a", "--json", out, "--runs", runs)
    outcome = run("--home", full_home, *command)
    assert outcome.code == 0, outcome.err
    numbers = json.loads(out.read_text())
    assert list(numbers) == ["suites", "settings"]
    assert list(numbers["suites"]) == ["medical", "code"]
    for suite in numbers["suites"].values():
        assert list(suite["arms"]) == ["lexical", "dense", "hybrid"]
        for arm in suite["arms"].values():
            assert set(arm) >= {
                "ndcg@10", "recall@10", "recall@100", "rr@10", "n_queries", "seconds",
                "latency_ms", "index_mb", "per_query",
            }  # fmt: skip
            assert set(arm["latency_ms"]) >= {"p50", "p95"}
            assert arm["n_queries"] == 3 == len(arm["per_query"])
    assert len(list(runs.glob("*.trec"))) == 6
    assert "nDCG@10" in outcome.out


def test_the_parts_of_a_speed_run_are_those_of_the_library():
    from lbr_search.bench.speed import PARTS
    from lbr_search.cli.bench import SPEED_PARTS

    assert tuple(PARTS) == SPEED_PARTS


def test_speed_measures_the_part_that_was_asked_for(tmp_path, monkeypatch):
    from lbr_search.bench import speed

    small = functools.partial(speed.SpeedOptions, ingest_chunks=100)
    monkeypatch.setattr(speed, "SpeedOptions", small)
    out = tmp_path / "speed.json"
    command = ("bench", "--speed", "--part", "ingest", "--encoder", "hash:a", "--json", out)
    outcome = run("--home", tmp_path, *command)
    assert outcome.code == 0, outcome.err
    measured = json.loads(out.read_text())["speed"]
    assert list(measured) == ["ingest"] and measured["ingest"]["total_s"] > 0
    assert "ingest" in outcome.out
    wrong = run("--home", tmp_path, "bench", "--speed", "--part", "nonsense")
    assert wrong.code == 1 and "nonsense" in wrong.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--speed", "scifact"), "leaves out suites"),
        (("--speed", "--mode", "dense", "--fresh"), "leaves out --fresh, --mode"),
        (("--part", "encode"), "--part without --speed"),
        (("--ingest-chunks", "9"), "--ingest-chunks without --speed"),
    ],
)
def test_bench_refuses_options_of_the_other_kind(tmp_path, options, message):
    """Speed and quality are measured apart; what one would leave out is not left out unsaid."""
    outcome = run("--home", tmp_path, "bench", *options)
    assert outcome.code == 1 and message in outcome.err and "fix:" in outcome.err


def test_bench_tells_of_missing_marks_before_the_work(tmp_path):
    """A file that the tables cannot be written to costs no hour; with marks both are filled."""
    suite = write_suite(tmp_path / "notes", "medical")
    file, home = tmp_path / "notes.md", tmp_path / "home"
    command = ("--home", home, "bench", suite, "--encoder", "hash:a", "--mode", "lexical")
    for option in ("--markdown", "--means"):
        refused = run(*command, option, file)
        assert refused.code == 1 and "does not hold" in refused.err
    assert not (home / "indexes").exists()
    blocks = [f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("bench", "bench-means")]
    file.write_text("".join(blocks))
    assert run(*command, "--markdown", file, "--means", file).code == 0
    text = file.read_text()
    assert "| notes |" in text and "- nDCG@10, mean over 1 suites" in text


def test_bare_query_leaves_bench_caches_out(full_home):
    if not (full_home / "indexes" / "bench").is_dir():
        suite = full_home / "corpora" / "demo" / "medical"
        run("--home", full_home, "bench", suite, "--encoder", "hash:a", "--mode", "lexical")
    outcome = query(full_home, "insulin", "--json", "-k", 100)
    ids = [json.loads(line)["doc_id"] for line in outcome.out.splitlines()]
    assert len(ids) == len(set(ids)) == 30


def test_a_half_written_index_is_named_and_the_others_searched(tmp_path, full_home):
    import shutil

    home = tmp_path / "copy"
    shutil.copytree(full_home / "indexes", home / "indexes")
    (home / "indexes" / "code" / "manifest.json").unlink()
    outcome = query(home, "insulin", "--json", "-k", 100)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 20
    assert "code" in outcome.err and "half written" in outcome.err


def test_index_info_tells_who_encoded_it(full_home):
    index = full_home / "indexes" / "medical"
    told = json.loads(run("index", "info", index, "--json").out)
    assert told["n_documents"] == 10
    assert told["seal"]["encoder_spec"] == "hash:a"
    shown = run("index", "info", index)
    assert shown.code == 0 and re.search(r"seal\.encoder_spec +hash:a", shown.out)


def test_index_verify_finds_one_changed_byte(tmp_path, full_home):
    import shutil

    index = tmp_path / "medical"
    shutil.copytree(full_home / "indexes" / "medical", index)
    assert run("index", "verify", index).code == 0
    victim = max(index.glob("gen-*/**/*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0xFF
    victim.write_bytes(content)
    outcome = run("index", "verify", index)
    assert outcome.code == 1
    assert victim.name in outcome.err and "fix: " in outcome.err


def test_doctor_tells_versions_threads_and_what_is_missing():
    outcome = run("doctor", "--json")
    assert outcome.code == 0
    found = {row["topic"]: row for row in map(json.loads, outcome.out.splitlines())}
    for topic in ("python", "torch", "faiss-cpu", "lancedb", "threads", "bf16", "gpu", "lbr-mini"):
        assert found[topic]["value"], topic
    assert "not installed" not in found["torch"]["value"]
    assert run("doctor").code == 0


def test_doctor_names_what_is_missing_and_how_to_add_it(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from lbr_search.cli import doctor

    found = doctor.version

    def without_peers(name):
        if name == "sentence-transformers":
            raise PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(doctor, "version", without_peers)
    missing = [finding for finding in doctor.examine() if finding.fix]
    assert ("sentence-transformers", 'pip install "lbr-search[peers]"') in [
        (finding.topic, finding.fix) for finding in missing
    ]
    assert run("doctor").code == 0


def test_the_home_is_an_option_else_the_environment_else_the_working_directory(
    full_home, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert "indexes holds no index" in run("query", "insulin").err
    monkeypatch.setenv("LBR_HOME", str(full_home))
    assert run("query", "insulin").code == 0
    assert run("--home", tmp_path, "query", "insulin").code == 1
    monkeypatch.delenv("LBR_HOME")
    monkeypatch.chdir(full_home)
    assert run("query", "insulin").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("query",),
        ("query", "x", "--queries", "f"),
        ("query", "x", "-k", "0"),
        ("train", "stage3", "r.toml", "--out", "o"),
        ("ingest", "--no-such-option"),
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""


def test_an_expected_failure_ends_with_1_an_error_and_a_fix(tmp_path):
    outcome = run("--home", tmp_path, "query", "anything")
    assert outcome.code == 1
    error, fix = outcome.err.strip().splitlines()[-2:]
    assert error == f"error: {tmp_path}/indexes holds no index."
    assert fix == "fix: lbr-search ingest"


def test_our_own_bugs_keep_their_traceback_without_local_variables(tmp_path):
    """Locals hold the user's text."""
    code = (
        "import lbr_search.cli.query as q, lbr_search.cli as cli\n"
        "def find(home):\n"
        "    secret = 'patient ' + 'record'\n"
        "    raise RuntimeError('a bug')\n"
        "q.find_indexes = find\n"
        "cli.main(['query', 'words'])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert "RuntimeError" in found.stderr and "a bug" in found.stderr
    assert "patient record" not in found.stderr


def test_version_is_printed():
    assert re.fullmatch(r"lbr-search \d+\.\d+\.\d+\n", run("--version").out)


if __name__ == "__main__":
    GOLDEN.write_text(all_help(), "utf-8")
