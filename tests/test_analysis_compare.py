"""Comparisons of runs: matched cases, ratios, differences."""

import sys
from dataclasses import replace

import pytest
import records

from convbench.analysis.compare import (
    by_axis,
    differences,
    distance,
    match,
    noise,
    overall,
    summaries,
    took_turns,
)
from convbench.analysis.results import results
from convbench.analysis.stored_runs import machine_slowdown
from convbench.core.comparability import differing, fingerprint
from convbench.core.record import Case, Choice, Finding, Protocol, Reading, Visit, Whole
from convbench.report.page.compare import view
from convbench.report.words.comparison import notes, sentence, trainings, warnings

CASES = [records.case("gap"), records.case("fc", 128), records.case("gap", variant="compile")]


def measured(scale, cases=CASES, **more):
    return results([records.record(case, latency=scale * (i + 1) * 1e-3, **more) for i, case in enumerate(cases)])


def test_ratios_are_relative_to_the_first_run():
    matches = match([measured(2), measured(1), measured(4)])
    assert overall(matches, 1).median == pytest.approx(0.5, rel=0.02)
    assert overall(matches, 2).median == pytest.approx(2, rel=0.02)
    assert all(matched_case.ratios[0] is None for matched_case in matches)


def test_cases_missing_from_one_run_are_not_matched():
    assert [
        matched_case.case.architecture.reducer.name for matched_case in match([measured(1), measured(1, CASES[:1])])
    ] == ["gap"]


def test_failed_cases_are_not_matched():
    assert match([measured(1), results([records.failed(case) for case in CASES])]) == []


def test_runs_on_different_devices_match_by_their_other_axes():
    gpu = [replace(case, device="cuda:0") for case in CASES]
    assert len(match([measured(1), measured(1, gpu)])) == 3
    assert len(match([measured(1), measured(1, [*gpu, CASES[0]])])) == 1


def test_differing_exact_counts_are_detected():
    other = results([replace(records.record(CASES[0]), readings=(records.reading("params", 1),))])
    (matched_case,) = match([measured(1), other])
    assert matched_case.counts_differ
    assert not match([measured(1), measured(2)])[0].counts_differ


def test_counts_missing_from_one_run_do_not_differ():
    untold = [records.record(case, latency=1e-3) for case in CASES]
    untold = [replace(r, readings=tuple(x for x in r.readings if x.metric.name == "latency_s")) for r in untold]
    assert not any(matched_case.counts_differ for matched_case in match([measured(1), results(untold)]))


def test_a_case_measured_on_another_machine_has_no_ratio():
    """A run of two machines beside one of the first. With one machine per run, the runs themselves differ instead."""
    merged = [*measured(1, CASES[:1], environment="e1"), *measured(1, CASES[1:], environment="e2")]
    matches = match([merged, measured(2, environment="e1")])
    assert [(m.elsewhere, m.ratios[1] is None) for m in matches] == [(False, False), (True, True), (True, True)]
    (warning,) = [text for text in warnings(matches, []) if "without a ratio" in text]
    assert warning.startswith(f"2 cases without a ratio, such as {CASES[1].id}: not measured on the same machine")
    plain = match([measured(1, environment="e1"), measured(2, environment="e2")])
    assert not any(matched_case.elsewhere for matched_case in plain)


def test_a_single_difference_is_worded_in_the_singular():
    counts = (records.reading("params", 1), records.reading("latency_s", 1e-3))
    other = results([replace(records.record(CASES[0]), readings=counts)])
    run = records.run_of([])
    torch = differences([run, replace(run, environment={**run.environment, "torch": "2.6.0"})])
    conditions, counts = warnings(match([measured(1), other]), torch)
    assert conditions.startswith("These runs were not made under the same conditions: PyTorch differs. A ratio")
    assert counts == "Parameters or FLOPs differ in 1 case: these are exact, so the models are not the same."
    both = differences([run, replace(run, environment={**run.environment, "torch": "2.6.0", "python": "3.9"})])
    assert "conditions: PyTorch and python differ. " in warnings(match([measured(1), other]), both)[0]


def test_differing_conditions_do_not_matter_without_timings():
    """A run of counts is measured in the command's own process, whose settings for timing differ."""
    run = records.run_of([])
    both = differences([run, replace(run, environment={**run.environment, "OMP_WAIT_POLICY": "PASSIVE"})])
    untimed = [replace(records.record(case), readings=(records.reading("params", 7),)) for case in CASES]
    assert warnings(match([results(untimed), results(untimed)]), both) == []
    assert len(warnings(match([measured(1), measured(1)]), both)) == 1


def test_matches_are_grouped_by_the_values_of_a_column():
    groups = by_axis(match([measured(1), measured(1)]), "reducer")
    assert {name: len(members) for name, members in groups.items()} == {"fc": 1, "gap": 2}


def test_own_models_are_named_by_options_and_not_as_backbones():
    """Own models appeared with all options among the backbones, and so among the reducers of a run without any."""
    models = [Case(Whole(Choice("net:build", (("classes", 37), ("hidden", size))))) for size in (64, 256)]
    own = [measured(scale, models) for scale in (1, 2)]
    assert [*by_axis(match(own), "backbone")] == ["whole models"]
    runs = [records.run_of([result.record for result in members]) for members in own]
    (word, table), *_ = view(runs, own, match(own))["summaries"]
    assert word == "model"
    assert {row[0] for row in table} == {"net:build(hidden=64)", "net:build(hidden=256)"}


def test_memory_differing_by_a_few_kib_is_the_same_machine():
    """Else each kernel update splits a history, refuses ``--resume`` and makes equal hosts of a cluster differ."""
    run = records.run_of(measured(1))
    before, after = ({**run.environment, "memory_bytes": size} for size in (25_276_510_208, 25_276_502_016))
    (row,) = differences([replace(run, environment=before), replace(run, environment=after)])
    assert (row.key, row.grave) == ("memory_bytes", False)
    assert fingerprint(before) == fingerprint(after)
    assert not differing(before, after)
    half = {**before, "memory_bytes": before["memory_bytes"] // 2}
    assert fingerprint(half) != fingerprint(before)
    assert differing(half, before) == ["memory_bytes"]


def test_runtimes_that_no_shared_case_uses_make_nothing_incomparable():
    """A run of eager cases could not be compared with one that also compiles, or also uses another runtime."""
    run = records.run_of([])
    other = replace(run, environment={**run.environment, "onnxruntime": "1.23.2", "compiler": "g++ 12.2.0"})
    eager, compiled = (replace(CASES[0], variant=variant) for variant in ((), (Choice("compile"),)))
    assert {(row.key, row.grave) for row in differences([run, other], [eager])} == {
        ("onnxruntime", False), ("compiler", False)
    }  # fmt: skip
    assert {row.key for row in differences([run, other], [eager, compiled]) if row.grave} == {"compiler"}
    unknown = replace(eager, variant=(Choice("not-installed"),))
    assert {row.key for row in differences([run, other], [unknown]) if row.grave} == {"onnxruntime", "compiler"}


def test_a_comparison_imports_no_variant_of_the_users(tmp_path, monkeypatch):
    """It ran in the process of ``compare`` and ``history``, and what was comparable depended on the path."""
    (tmp_path / "own_variant_of_records.py").write_text("def twice(subject): return subject\n")
    monkeypatch.syspath_prepend(tmp_path)
    run = records.run_of([])
    differences([run, run], [replace(CASES[0], variant=(Choice("own_variant_of_records:twice"),))])
    assert "own_variant_of_records" not in sys.modules


def test_serious_differences_come_first():
    run = records.run_of([])
    other = replace(
        run, environment={**run.environment, "commit": "f", "torch": "2.6.0"}, protocol=Protocol(target=0.02)
    )
    rows = differences([run, other])
    assert {(row.key, row.grave) for row in rows} == {("torch", True), ("commit", False), ("protocol.target", True)}
    assert rows[-1].key == "commit"
    assert differences([run, run]) == []


def visited(case, rounds, minute):
    """Return a record with one visit per round, each begun at ``minute`` after the hour of its round."""
    times = next(reading for reading in records.record(case).readings if reading.metric.name == "latency_s")
    samples = tuple(value for value in rounds for _ in range(5))
    visits = tuple(Visit(at, f"2026-11-22T{10 + at}:{minute:02}:00Z") for at in range(len(rounds)))
    return replace(records.record(case), readings=(Reading(times.metric, samples, (5,) * len(rounds)),), visits=visits)


SIZES = [records.case("fc", size) for size in (8, 16, 32, 64, 128, 256)]
SPEEDS = (1.0, 3.0, 1.4)
"""Slowness of the machine by round, which both runs experience if they take turns."""


def sized(scale, minute, speeds=SPEEDS):
    return [visited(case, [1e-3 * (i + 1) * scale * speed for speed in speeds], minute) for i, case in enumerate(SIZES)]


def a_day_later(visit):
    return replace(visit, started=visit.started.replace("11-22", "11-23"))


def test_runs_that_took_turns_are_paired_visit_by_visit():
    first, second = sized(1.0, 0), sized(1.1, 20)
    assert took_turns(first[0], second[0])
    matches = match([results(first), results(second)])
    assert all(matched_case.ratios[1].median == pytest.approx(1.1, rel=1e-3) for matched_case in matches)
    assert noise(matches, 1) < 0.02
    later = [replace(record, visits=tuple(map(a_day_later, record.visits))) for record in second]
    assert not took_turns(first[0], later[0])
    assert noise(match([results(first), results(later)]), 1) > 0.3


@pytest.mark.parametrize("starts", [((), ()), (("a", "b"), ("", "")), (("a", "c"), ("b", "")), (("a",), ("b",))])
def test_visits_without_times_or_in_one_round_are_not_turns(starts):
    first, second = (
        replace(records.record(), visits=tuple(Visit(at, began) for at, began in enumerate(moments)))
        for moments in starts
    )
    assert not took_turns(first, second)


def test_a_disturbed_visit_does_not_count_as_a_turn():
    first, second = sized(1.0, 0)[0], sized(1.1, 20)[0]
    spoilt = replace(
        second, visits=tuple(replace(visit, disturbed="busy" if visit.round else "") for visit in second.visits)
    )
    assert not took_turns(first, spoilt)


def test_groups_have_a_paired_ratio_and_interval_over_cases():
    scales = {"gap": (1.0, 1.0, 1.0), "fc": (1.18, 1.2, 1.22)}
    cases = [records.case(name, 8 * 2**i) for name in scales for i in range(3)]
    first = [records.record(case, latency=1e-3) for case in cases]
    second = [records.record(case, latency=1e-3 * scale)
              for case, scale in zip(cases, (*scales["gap"], *scales["fc"]), strict=True)]  # fmt: skip
    groups = summaries(match([results(first), results(second)]), "reducer")
    assert [(group.value, group.cases) for group in groups] == [("fc", 3), ("gap", 3)]
    fc, gap = (group.ratios[0] for group in groups)
    assert fc.median == pytest.approx(1.2, rel=0.02)
    assert fc.low > 1.1
    assert gap.low < 1.0 < gap.high


def test_a_group_of_one_case_has_its_own_interval():
    matches = match([measured(1), measured(2)])
    alone = next(group for group in summaries(matches, "reducer") if group.value == "fc")
    assert alone.ratios[0] == next(
        matched_case.ratios[1] for matched_case in matches if matched_case.case.axes["reducer"] == "fc"
    )


def test_a_case_missing_from_one_run_has_no_ratio():
    matches = match([measured(1), measured(2), measured(2, CASES[:1])])
    (_, gap) = summaries(matches, "reducer")
    assert gap.ratios[1] is not None
    assert next(group for group in summaries(matches, "reducer") if group.value == "fc").ratios[1] is None
    assert summaries([], "reducer") == []
    assert noise([], 1) is None


def test_beyond_noise_means_the_whole_interval_exceeds_ten_percent():
    slower, same = match([measured(1), measured(1.5)]), match([measured(1), measured(1.02)])
    assert all(distance(matched_case.ratios[1]) > 0 for matched_case in slower)
    assert not any(distance(matched_case.ratios[1]) for matched_case in same)


def test_the_machines_slowdown_follows_the_stated_median():
    def beside(reference):
        seconds = (reference, 3 * reference, 1.1 * reference)
        reading = replace(records.reading("reference_s", *seconds), visits=(1, 1, 1))
        return results([replace(record, readings=(*record.readings, reading)) for record in sized(1.0, 0)])

    assert machine_slowdown(match([beside(1e-3), beside(1.2e-3)])) == pytest.approx(1.2)
    assert machine_slowdown(match([measured(1), measured(2)])) is None


MACHINE = "took 1.25× as long for the reference workload in B"


@pytest.mark.parametrize(
    ("visits", "slowdown", "note"),
    [
        (1, 1.25, f"The machine itself {MACHINE}; corrected for that, B takes 1.60× the time of A."),
        (2, 1.25, f"At the stated speeds the machine {MACHINE}: that much of the ratio may be the machine’s."),
        (1, 1.019, None),
    ],
)
def test_the_machines_part_in_a_ratio_is_told(visits, slowdown, note):
    """Latencies of several visits are already at the machine's usual speed."""

    def beside(scale, reference):
        seconds = replace(records.reading("reference_s", *[reference] * visits), visits=(1,) * visits)
        measured = [visited(case, [scale * 1e-3] * visits, 0) for case in CASES]
        return results([replace(record, readings=(*record.readings, seconds)) for record in measured])

    first, second = beside(1, 1e-3), beside(2, slowdown * 1e-3)
    texts = notes(match([first, second]), [first, second], 1, "B")
    assert [text for text in texts if "reference workload" in text] == ([note] if note else [])


def test_runs_of_different_devices_share_no_memory():
    gpu = [replace(case, device="cuda:0") for case in CASES]
    across, alike = match([measured(1), measured(1, gpu)]), match([measured(1), measured(2)])
    assert [text.startswith("The runs share no device") for text in warnings(across, [])] == [True]
    assert warnings(alike, []) == []


def test_a_foreign_machine_costs_only_its_own_ratio():
    """The second of three runs measured a case elsewhere; the third's ratio over the first stands."""
    second = [*measured(1, CASES[:1], environment="e2"), *measured(1, CASES[1:], environment="e1")]
    matches = match([measured(1, environment="e1"), second, measured(3, environment="e1")])
    assert [matched_case.ratios[1] is None for matched_case in matches] == [True, False, False]
    assert [matched_case.ratios[2] is None for matched_case in matches] == [False] * 3
    assert matches[0].elsewhere


def test_runs_on_disjoint_machines_are_compared_as_a_whole():
    """The same hosts before and after an upgrade: ``differences`` says what changed for all of them."""
    before, after = (
        [*measured(1, CASES[:1], environment=first), *measured(1, CASES[1:], environment=other)]
        for first, other in (("e1", "e2"), ("e3", "e4"))
    )
    assert all(matched_case.ratios[1] for matched_case in match([before, after]))


def test_a_run_timed_entirely_elsewhere_is_reported():
    """The runs share their machines, but no case was timed on the same machine in both."""
    first = [*measured(1, CASES[:1], environment="e1"), *measured(1, CASES[1:], environment="e2")]
    second = [*measured(1, CASES[:1], environment="e2"), *measured(1, CASES[1:], environment="e1")]
    matches = match([first, second])
    assert sentence(matches, 1, "B") == "B has no case that was timed on the same machine and software as in A."
    assert notes(matches, [first, second], 1, "B") == []


def test_the_slowdown_counts_only_shared_machines():
    """The first run measured one of two cases on another, slower machine, which is in no ratio."""

    def beside(*places):
        measured = []
        for record, (environment, seconds) in zip(sized(1.0, 0), places, strict=False):
            reference = replace(records.reading("reference_s", *[seconds] * 3), visits=(1, 1, 1))
            measured.append(replace(record, environment=environment, readings=(*record.readings, reference)))
        return results(measured)

    first, second = beside(("e1", 1e-3), ("e2", 2e-3)), beside(("e1", 1e-3), ("e1", 1e-3))
    assert machine_slowdown(match([first, second])) == pytest.approx(1)


def test_runs_of_counts_alone_are_compared_by_counts():
    """The page said only that no timed case was shared."""

    def untimed(**counts):
        readings = tuple(Reading(metric(name), (value,)) for name, value in counts.items())
        return results([replace(records.record(case), readings=readings) for case in CASES[:2]])

    def metric(name):
        return records.reading(name).metric

    said = "B shares no timed case with A. Parameters and FLOPs"
    one, other = untimed(params=10.0, flops=4.0), untimed(params=10.0, flops=5.0)
    assert sentence(match([one, one]), 1, "B") == f"{said} are the same in all 2 shared cases."
    assert sentence(match([one, other]), 1, "B") == f"{said} differ in 2 of 2 shared cases."
    assert sentence(match([measured(1), untimed()]), 1, "B") == "B shares no timed case with A."
    assert sentence(match([one, other, one]), 2, "C") == "C" + said[1:] + " are the same in all 2 shared cases."
    small = untimed(params=10.0)
    assert "A. Parameters are the same in all 2 shared cases." in sentence(match([small, small]), 1, "B")


def test_withheld_and_trained_cases_are_reported_as_not_compared():
    """A disturbed run, or two runs of trainings, only gave "B shares no timed case with A"."""
    quiet = [records.record(case, latency=1e-3) for case in CASES[:2]]
    never = Finding("withheld", data={"reason": "busy", "visits": 3, "threads": 1})
    busy = [
        replace(
            record,
            findings=(never,),
            readings=tuple(reading for reading in record.readings if reading.metric.name != "latency_s"),
        )
        for record in quiet
    ]
    of_none, of_one = ([results(quiet), results(members)] for members in (busy, [busy[0], quiet[1]]))
    head = "B shares no timed case with A: 2 shared cases were never measured undisturbed in one of them."
    assert sentence(match(of_none), 1, "B").startswith(head)
    said = "B over A: 1 shared case was never measured undisturbed in one of them, without a ratio."
    assert said in notes(match(of_one), of_one, 1, "B")
    learnt = results([records.lesson(seed=seed) for seed in range(3)])
    [said] = trainings([learnt, learnt], "AB")
    assert said.startswith("Trainings and linear read-outs (3 in A and 3 in B) are not compared here: ")
    assert trainings(of_none, "AB") == []
