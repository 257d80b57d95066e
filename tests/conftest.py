"""Settings and fixtures that all tests share.

torch uses one thread, so that the machine's other work does not slow small models. Ctrl-C is not ignored, as it
otherwise is in a shell's background jobs and all processes that they start. Files that start processes, train, compile
or trace are marked slow: ``make quick`` omits them.
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
from multiprocessing import util
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from hypothesis import settings

from convbench.measure.machine.cgroup import available_cores

settings.register_profile("any machine", deadline=None)  # a busy machine takes longer than any deadline
settings.load_profile("any machine")

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
    "test_newcomer", "test_field", "test_isolate", "test_slurm", "test_api", "test_check_worker", "test_check",
    "test_check_sides", "test_bisect", "test_hostile", "test_figures", "test_check_selftest", "test_pytest_plugin",
    "test_gpu_kit", "test_trials", "test_executor", "test_counts", "test_prediction", "test_cli_profiling",
    "test_history_confirm", "test_tensorboard", "test_profiling",
)  # fmt: skip
"""The files that take longest, in the order in which they start, so that none of them runs alone at the end."""
NEW_FORKSERVERS = {"test_early_server", "test_cuda"}
"""The files whose forkservers are new processes: tests of their start, and of a GPU, as a run starts them."""

gc.disable()  # until all tests are collected: what is imported is no garbage, and walking it takes time
# Rewriting the assertions takes half of pytest's start, so it is cached even where PYTHONDONTWRITEBYTECODE is set.
NO_BYTECODE, sys.dont_write_bytecode = sys.dont_write_bytecode, False

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers for ``-n auto``: two more than there are cores, because tests often wait for processes."""
    return available_cores() + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    begun = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: begun.get(Path(item.path).stem, len(LONG)))
    for item in items:
        if Path(item.path).stem in SLOW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    sys.dont_write_bytecode = NO_BYTECODE
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> None:
    """Exclude imported objects from garbage collection, as a measuring process does. Walking them takes 0.25 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def forgotten_graphs() -> None:
    """Forget what other files compiled in this process: torch captures a function anew a few times, then never more."""
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()


@pytest.fixture(scope="module", autouse=True)
def forked_forkservers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork the forkservers that tests start from a process that has imported torch, which takes most of their start."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux" and request.path.stem not in NEW_FORKSERVERS:
            patch.setattr(util, "spawnv_passfds", forked.spawn_or_fork)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, which makes no requests of its own. If it is not installed, tests that need it are skipped."""
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
    """A function that runs a command in a folder like a new process, but in this one, which has imported everything."""
    from convbench.cli import app, ending
    from convbench.core import installed

    def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setenv(installed.VARIABLE, os.environ.get(installed.VARIABLE, ""))  # ``--plugins`` writes to it
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["convbench"])
        capsys.readouterr()
        # A new process would not have the handlers that libraries left here, such as Ray's of SIGTERM.
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
