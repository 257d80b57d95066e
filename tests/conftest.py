"""What all tests share.

One thread, so that small models are not slowed by the machine's other work; and a Ctrl-C that arrives, which a shell's
background jobs ignore, they and all that they start. Files that start processes, train, compile or trace are slow:
``make quick`` leaves them out.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from convbench.measure.machine.cgroup import available_cores

SLOW = {
    "test_advise_cli", "test_api", "test_bisect", "test_browser", "test_check", "test_check_cli",
    "test_check_selftest", "test_check_sides", "test_check_worker", "test_claims_page", "test_cli",
    "test_cli_profiling", "test_counts", "test_executor", "test_extras", "test_field", "test_figures", "test_fuzz",
    "test_harness", "test_hostile", "test_isolate", "test_learning", "test_malloc", "test_newcomer",
    "test_prediction", "test_profiling", "test_pytest_plugin", "test_runtimes", "test_shelves", "test_stages",
    "test_tasks", "test_tensorboard", "test_training", "test_trials",
}  # fmt: skip
LONG = (
    "test_runtimes", "test_docs", "test_fuzz", "test_cli", "test_ray", "test_check_cli", "test_browser",
    "test_newcomer", "test_slurm", "test_api", "test_check_worker", "test_check", "test_check_sides", "test_bisect",
    "test_hostile", "test_figures", "test_check_selftest", "test_pytest_plugin", "test_isolate", "test_tensorboard",
    "test_profiling",
)  # fmt: skip
"""Files that take longest, in the order in which they are begun: none of them is left to one worker at the end."""

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: two more than there are cores, since much of the time a test waits for processes of its own."""
    return available_cores() + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    begun = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: begun.get(Path(item.path).stem, len(LONG)))
    for item in items:
        if Path(item.path).stem in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> None:
    """What is imported by now is no garbage, as in a process that measures: to walk it takes a quarter of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, which asks for nothing by itself; what needs it is skipped where it is not installed."""
    chromium = shutil.which("chromium") or pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
             "disable-component-update", "disable-sync")  # fmt: skip
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=[f"--{flag}" for flag in quiet])
        yield launched
        launched.close()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    """Runs a command in a folder as its own process would, but in this one, which has imported everything already."""
    from convbench.cli import app, ending
    from convbench.core import installed

    def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv(installed.VARIABLE, os.environ.get(installed.VARIABLE, ""))  # ``--plugins`` writes into it
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["convbench"])
        capsys.readouterr()
        # A process of its own has no handler that a library has left here, as Ray's of SIGTERM.
        handlers = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            code = ending.code_of(partial(app, list(words), standalone_mode=False))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(words, code, out, err)

    return run
