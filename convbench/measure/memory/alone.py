"""What a process grows by when a runtime loads and runs a model, measured in a process that has done nothing else.

The measuring process cannot tell: it has exported the model before, and the runtime reuses what that has freed.
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
PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from convbench.measure.memory import alone; alone.tell(sys.argv[1])"


def peak_rss_of(call: Callable[[], Any]) -> int | None:
    """The process's high-water mark of resident memory over one call, libraries included, where Linux tells it."""
    try:
        CLEAR_REFS.write_text("5")
        call()
        return _kilobytes("VmHWM")
    except OSError:
        return None


def growth(deployment: Deployment) -> int | None:
    """Bytes that a fresh process grew by from before the model is loaded to the peak of a warmed call.

    torch is loaded before, so that it does not count; None where the system does not tell. Raises CaseFailed where the
    model cannot be loaded there.
    """
    if not CLEAR_REFS.exists():
        return None
    example = deployment.example
    row = Example(((tuple(example.tensors),), {}), None, None, example.names, example.outputs)
    engine = deployment.engine
    if hasattr(engine, "quantisation"):
        engine = replace(engine, quantisation=None)  # type: ignore[type-var]  # its ranges are in the file by now
    job = deployment.folder.parent / f"{engine.name}.pickle"
    job.write_bytes(pickle.dumps((engine, deployment.folder, row, deployment.threads)))
    # With the path of this process: a file of the working directory must not take the standard library's place.
    command = [sys.executable, "-P", "-c", PROGRAM, str(job), *sys.path]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise CaseFailed("crash", f"{engine.name} cannot run the exported model in a process of its own: {reason}")
    return int(process.stdout.split()[-1])


def tell(path: str) -> None:
    """Print what this process grows by; what it is to load is pickled at the path."""
    engine, folder, example, threads = pickle.loads(Path(path).read_bytes())
    torch.set_num_threads(threads)
    tensors = example.tensors
    gc.collect()
    baseline = _kilobytes("VmRSS")
    model = engine.load(folder, example, threads)
    arrays = model.arrays(tensors)
    model.run(arrays)
    sys.stdout.write(f"{(peak_rss_of(lambda: model.run(arrays)) or 0) - baseline}\n")


def _kilobytes(name: str) -> int:
    """A line of the process's status, in bytes."""
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(match.group(1)) * 1024 if match else 0
