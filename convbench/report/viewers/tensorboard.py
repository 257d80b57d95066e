"""Starts TensorBoard with torch-tb-profiler on a run's profiles, on loopback only. Never imports torch.

A legacy viewer: upstream removed the plug-in in April 2026, and its page loads its charts from the network.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from convbench.core import profiles
from convbench.core.errors import ConvbenchError
from convbench.report.viewers.loopback import LOOPBACK, free_port

EXTRA = "convbench[tensorboard]"
PLUGIN = "pytorch_profiler"


def start(run: Path, port: int) -> tuple[str, subprocess.Popen[bytes]]:
    """TensorBoard on the profiles of ``run``: its address and its process.

    Raises ConvbenchError where the extra is not installed, the run has no profiles, or the port is in use.
    """
    missing = [package for package in ("tensorboard", "torch_tb_profiler") if find_spec(package) is None]
    if missing:
        raise ConvbenchError(f"{' and '.join(missing)} not installed: pip install '{EXTRA}'")
    if not run.is_dir():
        raise ConvbenchError(f"{run}: there is no such run: name a run directory")
    if not list(profiles.profiles_of(run)):
        raise ConvbenchError(
            f"{run}: holds no profiles: run `convbench profile SUITE`, or set profile: true in a suite"
        )
    chosen = free_port(port)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run / profiles.PROFILES)]
    process = subprocess.Popen([*command, "--host", LOOPBACK, "--port", str(chosen)], stderr=subprocess.DEVNULL)
    return f"http://{LOOPBACK}:{chosen}/#{PLUGIN}", process
