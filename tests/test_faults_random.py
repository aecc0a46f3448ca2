"""kill -9 at random moments and disks that fill up at random writes, whatever an index does.

Readers see one whole state, that before or that after; the same command, run again, ends as if
nothing had happened. All 200 kills and 20 full disks, and what they met:
``pytest -m "faults or not faults" -s tests/test_faults_random.py``.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from lbr_search.config import IndexConfig
from lbr_search.errors import IndexFormatError
from lbr_search.index import store as store_module
from lbr_search.index.export import export_index
from lbr_search.index.files import folder_bytes
from lbr_search.index.manifest import load_manifest
from lbr_search.index.opened import open_index
from lbr_search.index.verify import verify_index
from lbr_search.ingest import IngestOptions, build_index
from lbr_search.upkeep.forget import forget
from lbr_search.upkeep.reindex import reindex
from lbr_search.upkeep.snapshots import restore_snapshot, take_snapshot
from lbr_search.upkeep.sync import sync
from tests.conftest import HashEncoder

N_KILLS, N_KILLS_SHORT = 200, 2
N_FULL, N_FULL_SHORT = 20, 1
N_NOTES = 40


class CompressingEncoder(HashEncoder):
    """Three vectors a text, of the same words."""

    n_compression_tokens = 3

    def compress_passages(self, texts, *, report=None):
        vectors = self.encode_passages(texts, report=report)
        return np.stack([vectors, np.roll(vectors, 1, axis=1) / 2, vectors / 4], axis=1)

    def compress_queries(self, texts):
        return self.compress_passages(texts)

    def query_log_likelihood(self, query, compressed):
        return np.zeros(len(compressed), dtype=np.float32)

    def generate(self, compressed, *, max_tokens):
        return [""] * len(compressed)


def encoder_of(n_vectors: int, salt: str = "a") -> HashEncoder:
    return (CompressingEncoder if n_vectors else HashEncoder)(salt=salt)


def config_of(n_vectors: int) -> IndexConfig:
    backend = "exact" if n_vectors else "faiss"
    return IndexConfig(backend=backend, commit_rows=8, encode_batch=8, multi_vector=bool(n_vectors))


def do_ingest(index: Path, tree: Path, n_vectors: int) -> None:
    build_index(
        [tree],
        index,
        encoder=encoder_of(n_vectors),
        config=config_of(n_vectors),
        options=IngestOptions(delete_missing=True),
    )


def do_sync(index: Path, tree: Path, n_vectors: int) -> None:
    sync(index, encoder=encoder_of(n_vectors))


def do_optimise(index: Path, tree: Path, n_vectors: int) -> None:
    store_module.ChunkStore.is_untidy = True  # in a process of its own, or restored by the test
    sync(index, encoder=encoder_of(n_vectors))


def do_forget(index: Path, tree: Path, n_vectors: int) -> None:
    forget(index, ["note-9.txt"], drop_snapshots=True)


def do_reindex(index: Path, tree: Path, n_vectors: int) -> None:
    new = encoder_of(n_vectors, salt="b")
    if load_manifest(index).seal.fingerprint != new.fingerprint:
        reindex(index, new, old_encoder=encoder_of(n_vectors))


def do_restore(index: Path, tree: Path, n_vectors: int) -> None:
    restore_snapshot(index, "kept")


def do_export(index: Path, tree: Path, n_vectors: int) -> None:
    export_index(index, index.with_name(f"{index.name}.parquet"))


OPERATIONS: dict[str, Callable[[Path, Path, int], None]] = {
    "first ingest": do_ingest,
    "ingest": do_ingest,
    "sync": do_sync,
    "optimise": do_optimise,
    "forget": do_forget,
    "reindex": do_reindex,
    "restore": do_restore,
    "export": do_export,
}
CHILD = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from tests.test_faults_random import OPERATIONS, contents
    contents(Path({warm!r}))  # all that is imported late, so that the kill meets the operation
    print("ready", flush=True)
    OPERATIONS[{operation!r}](Path({index!r}), Path({tree!r}), {n_vectors})
"""
Contents = list[tuple[object, ...]]


@dataclass(slots=True)
class World:
    """A source, an index of it as it was, and what each operation makes of a copy."""

    folder: Path
    n_vectors: int
    after: dict[str, Contents] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def index(self) -> Path:
        return self.folder / "index"

    def copy(self, operation: str, target: Path) -> None:
        """The index before the operation; none before the first ingest."""
        if operation != "first ingest":
            shutil.copytree(self.index, target)

    def start(self, operation: str, index: Path) -> subprocess.Popen[str]:
        """A process that has loaded everything, and does the operation now."""
        code = textwrap.dedent(CHILD).format(
            root=str(Path(__file__).parent.parent),
            operation=operation,
            index=str(index),
            tree=str(self.tree),
            n_vectors=self.n_vectors,
            warm=str(self.index),
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
        return child

    def undisturbed(self, operation: str) -> Contents:
        """What the operation makes where nothing disturbs it; measured once."""
        if operation not in self.after:
            target = self.folder / f"undisturbed {operation}"
            self.copy(operation, target)
            child = self.start(operation, target)
            started = time.monotonic()
            _, errors = child.communicate()
            assert child.returncode == 0, errors
            self.seconds[operation] = time.monotonic() - started
            self.after[operation] = contents(target)
        return self.after[operation]


def contents(index: Path) -> Contents:
    """What a reader sees, and that the vectors and terms are of the same state."""
    with open_index(index, encoder=None) as opened:
        rows = opened._payload.row_ids[:]
        chunks = opened.fetch(rows)
        ranked, _ = opened.dense(np.eye(1, opened.manifest.seal.dim, dtype=np.float32), k=len(rows))
        assert sorted(ranked[0].tolist()) == sorted(rows.tolist())
        assert opened.lexical(["note"], k=1)[0][0, 0] >= 0
    return sorted((c.doc_id, c.chunk_no, c.title, c.text) for c in chunks)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, World]:
    """With one vector a chunk, and with three more."""
    made = {}
    for n_vectors in (0, 3):
        world = World(tmp_path_factory.mktemp(f"world-{n_vectors}"), n_vectors)
        world.tree.mkdir()
        for number in range(N_NOTES):
            text = f"note number {number} on daily work. " * (1 + number % 5)
            (world.tree / f"note-{number}.txt").write_text(text)
        do_ingest(world.index, world.tree, n_vectors)
        take_snapshot(world.index, "kept")
        for number in range(5):  # changes of every kind wait for an ingest or a sync
            (world.tree / f"note-{number}.txt").write_text(f"note changed in place {number}")
            (world.tree / f"new-{number}.txt").write_text(f"a new note {number}")
        (world.tree / "note-30.txt").unlink()
        made[n_vectors] = world
    return made


@pytest.fixture(autouse=True)
def _tidiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """`do_optimise` sets it for its process; here it is set back after each test."""
    monkeypatch.setattr(
        store_module.ChunkStore, "is_untidy", store_module.ChunkStore.__dict__["is_untidy"]
    )


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """What the faults met, printed at the end."""
    counts: Counter[str] = Counter()
    yield counts
    print(f"\n{dict(counts)}")


def check(world: World, operation: str, index: Path, before: Contents | None) -> str:
    """One whole state now; and the operation, again, ends as if nothing had happened.

    Returns:
        Which state readers saw, and whether something was under way.
    """
    after = world.undisturbed(operation)
    if before is None and not (index / "manifest.json").is_file():
        with pytest.raises(IndexFormatError, match=r"half written|holds no index|does not exist"):
            open_index(index, encoder=None)
        seen = "nothing published" if index.is_dir() else "nothing begun"
    else:
        now = contents(index)
        assert now in (before, after)
        is_untouched = before is not None and folder_bytes(index) == folder_bytes(world.index)
        seen = "untouched" if is_untouched else "the old state" if now == before else "the new"
    OPERATIONS[operation](index, world.tree, world.n_vectors)
    assert contents(index) == after
    assert verify_index(index).problems == []
    return seen


def numbered(n_all: int, n_short: int) -> list[object]:
    return [
        pytest.param(n, marks=[] if n < n_short else [pytest.mark.faults]) for n in range(n_all)
    ]


@pytest.mark.parametrize("number", numbered(N_KILLS, N_KILLS_SHORT))
def test_kill_9_at_a_random_moment(
    worlds: dict[int, World], tmp_path: Path, tally: Counter[str], number: int
):
    """Every operation in turn, with and without compressed vectors, the moment drawn by a seed."""
    operation = list(OPERATIONS)[number % len(OPERATIONS)]
    world = worlds[3 * (number // len(OPERATIONS) % 2)]
    world.undisturbed(operation)
    index = tmp_path / "index"
    world.copy(operation, index)
    before = None if operation == "first ingest" else contents(index)
    child = world.start(operation, index)
    time.sleep(random.Random(number).random() * world.seconds[operation])
    child.kill()
    _, errors = child.communicate()
    assert child.returncode in (-signal.SIGKILL, 0), errors  # 0: it was done by then
    was_killed = child.returncode != 0
    tally["killed" if was_killed else "done before"] += 1
    tally[check(world, operation, index, before)] += was_killed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A folder, and a function that gives the disk under it a size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str, kind: str = "remount,") -> None:
        place = ["-t", "tmpfs", "tmpfs", str(folder)] if not kind else [str(folder)]
        command = ["mount", "-o", f"{kind}size={size}", *place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")

    mount("64m", "")
    yield folder, mount
    # lazily: maps of the index may still be open
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs, as Linux has it")
@pytest.mark.parametrize("number", numbered(N_FULL, N_FULL_SHORT))
def test_a_disk_that_fills_up(
    worlds: dict[int, World], small_disk, tally: Counter[str], number: int
):
    """Room for some of what an operation writes, drawn by a seed: told, and gone on with."""
    operation = list(OPERATIONS)[number % len(OPERATIONS)]
    world = worlds[3 * (number // len(OPERATIONS) % 2)]
    world.undisturbed(operation)
    folder, mount = small_disk
    index = folder / "index"
    world.copy(operation, index)
    before = None if operation == "first ingest" else contents(index)
    used = shutil.disk_usage(folder).used
    room = random.Random(number).random() * folder_bytes(world.index)
    mount(f"{(used + int(room)) // 1024}k")
    try:
        OPERATIONS[operation](index, world.tree, world.n_vectors)
        tally["fitted"] += 1
    except IndexFormatError as error:
        tally["disk full"] += 1
        assert "no space left" in error.message or "cannot be written" in error.message, error
    mount("64m")
    check(world, operation, index, before)
