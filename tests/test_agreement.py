"""Test the agreement of two runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import records

from convbench.analysis.compare import match
from convbench.analysis.results import results
from convbench.analysis.run_agreement import agreement
from convbench.core.record import Finding, Reading
from convbench.report.words.comparison import notes


def run(seconds, spread=0.0):
    """Return results of cases with the given seconds, as old records, whose interval is that of their samples."""
    cases = [records.case("fc", size) for size in (8, 16, 32)]
    run_records = []
    for case, value in zip(cases, seconds, strict=True):
        record = records.record(case)
        samples = tuple(value * (1 + spread * (i - 10) / 10) for i in range(21))
        readings = [r for r in record.readings if r.metric.name != "latency_s"]
        latency = next(r for r in record.readings if r.metric.name == "latency_s")
        run_records.append(replace(record, readings=(*readings, Reading(latency.metric, samples))))
    return results(run_records)


def test_a_run_agrees_with_itself():
    result = agreement(run([1.0, 2.0, 3.0]), run([1.0, 2.0, 3.0]))
    assert (result.meet, result.factors, result.contradictions, result.apart) == (1.0, (1.0, 1.0, 1.0), 0, 3)
    assert result.same_pick


def test_a_reversed_order_is_a_contradiction():
    result = agreement(run([1.0, 2.0, 3.0]), run([2.0, 1.0, 3.0]))
    assert (result.apart, result.contradictions) == (3, 1)
    assert result.factors[2] == 2.0
    assert result.meet == 1 / 3


@pytest.mark.parametrize(("seconds", "words"), [
    ([1.0, 2.0, 3.0], "3 of 3 cases; of 3 orders that A is sure of, none is reversed in B; A’s pick is tied or first"),
    ([2.0, 1.0, 3.0], "1 of 3 cases; of 3 orders that A is sure of, 1 is reversed in B; the pick differs."),
    ([3.0, 2.0, 1.0], "1 of 3 cases; of 3 orders that A is sure of, 3 are reversed in B; the pick differs."),
])  # fmt: skip
def test_the_agreement_is_told_in_words(seconds, words):
    runs = [run([1.0, 2.0, 3.0]), run(seconds)]
    assert words in notes(match(runs), runs, 1, "B")[-1]


def test_wide_intervals_contradict_nothing():
    result = agreement(run([1.0, 2.0, 3.0], spread=3), run([2.0, 1.0, 3.0], spread=3))
    assert (result.apart, result.contradictions, result.meet) == (0, 0, 1.0)


def test_a_withheld_case_is_counted_and_not_compared():
    """A case that the other run never had in its plan, or that failed there, is not withheld."""
    runs = [run([1.0, 2.0, 3.0]) for _ in range(2)]
    remaining = [result for result in runs[1] if result.lstm_input != 16]
    never = replace(
        records.record(records.case("fc", 16), samples=0),
        findings=(Finding("withheld", data={"reason": "busy", "visits": 3, "threads": 1}),),
        readings=(),
    )
    withheld, failed = (results([record]) for record in (never, records.failed(never.case)))
    for second, count in ((remaining + withheld, 1), (remaining, 0), (remaining + failed, 0)):
        for pair in ((runs[0], second), (second, runs[0])):
            result = agreement(*pair)
            assert (result.cases, result.withheld) == (2, count)


def test_picks_are_chosen_among_the_shared_cases():
    second = [*run([1.0, 2.0, 3.0]), *results([records.record(records.case("gap"), latency=0.1)])]
    assert agreement(run([1.0, 2.0, 3.0]), second).same_pick
    assert not agreement(run([1.0, 2.0, 3.0]), run([2.0, 1.0, 3.0])).same_pick


def test_a_run_that_is_sure_of_no_order_is_reported():
    def said(spread):
        runs = [run([1.0, 1.1, 1.2], spread)] * 2
        return notes(match(runs), runs, 1, "B")[-1]

    assert "overlap in 3 of 3 cases; A is not sure of the order of any two; A’s pick" in said(3)
    assert "of 3 orders that A is sure of, none is reversed in B" in said(0)


def test_runs_without_a_case_in_common_are_not_compared():
    assert agreement(run([1.0, 2.0, 3.0]), []) is None
