"""The protocol in words: what is said only where it applies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import records

from convbench.core import store
from convbench.measure.selection import Selection
from convbench.report.words.facts import protocol
from convbench.runs import sweep
from convbench.suite import load


def test_the_gates_floor_is_told_where_a_selftest_found_it() -> None:
    run = records.run_of([records.record()])
    assert "The gate sees" not in protocol(run)
    said = protocol(replace(run, visible_slowdown=0.05))["The gate sees"]
    assert said == "slowdowns from 5.0 % on, by its selftest on this machine (1 thread)"


def test_training_is_told_where_there_was_any() -> None:
    run = records.run_of([records.record()])
    assert "Training" not in protocol(run)
    trained = replace(run, planned=("a/gap/32/lstm128/8x4x1x32x32/eager/learn/cpu/identity/lr=0.002/seed=0",))
    assert protocol(trained)["Training"] == (
        "700 steps of Adam with a cosine schedule; 4,000 clips to learn from, 500 to choose by, 1,000 to report on"
    )


def test_a_run_remembers_the_floor_of_its_machine(tmp_path: Path) -> None:
    suite = load("smoke", ["metrics=[params]"])
    with sweep.executor_of(suite, "cpu") as executor:
        prepared = sweep.prepare(suite, executor, Selection(), "")
        sweep.begin(prepared, tmp_path, resume=False, visible_slowdown=0.05)
    assert store.read_run(tmp_path).visible_slowdown == 0.05
