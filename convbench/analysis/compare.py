"""Compare runs: match their cases, form ratios of their latencies, and list what else differs.

A ratio belongs to one case. If both runs visited the case in turns, round by round, the ratio is formed visit by visit,
so that slow moments that both met cancel. Otherwise it comes from the two intervals, which hold the spread between the
processes of each run.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from convbench.analysis.costs.ranking import MARGIN
from convbench.analysis.results import Result, latency_ratios, measured_results
from convbench.core import spread, traits
from convbench.core.comparability import decides
from convbench.core.record import Case, Record, RunDescription, Scalar
from convbench.core.statistics import Interval, ratio_interval

ResultRow = tuple[Result | None, ...]
OWN_NAME = "whole models"
"""The group of users' own models in a column that does not apply to them."""


class Match(NamedTuple):
    """One case in every run (None if a run lacks its result), and each run's latency over the first run's.

    ``counts_differ`` says that parameters or FLOPs, which are exact, differ between the runs. ``elsewhere`` says that a
    run of several machines measured the case on another machine (or with other software) than the first run, and so has
    no ratio.
    """

    case: Case
    results: tuple[Result | None, ...]
    ratios: tuple[Interval | None, ...]
    counts_differ: bool
    elsewhere: bool = False


class Summary(NamedTuple):
    """The cases that share a column's value, and the ratio of each further run over the first, paired by case."""

    value: str
    cases: int
    ratios: tuple[Interval | None, ...]


class KeyDifference(NamedTuple):
    """A key of the environment or protocol with its value in every run; ``grave`` if it makes the runs incomparable."""

    key: str
    values: tuple[Scalar, ...]
    grave: bool


def match(runs: Sequence[Sequence[Result]]) -> list[Match]:
    """Match by id the cases that at least two runs measured; ignore the device if no device is in all runs."""
    devices = [{result.case.device for result in results} for results in runs]
    has_shared_device = bool(set.intersection(*devices)) if devices else False
    tables = [
        {_key(result.case, has_shared_device): result for result in measured_results(results)} for results in runs
    ]
    keys = dict.fromkeys(key for table in tables for key in table)
    candidates: list[ResultRow] = [tuple(table.get(key) for table in tables) for key in keys]
    rows = [row for row in candidates if sum(result is not None for result in row) > 1]
    columns = [_base_ratios(rows, run) for run in range(len(runs))]
    environments = [{result.record.environment for result in table.values()} for table in tables]
    # Runs that share no machine are compared across machines: ``differences`` tells readers once for all cases.
    is_mixed = [len(names | environments[0]) > 1 and bool(names & environments[0]) for names in environments]
    return [_match(row, ratios, is_mixed) for row, ratios in zip(rows, zip(*columns, strict=True), strict=True)]


def overall(matches: Sequence[Match], run: int) -> Interval | None:
    """Return the median of one run's ratios and the range that holds nine in ten of them; None without ratios.

    Unlike a mean, the median is not moved by a few cases that went wrong in one of the runs.
    """
    ratios = [ratio.median for match in matches if (ratio := match.ratios[run]) is not None]
    if not ratios:
        return None
    low, high = np.quantile(ratios, (0.05, 0.95))
    return Interval(statistics.median(ratios), float(low), float(high))


def distance(ratio: Interval | None) -> float:
    """Return how far a ratio's interval lies beyond a tie, as a logarithm; 0 if the difference may be noise."""
    if ratio is None or not ratio.bounded or ratio.low <= 0:
        return 0.0
    return max(math.log(ratio.low / MARGIN), -math.log(ratio.high * MARGIN), 0.0)


def summaries(matches: Sequence[Match], name: str) -> list[Summary]:
    """Summarise ratios by a column of ``Case.axes``: the median over cases with its 95 % interval.

    The spread within a group is moderated by the spread within all groups (``core.spread``); the ratio of a single case
    keeps its own interval. If a whole run was faster or slower, that is in every ratio and in no interval.
    """
    groups = by_axis(matches, name)
    runs = range(1, len(matches[0].ratios) if matches else 1)
    columns = [_intervals([[match.ratios[run] for match in group] for group in groups.values()]) for run in runs]
    return [
        Summary(value, len(group), tuple(column[index] for column in columns))
        for index, (value, group) in enumerate(groups.items())
    ]


def _intervals(groups: Sequence[Sequence[Interval | None]]) -> list[Interval | None]:
    """Return the interval of each group's ratios; None for a group without any."""
    positive_ratios = [[ratio for ratio in group if ratio and ratio.median > 0] for group in groups]
    logs = [[math.log(ratio.median) for ratio in group] for group in positive_ratios]
    prior = spread.prior(logs)
    return [
        None if not group else group[0] if len(group) == 1 else spread.estimate(values, prior)
        for group, values in zip(positive_ratios, logs, strict=True)
    ]


def noise(matches: Sequence[Match], run: int) -> float | None:
    """Return how precisely ratios are known: the median of their relative half widths; None if none is bounded."""
    half_widths = [ratio.relative_half_width for match in matches if (ratio := match.ratios[run]) and ratio.bounded]
    return statistics.median(half_widths) if half_widths else None


def took_turns(first: Record, second: Record) -> bool:
    """Whether two records of a case took turns: in every shared round both started before either started the next.

    Only the starts of undisturbed visits are compared, and at least two rounds have to be shared.
    """
    starts = [{visit.round: visit.started for visit in record.visits if visit.is_timed and visit.is_sound}
              for record in (first, second)]  # fmt: skip
    rounds = [(starts[0][number], starts[1][number]) for number in sorted(starts[0].keys() & starts[1].keys())]
    return len(rounds) > 1 and all(max(pair) < min(next_pair) for pair, next_pair in pairwise(rounds))


def by_axis(matches: Sequence[Match], name: str) -> dict[str, list[Match]]:
    """Group matches by a column of ``Case.axes``, such as ``reducer`` or ``variant``."""
    groups: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        value = match.case.axes[name]
        if value is None:  # a user's own model: it counts as a reducer of its own, and has no backbone
            value = match.case.axes["model"] if name == "reducer" else OWN_NAME
        groups[str(value)].append(match)
    return dict(sorted(groups.items()))


def differences(runs: Sequence[RunDescription], cases: Iterable[Case] = ()) -> list[KeyDifference]:
    """Return every key of environment and protocol whose values differ between the runs, the grave ones first.

    ``cases`` are those that the runs share. The version of a runtime that none of them uses is not grave: a run notes
    it only if it has cases that use it.
    """
    facts = [{**run.environment, **protocol_facts(run)} for run in runs]
    keys = dict.fromkeys(key for settings in facts for key in settings)
    columns = ((key, tuple(settings.get(key) for settings in facts)) for key in keys)
    unused = traits.unused_packages(cases)
    rows = (KeyDifference(key, values, key not in unused and decides(key, values)) for key, values in columns)
    return sorted((row for row in rows if len(set(map(repr, row.values))) > 1), key=lambda row: not row.grave)


def _match(row: ResultRow, ratios: tuple[Interval | None, ...], is_mixed: Sequence[bool]) -> Match:
    """Build the match of a row. A run ``is_mixed`` if it shares a machine with the first and the two used several."""
    environment = row[0].record.environment if row[0] else None
    is_elsewhere = [
        is_mixed_run and result is not None and environment not in (None, result.record.environment)
        for is_mixed_run, result in zip(is_mixed, row, strict=True)
    ]
    comparable_ratios = tuple(None if is_other else ratio for is_other, ratio in zip(is_elsewhere, ratios, strict=True))
    measurements = [result for result in row if result is not None]
    counts = [{result.params for result in measurements}, {result.flops for result in measurements}]
    counts_differ = any(len(values - {None}) > 1 for values in counts)
    return Match(measurements[0].case, row, comparable_ratios, counts_differ, any(is_elsewhere))


def _base_ratios(rows: Sequence[ResultRow], run: int) -> list[Interval | None]:
    """Return the run's ratio over the first run in every row, formed visit by visit if the two took turns."""
    pairs = {
        i: (result, base)
        for i, row in enumerate(rows)
        if (result := row[run]) and (base := row[0]) and result is not base and result.latency and base.latency
    }
    turns = {i: pair for i, pair in pairs.items() if took_turns(pair[0].record, pair[1].record)}
    turn_ratios = dict(zip(turns, latency_ratios([*turns.values()]), strict=True))
    interval_ratios = {
        i: ratio_interval(result.latency, base.latency)
        for i, (result, base) in pairs.items()
        if i not in turns and result.latency and base.latency
    }
    ratios = (turn_ratios.get(i) or interval_ratios.get(i) for i in range(len(rows)))
    return [ratio if ratio and math.isfinite(ratio.median) else None for ratio in ratios]


def _key(case: Case, with_device: bool) -> str:
    return case.id if with_device else replace(case, device="").id


def protocol_facts(run: RunDescription) -> Mapping[str, Scalar]:
    """Return the protocol settings of a run that its times depend on."""
    names = ("seed", "max_warmup", "max_time", "min_samples", "target")
    return {f"protocol.{name}": getattr(run.protocol, name) for name in names}
