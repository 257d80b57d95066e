"""Test the effects of hosts on times: they are estimated from shared cases, with an interval, and removed."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace

import pytest

from convbench.analysis import hosts
from convbench.analysis.inference.host_effects import Cell, host_effects
from convbench.analysis.latencies import ratios
from convbench.analysis.results import results
from convbench.core import metrics, visits
from convbench.core.record import Protocol, Reading, Record, RunDescription, Visit
from convbench.core.statistics import ratio_interval
from convbench.core.storage import merging
from convbench.report.words import facts
from tests.records import case


def cells(effects: dict[str, float], cases: int, spread: float, seed: int = 0, per_case: int = 3) -> list[Cell]:
    chance = random.Random(seed)
    return [
        Cell(f"case-{number}", host, math.log(number + 1) + effects[host] + chance.gauss(0, spread))
        for number in range(cases)
        for host in chance.sample(sorted(effects), per_case)
    ]


def test_effects_are_exact_without_noise_and_sum_to_zero() -> None:
    truth = {"a": 0.1, "b": -0.05, "c": 0.0, "d": -0.05}
    effects = host_effects(cells(truth, 30, 0.0))
    assert {host: effect.log for host, effect in effects.items()} == pytest.approx(truth, abs=1e-9)
    assert sum(effect.log for effect in effects.values()) == pytest.approx(0, abs=1e-12)


def test_the_interval_covers_the_truth_at_its_level() -> None:
    truth = {f"host-{number}": 0.02 * (number - 4.5) for number in range(10)}
    covered = [
        abs(effect.log - truth[host]) <= effect.half_width
        for seed in range(60)
        for host, effect in host_effects(cells(truth, 60, 0.05, seed)).items()
    ]
    assert 0.92 < sum(covered) / len(covered) < 0.98


def test_the_interval_of_two_hosts_has_a_closed_form() -> None:
    """The hosts differ by 2 % in each of ten cases, in half of them the other way: all residuals are 1 %."""
    signs = [(i, host, sign * (-1) ** i) for i in range(10) for host, sign in (("a", 1), ("b", -1))]
    both = [Cell(str(i), host, i + 0.01 * sign) for i, host, sign in signs]
    effect = host_effects(both)["a"]
    assert effect.log == pytest.approx(0.0, abs=1e-12)
    assert effect.half_width == pytest.approx(1.96 * 1.4826 * 0.01 / math.sqrt(10 - 1))


def test_outlying_visits_do_not_shift_the_effects() -> None:
    truth = {"a": 0.1, "b": -0.1}
    plain = cells(truth, 80, 0.02, per_case=2)
    spoilt = [cell._replace(log=cell.log + 3.0) if number % 20 == 0 else cell for number, cell in enumerate(plain)]
    assert host_effects(spoilt)["a"].log == pytest.approx(0.1, abs=0.01)


def test_hosts_that_share_no_case_have_no_effects() -> None:
    assert host_effects([]) == {}
    assert host_effects([Cell("x", "a", 0.0), Cell("y", "a", 1.0)]) == {}
    assert host_effects([Cell("x", "a", 0.0), Cell("y", "b", 1.0)]) == {}


def test_effects_from_few_visits_shrink_towards_zero() -> None:
    effects = host_effects(cells({f"h{number}": 0.0 for number in range(6)}, 12, 0.2, seed=3))
    assert all(abs(effect.correction) < 0.5 * abs(effect.log) + 1e-9 for effect in effects.values())


def test_the_gap_between_two_hosts_has_a_correct_interval() -> None:
    """The effects are one number and its opposite, but used to count as two: the interval held the truth in 83 %."""
    truth = {"a": 0.1, "b": -0.1}
    apart = [hosts._greatest_gap(host_effects(cells(truth, 100, 0.05, seed, per_case=2))) for seed in range(200)]
    covered = [abs(log - 0.2) <= half for log, half in apart]
    assert 0.92 < sum(covered) / len(covered) < 0.98


def test_equal_hosts_are_corrected_by_a_third_of_the_noise() -> None:
    """A normal error of uncertain size leaves a third of the noise; half of it used to be left."""
    equal = [host_effects(cells({"a": 0.0, "b": 0.0}, 100, 0.05, seed, per_case=2))["a"] for seed in range(200)]
    taken = sum(abs(effect.correction) for effect in equal) / sum(abs(effect.log) for effect in equal)
    assert 0.26 < taken < 0.4


def measured(name: str, seconds: float, on: dict[int, str], factors: dict[str, float], seed: int = 0) -> Record:
    """Return a record of a case visited once per round, on the host that ``on`` gives for the round."""
    chance = random.Random(f"{name} {seed}")
    samples = [seconds * factors[host] * chance.lognormvariate(0, 0.01) for host in on.values()]
    return Record(
        replace(case(name, None), variant=()),
        "ok",
        (Reading(metrics.LATENCY, tuple(samples), (1,) * len(samples)),),
        environment="kind",
        conditions={"threads": 1},
        visits=tuple(Visit(number, host=host) for number, host in on.items()),
    )


SHARD_RUN = RunDescription("x", "", "", Protocol(visits=3), (), (), environment={"cpu": "a"}, fingerprint="kind")


def without_hosts(record: Record) -> Record:
    return replace(record, visits=tuple(replace(visit, host="") for visit in record.visits))


def run_on_hosts() -> list[Record]:
    factors = {"fast": 0.85, "slow": 1.15}
    names = ["gap", "gmp", "gem", "hybrid", "attention", "gdconv", "spatial-softmax", "flatten"]
    return [
        measured(name, 1e-3 * (1.1**number), {0: "fast", 1: "slow"} if number % 2 else {0: "slow", 1: "fast"}, factors)
        for number, name in enumerate(names)
    ] + [measured("fc", 1e-3 * 1.05, {0: "slow", 1: "slow"}, factors)]


def test_a_case_visited_only_by_the_slow_host_ranks_correctly() -> None:
    records = visits.join_visits(run_on_hosts())
    latencies = {result.series: result.latency.median for result in results(records)}
    assert latencies["gap"] < latencies["fc"] < latencies["gmp"]
    effects = hosts.effects(records)["kind"]
    assert effects["slow"].log - effects["fast"].log == pytest.approx(math.log(1.15 / 0.85), abs=0.02)


def test_ratios_are_formed_on_one_host_only() -> None:
    factors = {"fast": 0.5, "slow": 2.0}
    first = measured("gap", 1e-3, {0: "fast", 1: "slow"}, factors)
    second = measured("gmp", 2e-3, {0: "slow", 1: "slow"}, factors)
    first_timing, second_timing = (result.timing for result in results(visits.join_visits([first, second])))
    assert first_timing and second_timing
    assert ratios([(second_timing, first_timing)])[0].median == pytest.approx(2.0, rel=0.1), (
        "the round in which both were on the slow host"
    )


def test_equal_rounds_of_two_shards_are_not_paired() -> None:
    """If one of two shards was measured in a slower hour, the ratio of their reducers used to claim to be sure."""
    moments = {0: "quiet", 1: "quiet", 2: "quiet"}, {0: "slow", 1: "slow", 2: "slow"}
    factors = {"quiet": 1.0, "slow": 1.05}
    runs = [
        (replace(SHARD_RUN, started=started, planned=(record.case.id,)), [without_hosts(record)])
        for started, record in (
            ("monday", measured("gap", 1e-3, moments[0], factors)),
            ("tuesday", measured("gmp", 1e-3, moments[1], factors)),
        )
    ]
    _, merged = merging.merge(runs)
    first, second = (result.timing for result in results(merged))
    assert first and second
    assert ratios([(second, first)]) == [ratio_interval(second.interval, first.interval)], (
        "which hold what either hour did"
    )
    pairs = [(visit.round, visit.host) for record in merged for visit in record.visits]
    assert len(set(pairs)) == len(pairs)
    twice = merging.merge([merging.merge(runs), runs[0]])[1]
    assert [record.visits for record in twice] == [record.visits for record in merged]


def test_the_page_and_the_run_state_how_much_hosts_differ() -> None:
    records = visits.join_visits(run_on_hosts())
    (gap,) = hosts.gaps(hosts.effects(records))
    assert (gap.hosts, round(gap.slower, 1)) == (2, 0.3)
    assert gap.low < gap.slower < gap.high
    run = RunDescription(
        "x", "", "", Protocol(visits=2), (), (), environment={"cpu": "a", "cores": 2}, fingerprint="kind",
        hosts={"fast": "kind", "slow": "kind", "odd": "other"}, between_hosts=((gap,),),
        environments={"kind": {"cpu": "a", "cores": 2}, "other": {"cpu": "b", "cores": 2}},
    )  # fmt: skip
    text = facts.protocol(run)["Hosts"]
    assert text.startswith("3 hosts of 2 kinds. 1 with another processor. 2 hosts with one fingerprint, the slowest 3")
    assert text.endswith("on the cases that they share; their times are corrected for this")
    ratio, low, high = map(float, re.findall(r"-?\d+\.\d", text))
    assert low < ratio < high
    assert hosts.gaps({}) == ()
    older = replace(run, between_hosts=f"{text.partition('processor. ')[2]}.")
    assert facts.protocol(older)["Hosts"] == text, "version 0.1 stored the sentence"
    two_kinds = facts.protocol(replace(run, between_hosts=((gap, gap),)))["Hosts"]
    assert "2 kinds of hosts, never ranked together: 2 hosts with" in two_kinds
    assert "Hosts" not in facts.protocol(replace(run, hosts={}))


def test_a_run_on_one_host_mentions_no_hosts() -> None:
    assert hosts.effects([replace(run_on_hosts()[0], visits=(Visit(0), Visit(1)))]) == {}
