"""Measure by how much a fresh process grows when a runtime loads and runs a model.

The measuring process cannot tell: it exported the model before, and the runtime reuses the memory that the export
freed.
"""

from __future__ import annotations

import gc
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from convbench.core.errors import CaseFailed
from convbench.models.deployment import Deployment, Example

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
UNKNOWN = "unknown"
PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from convbench.measure.memory import alone; alone.tell(sys.argv[1])"


def peak_rss_of(call: Callable[[], Any]) -> int | None:
    """Peak resident memory (B) of this process over one call, libraries included; None if the system does not tell."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return None
    call()
    return _status_bytes("VmHWM")


def growth(deployment: Deployment) -> int | None:
    """Bytes by which a fresh process grows from before it loads the model to the peak of a warmed-up call.

    torch is loaded before and does not count. None if the system does not report memory. Raises CaseFailed if that
    process cannot run the model.
    """
    if not CLEAR_REFS.exists():
        return None
    example = deployment.example
    row = Example(((tuple(example.tensors),), {}), None, None, example.names, example.outputs)
    runtime = deployment.runtime
    if hasattr(runtime, "quantisation"):
        runtime = replace(runtime, quantisation=None)  # type: ignore[type-var]  # its ranges are in the exported file
    job = deployment.folder.parent / f"{runtime.name}.pickle"
    job.write_bytes(pickle.dumps((runtime, deployment.folder, row, deployment.threads)))
    # With this process's import path: a file in the working directory must not shadow the standard library.
    command = [sys.executable, "-P", "-c", PROGRAM, str(job), *sys.path]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise CaseFailed("crash", f"{runtime.name} cannot run the exported model in a separate process: {reason}")
    result = process.stdout.split()[-1]
    return None if result == UNKNOWN else int(result)


def tell(path: str) -> None:
    """Print by how many bytes this process grows, or ``UNKNOWN``.

    ``path`` is a pickle of runtime, folder, example and number of threads.
    """
    runtime, folder, example, threads = pickle.loads(Path(path).read_bytes())
    torch.set_num_threads(threads)
    tensors = example.tensors
    gc.collect()
    baseline = _status_bytes("VmRSS")
    model = runtime.load(folder, example, threads)
    arrays = model.arrays(tensors)
    model.run(arrays)
    peak = peak_rss_of(lambda: model.run(arrays))
    sys.stdout.write(f"{UNKNOWN if peak is None or baseline is None else peak - baseline}\n")


def _status_bytes(name: str) -> int | None:
    """A value of the process's status, converted to bytes; None if it is missing."""
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text(errors="replace"))
    return int(match.group(1)) * 1024 if match else None
