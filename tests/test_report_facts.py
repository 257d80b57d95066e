"""The protocol in words: each fact is given only where it applies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import records

from convbench.analysis.results import results
from convbench.core.record import Visit
from convbench.core.storage import store
from convbench.report.words.facts import conditions, environment, fact, hosts, inner_title, place, protocol, title
from convbench.runs import preparation, sweep
from convbench.suite import load
from convbench.suite.selection import Selection


def test_the_gates_floor_is_given_after_a_selftest() -> None:
    run = records.run_of([records.record()])
    assert "The gate sees" not in protocol(run)
    text = protocol(replace(run, visible_slowdown=0.05))["The gate sees"]
    assert text == "slowdowns of 5.0 % or more, by its selftest on this machine (1 thread)"


def test_training_is_described_only_if_the_run_trains() -> None:
    run = records.run_of([records.record()])
    assert "Training" not in protocol(run)
    trained = replace(run, planned=("a/gap/32/lstm128/8x4x1x32x32/eager/learn/cpu/identity/lr=0.002/seed=0",))
    assert protocol(trained)["Training"] == (
        "700 steps of Adam with a cosine schedule; 4,000 clips to learn from, 500 to choose by, 1,000 to report on"
    )


def test_a_run_stores_the_gates_floor_of_its_machine(tmp_path: Path) -> None:
    suite = load("smoke", ["metrics=[params]"])
    with preparation.executor_of(suite, "cpu") as executor:
        prepared = preparation.prepare(suite, executor, Selection(), "")
        sweep.begin(prepared, tmp_path, resume=False, visible_slowdown=0.05)
    assert store.read_description(tmp_path).visible_slowdown == 0.05


@pytest.mark.parametrize(("key", "value", "words", "text"), [
    ("gpu_memory_bytes", 150109880320, "GPU memory", "140 GiB"), ("cudnn", 91900, "cuDNN", "9.19.0"),
    ("sm_clock_mhz", 1980, "SM clock", "1,980 MHz"), ("temperature_c", 36, "Temperature", "36 °C"),
    ("power_limit_mw", 700000, "Power limit", "700 W"), ("tf32_cudnn", True, "TF32 in cuDNN", "yes"),
    ("throttle_reasons", "", "Throttle reasons", "–"), ("OMP_WAIT_POLICY", "PASSIVE", "OMP_WAIT_POLICY", "PASSIVE"),
    ("torch", "2.11.0+cu130", "PyTorch", "2.11.0+cu130"), ("load_average", 2.89453125, "Load average", "2.89"),
    ("<b>own", 3, "<b>own", "3"),
])  # fmt: skip
def test_a_fact_has_a_title_and_its_unit(key: str, value: object, words: str, text: str) -> None:
    assert title(key) == words
    assert fact(key, value) == text


def test_an_unknown_value_is_not_listed_as_a_fact() -> None:
    run = records.run_of([], environment={"cpu": "x", "governor": None, "dirty": False})
    assert environment(run) == {"Processor": "x", "Uncommitted changes": "no"}


def test_the_threads_that_torch_would_take_are_not_those_of_the_cases() -> None:
    """A page said "2 threads" below the machine, and "1 thread" above each figure: the cases had one."""
    facts = {"cores": 16, "threads": 16, "cpu": "Xeon"}
    for device in ({"device": "cpu"}, {"device": "cuda:0", "gpu": "H200"}):
        run = records.run_of([], environment={**facts, **device})
        assert "16 cores" in place(run) and "thread" not in place(run)
        assert environment(run)["PyTorch's default threads"] == "16"


def test_a_condition_that_varies_is_a_range_in_its_unit() -> None:
    """A page listed "0 ns, 10.0 ms" and a load of "1.164 to 1.811"."""
    steals, loads, threads = (0.0, 0.01), (1.164, 1.811), (1, 2)
    run_records = [
        replace(
            records.record(records.case(name)), conditions={"steal_s": steal, "load_average": load, "threads": count}
        )
        for name, steal, load, count in zip(("gap", "gem"), steals, loads, threads, strict=True)
    ]
    ranges = conditions(results(run_records))
    assert (ranges["Taken by the host"], ranges["Load average"]) == ("0 ns to 10.0 ms", "1.16 to 1.81")
    assert ranges["Threads"] == "1, 2"


@pytest.mark.parametrize(("count", "words"), [(3, "1, 2, 3"), (4, "1 to 4")])
def test_more_than_three_numbers_are_a_range(count, words):
    cases = [records.case("fc", 8 * number) for number in range(1, count + 1)]
    run_records = [records.record(of, conditions={"queue": number}) for number, of in enumerate(cases, start=1)]
    assert conditions(results(run_records))["Queue"] == words


def test_a_run_of_two_machines_says_what_the_other_is():
    """A merged page named the second machine by its fingerprint alone: its processor was nowhere."""
    other = {**records.ENVIRONMENT, "cpu": "Intel Xeon 8481C", "cores": 8, "commit": "another"}
    run = records.run_of([], environments={"e1": records.ENVIRONMENT, "e2": other})
    words = environment(run)
    assert words["Processor"] == "AMD EPYC 7B13"
    assert words["Environment e2"] == "Cores: 8; Processor: Intel Xeon 8481C"
    assert words["Environment"] == "e1"
    assert "Environment e1" not in words


@pytest.mark.parametrize(("names", "between", "words"), [
    (("a",), "", "1 host"), (("a", "shard 1", "shard 2"), "", "1 host and 2 shards"),
    (("a", "b"), "even.", "2 hosts. even"),
])  # fmt: skip
def test_hosts_and_shards_are_counted(names, between, words):
    assert hosts(records.run_of([], hosts=dict.fromkeys(names, "e1"), between_hosts=between)) == words


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("2026-11-22T12:40:00Z", "2026-11-22 12:00 UTC"),
        ("2026-11-29T09:07:30Z", "2026-11-22 12:00 to 2026-11-29 09:07 UTC"),
    ],
)
def test_a_run_resumed_on_another_day_says_so(last, words):
    """The page had only the first day, though half of the cases were measured a week later."""
    visited = replace(records.record(), visits=(Visit(0, "2026-11-22T12:00:05Z"), Visit(1, last)))
    run = records.run_of([visited])
    assert place(run, results([visited])).endswith(f" · {words}")


def test_a_proper_name_within_a_sentence_keeps_its_capital():
    """A warning said "c++ compiler differs"."""
    assert inner_title("compiler") == "C++ compiler"
    assert inner_title("cpu") == "processor"
