"""Runs side by side: matched cases, ratios, what differs."""

from dataclasses import replace

import pytest
import records

from convbench.analysis.compare import by, differences, match, overall
from convbench.analysis.results import results
from convbench.core.record import Protocol

CASES = [records.case("gap"), records.case("fc", 128), records.case("gap", variant="compile")]


def measured(scale, cases=CASES, **more):
    return results([records.record(case, latency=scale * (i + 1) * 1e-3, **more) for i, case in enumerate(cases)])


def test_ratios_are_over_the_first_run():
    matches = match([measured(2), measured(1), measured(4)])
    assert overall(matches, 1).median == pytest.approx(0.5, rel=0.02)
    assert overall(matches, 2).median == pytest.approx(2, rel=0.02)
    assert all(one.ratios[0] is None for one in matches)


def test_cases_of_one_run_only_are_not_matched():
    assert [one.case.architecture.reducer.name for one in match([measured(1), measured(1, CASES[:1])])] == ["gap"]


def test_failed_cases_are_no_match():
    assert match([measured(1), results([records.failed(case) for case in CASES])]) == []


def test_runs_on_different_devices_are_matched_by_all_else():
    gpu = [replace(case, device="cuda:0") for case in CASES]
    assert len(match([measured(1), measured(1, gpu)])) == 3
    assert len(match([measured(1), measured(1, [*gpu, CASES[0]])])) == 1


def test_exact_counts_that_differ_are_noticed():
    other = results([replace(records.record(CASES[0]), readings=(records.reading("params", 1),))])
    (one,) = match([measured(1), other])
    assert one.counts_differ
    assert not match([measured(1), measured(2)])[0].counts_differ


def test_groups_by_column():
    groups = by(match([measured(1), measured(1)]), "reducer")
    assert {name: len(several) for name, several in groups.items()} == {"fc": 1, "gap": 2}


def test_grave_differences_come_first():
    one = records.run_of([])
    other = replace(
        one, environment={**one.environment, "commit": "f", "torch": "2.6.0"}, protocol=Protocol(target=0.02)
    )
    found = differences([one, other])
    assert {(row.key, row.grave) for row in found} == {("torch", True), ("commit", False), ("protocol.target", True)}
    assert found[-1].key == "commit"
    assert differences([one, one]) == []
