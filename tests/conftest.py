"""What all tests share.

One thread, so that small models are not slowed by the machine's other work; and a Ctrl-C that arrives, which a shell's
background jobs ignore, they and all that they start. Files that start processes, train, compile or trace are slow:
``make quick`` leaves them out.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

SLOW = {
    "test_advise_cli", "test_api", "test_browser", "test_check", "test_check_cli", "test_check_selftest",
    "test_check_sides", "test_check_worker", "test_claims_page", "test_cli", "test_cli_profiling", "test_counts",
    "test_executor",
    "test_field", "test_figures", "test_fuzz", "test_harness", "test_hostile", "test_isolate", "test_learning",
    "test_malloc", "test_newcomer", "test_prediction", "test_profiling", "test_pytest_plugin", "test_runtimes",
    "test_shelves", "test_stages",
    "test_tasks", "test_tensorboard", "test_training",
}  # fmt: skip

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).stem in SLOW:
            item.add_marker(pytest.mark.slow)
