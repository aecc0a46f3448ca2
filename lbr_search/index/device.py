"""The copy of a FAISS index on an accelerator, where there is one; never needed."""

from __future__ import annotations

import logging
from typing import Any

import faiss as faiss_module

faiss: Any = faiss_module  # its shipped stubs lack half of what the package holds
log = logging.getLogger(__name__)

GPU_MAX_HITS = 2_048
"""FAISS refuses to return more from a device."""


def to_gpu(index: Any) -> Any:  # noqa: ANN401 - a FAISS object
    """A copy of `index` on the first device, where this build of FAISS sees one; else None.

    An index that does not fit on the device stays on the CPU, with a warning in the log.
    """
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() < 1:
        return None
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:
        log.warning("%d vectors stay on the CPU, the device refused them: %s", index.ntotal, error)
        return None
