"""Start TensorBoard with torch-tb-profiler on a run's profiles, on loopback only. Never imports torch.

A legacy viewer: upstream removed the plug-in in April 2026, and its page loads its charts from the network.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from convbench.core.errors import ConvbenchError
from convbench.core.storage import profiles
from convbench.report.viewers.loopback import LOOPBACK, free_port

EXTRA = "convbench[tensorboard]"
PLUGIN = "pytorch_profiler"
POLL = 0.1
"""Seconds between two checks whether TensorBoard serves yet."""


def start(run: Path, port: int) -> tuple[str, subprocess.Popen[bytes]]:
    """Start TensorBoard on the profiles of ``run``; return its address and process as soon as it serves.

    Raises ConvbenchError if the extra is not installed, the run has no profiles, the port is in use, or TensorBoard
    does not start.
    """
    missing = [package for package in ("tensorboard", "torch_tb_profiler") if find_spec(package) is None]
    if missing:
        raise ConvbenchError(f"{' and '.join(missing)} not installed: pip install '{EXTRA}'")
    if not run.is_dir():
        raise ConvbenchError(f"{run}: there is no such run: name a run directory")
    if run.name == profiles.PROFILES and not (run / profiles.PROFILES).is_dir():
        run = run.parent  # also take the profiles' directory, as TensorBoard's --logdir does
    if not list(profiles.profiles_of(run)):
        raise ConvbenchError(f"{run}: holds no profiles: name a run that `convbench profile SUITE` made")
    port = free_port(port)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run / profiles.PROFILES)]
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen([*command, "--host", LOOPBACK, "--port", str(port)], stderr=messages)
        try:
            while not _answers(port):
                if process.poll() is not None:
                    messages.seek(0)
                    raise exit_error(process.returncode, messages.read().decode(errors="replace"))
                time.sleep(POLL)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return f"http://{LOOPBACK}:{port}/#{PLUGIN}", process


def exit_error(code: int, messages: str = "") -> ConvbenchError:
    """Return an error that TensorBoard ended by itself, with the last line of its messages."""
    last_line = next((line.strip() for line in reversed(messages.splitlines()) if line.strip()), "")
    return ConvbenchError(f"TensorBoard has ended with exit code {code}{last_line and f': {last_line}'}")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
