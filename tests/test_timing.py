"""Warm-up, sampling and the stopping rule, on synthetic times."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import records
import torch

from convbench.core.errors import CaseFailed
from convbench.core.record import Finding, Protocol
from convbench.measure import timing
from convbench.measure.timing import STEADY, Sample, StoppingRule, WarmUp, sample, warm_up
from convbench.plugins.probes import latency
from convbench.plugins.probes.latency import Usage


class FakeClock:
    """Returns the next of the given seconds for every call; nothing sleeps."""

    def __init__(self, seconds):
        self.seconds = iter(seconds)
        self.time_of_day = 0.0
        self.calls = 0

    def now(self):
        return self.time_of_day

    def time(self, call):
        call()
        self.calls += 1
        seconds = next(self.seconds)
        self.time_of_day += seconds
        return Sample(seconds)


def nothing():
    return None


def test_warm_up_ends_when_two_windows_agree():
    falling = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    clock = FakeClock([*falling, *itertools.repeat(0.1, 1000)])
    warm = warm_up(nothing, clock, max_seconds=100)
    assert warm.is_steady
    assert warm.calls == 20
    assert warm.seconds == pytest.approx(6.5)


def test_warm_up_stops_at_its_limit_without_steady_state():
    clock = FakeClock(0.01 * 1.1**n for n in itertools.count())
    warm = warm_up(nothing, clock, max_seconds=2.0)
    assert not warm.is_steady
    assert 2.0 <= warm.seconds < 2.5


def test_a_call_longer_than_the_warm_up_is_called_once():
    assert warm_up(nothing, FakeClock(itertools.repeat(30.0)), max_seconds=1.0).calls == 1


def test_sampling_stops_when_the_median_is_known():
    samples, verdict = sample(
        nothing, FakeClock(itertools.repeat(0.01)), StoppingRule(0.01, min_samples=20, max_time=10)
    )
    assert verdict == "precise"
    assert 20 <= len(samples) <= 22


def test_sampling_stops_when_time_is_up():
    noisy = itertools.cycle([0.1, 0.2, 0.3])
    samples, verdict = sample(nothing, FakeClock(noisy), StoppingRule(0.01, min_samples=20, max_time=5.0))
    assert verdict == "time is up"
    assert 5.0 <= sum(timing.host for timing in samples) < 5.4


def test_a_slow_call_still_gets_enough_samples_for_an_interval():
    samples, verdict = sample(
        nothing, FakeClock(itertools.repeat(60.0)), StoppingRule(0.01, min_samples=20, max_time=1.0)
    )
    assert (len(samples), verdict) == (6, "time is up")


def test_raw_samples_are_kept_in_order():
    seconds = [0.3, 0.1, 0.2] * 20
    samples, _ = sample(nothing, FakeClock(seconds), StoppingRule(1e-9, min_samples=20, max_time=5.0))
    assert [timing.host for timing in samples] == seconds[: len(samples)]


@pytest.mark.parametrize(
    ("scenario", "min_samples", "rule"),
    [
        ("inference", 20, StoppingRule(0.02, 20, 2.0)),
        ("streaming", 20, StoppingRule(0.02, 95, 8.0)),
        ("streaming", 200, StoppingRule(0.02, 200, 8.0)),
    ],
)
def test_streaming_takes_the_samples_that_its_99th_percentile_needs(scenario, min_samples, rule):
    """660 samples in seven visits; a percentile takes longer than a median."""
    protocol = Protocol(visits=7, target=0.02, min_samples=min_samples, max_time=2.0)
    assert latency._rule(SimpleNamespace(case=records.case(scenario=scenario)), protocol) == rule


@pytest.mark.parametrize(
    ("usage", "data"),
    [
        (Usage(2560, 3.0, 1.0), {"faults_per_call": 256.0, "system_share": 0.25}),
        (Usage(2559, 3.0, 1.0), None),
        (Usage(2560, 3.1, 1.0), None),
        (Usage(2560, 0.0, 0.0), None),
    ],
)
def test_many_page_faults_are_a_finding_if_they_take_much_of_the_time(usage, data):
    start, further = Usage(7, 2.0, 4.0), Usage(10, 0.5, 0.25)
    used = (usage + start + further).since(start + further)
    findings = [item for item in latency._page_faults(used, 10) if isinstance(item, Finding)]
    noted = [{key: finding.data[key] for key in ("faults_per_call", "system_share")} for finding in findings]
    assert noted == ([data] if data else [])


def test_a_warm_up_that_does_not_settle_is_a_finding():
    for change, codes in ((STEADY, []), (0.3, ["not_steady"])):
        findings = list(latency._within_one_process(WarmUp(1.0, 10, change), SimpleNamespace(verdict="precise"), None))
        assert [finding.code for finding in findings] == codes
    assert findings[0].data == {"change": 0.3}


@pytest.mark.parametrize(("waits", "host"), [(False, 0.3), (True, 1.2)])
def test_a_gpus_caller_who_waits_for_each_result_gets_no_mean_of_overlapping_calls(monkeypatch, waits, host):
    """In a block of ten, nine calls overlap: the 99th percentile of a stream's frames was that of such means."""
    now, busy = [0.0], []

    class Event:
        def __init__(self, **_: object) -> None:
            self.at = 0.0

        def record(self) -> None:
            self.at = now[0]

        def elapsed_time(self, other: Event) -> float:
            return (other.at - self.at) * 1e3

    def call() -> None:
        now[0] += 0.2

    def synchronize(_: object) -> None:
        now[0] += 1.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(timing, "keep_busy", lambda _, seconds: busy.append(seconds))
    sample = timing.CudaClock("cuda", 10, waits=waits).time(call)
    assert (sample.host, sample.device) == (pytest.approx(host), pytest.approx(0.2))
    assert busy == [pytest.approx(2.0)]


def test_only_a_stream_is_timed_frame_by_frame_on_a_gpu(monkeypatch):
    """A block's mean stays what a caller of many clips at a time sees."""

    def clock_for(_device: str, _call: object, *, waits: bool) -> None:
        answers.append(waits)
        raise CaseFailed("error", "no GPU")

    answers: list[bool] = []
    monkeypatch.setattr(latency, "clock_for", clock_for)
    for streams in (False, True):
        subject = SimpleNamespace(device="cuda", timed_call=None, case=SimpleNamespace(streams=streams))
        with pytest.raises(CaseFailed):
            list(latency.latency(subject, Protocol()))
    assert answers == [False, True]
