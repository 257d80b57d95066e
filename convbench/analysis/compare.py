"""Runs side by side: the same cases matched, their latencies as ratios, and what else differs.

A ratio is of one case. Where both runs visited it in turns, round by round, it is formed visit by visit, so that what
both met is not in it; else from the two intervals, which hold the spread between the processes of either run.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from convbench.analysis import latencies
from convbench.analysis.costs.ranking import MARGIN
from convbench.analysis.results import Result, measured
from convbench.core import spread
from convbench.core.comparability import decides
from convbench.core.record import Case, Record, RunDescription, Scalar
from convbench.core.statistics import Interval, ratio_interval

Row = tuple[Result | None, ...]
OWN_NAME = "whole models"
"""What users' own models are called in a column that does not apply to them."""


class Match(NamedTuple):
    """One case in every run (None where a run lacks its result), and each run's latency over the first's.

    ``counts_differ`` says that parameters or FLOPs, which are exact, are not the same everywhere. ``elsewhere`` says
    that of runs of several machines one measured the case on another (or other software) than the first: it has no
    ratio.
    """

    case: Case
    results: tuple[Result | None, ...]
    ratios: tuple[Interval | None, ...]
    counts_differ: bool
    elsewhere: bool = False


class Summary(NamedTuple):
    """The cases that share a value of a column, and for every run but the first the ratio over it, paired by case."""

    value: str
    cases: int
    ratios: tuple[Interval | None, ...]


class Difference(NamedTuple):
    """A key of the environment or protocol with its value in every run; ``grave`` where it decides comparability."""

    key: str
    values: tuple[Scalar, ...]
    grave: bool


def match(runs: Sequence[Sequence[Result]]) -> list[Match]:
    """Cases that at least two runs have measured, matched by id; by all but the device where no device is shared."""
    devices = [{result.case.device for result in results} for results in runs]
    has_shared_device = bool(set.intersection(*devices)) if devices else False
    tables = [{_key(result.case, has_shared_device): result for result in measured(results)} for results in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    candidates: list[Row] = [tuple(table.get(key) for table in tables) for key in keys]
    rows = [row for row in candidates if sum(result is not None for result in row) > 1]
    columns = [_base_ratios(rows, run) for run in range(len(runs))]
    environments = [{result.record.environment for result in table.values()} for table in tables]
    # Runs that share no machine are compared across machines, which ``differences`` says of all their cases.
    is_mixed = [len(names | environments[0]) > 1 and bool(names & environments[0]) for names in environments]
    return [_match(row, ratios, is_mixed) for row, ratios in zip(rows, zip(*columns, strict=True), strict=True)]


def overall(matches: Sequence[Match], run: int) -> Interval | None:
    """The median of one run's ratios, and between what nine in ten of them lie; None without any.

    A few cases that went wrong in one of the runs do not move it, as they would a mean.
    """
    ratios = [ratio.median for match in matches if (ratio := match.ratios[run]) is not None]
    if not ratios:
        return None
    low, high = np.quantile(ratios, (0.05, 0.95))
    return Interval(statistics.median(ratios), float(low), float(high))


def apart(match: Match, run: int) -> float:
    """How far the ratio's interval lies beyond a tie, as a logarithm; 0 where it may be noise."""
    ratio = match.ratios[run]
    if ratio is None or not ratio.bounded or ratio.low <= 0:
        return 0.0
    return max(math.log(ratio.low / MARGIN), -math.log(ratio.high * MARGIN), 0.0)


def summaries(matches: Sequence[Match], name: str) -> list[Summary]:
    """By the values of a column of ``Case.axes``: the median of the cases' ratios with its 95 % interval over cases.

    What the cases of a group differ by is moderated by what those of all groups do (``core.spread``); the ratio of a
    single case is its own. What a whole run was faster or slower by is in every ratio and in no interval.
    """
    groups = by_axis(matches, name)
    runs = range(1, len(matches[0].ratios) if matches else 1)
    columns = [_intervals([[match.ratios[run] for match in group] for group in groups.values()]) for run in runs]
    return [
        Summary(value, len(group), tuple(column[index] for column in columns))
        for index, (value, group) in enumerate(groups.items())
    ]


def _intervals(groups: Sequence[Sequence[Interval | None]]) -> list[Interval | None]:
    """The interval of each group's ratios."""
    positive_ratios = [[ratio for ratio in group if ratio and ratio.median > 0] for group in groups]
    logs = [[math.log(ratio.median) for ratio in group] for group in positive_ratios]
    prior = spread.prior(logs)
    return [
        None if not group else group[0] if len(group) == 1 else spread.estimate(values, prior)
        for group, values in zip(positive_ratios, logs, strict=True)
    ]


def noise(matches: Sequence[Match], run: int) -> float | None:
    """How well a ratio is known: the median of their relative half widths; None where none is bounded."""
    half_widths = [ratio.relative_half_width for match in matches if (ratio := match.ratios[run]) and ratio.bounded]
    return statistics.median(half_widths) if half_widths else None


def in_turns(first: Record, second: Record) -> bool:
    """Whether two records of a case took turns: every round that both have ended in both before its next began."""
    starts = [{visit.round: visit.started for visit in record.visits if visit.timed and visit.sound}
              for record in (first, second)]  # fmt: skip
    rounds = [(starts[0][number], starts[1][number]) for number in sorted(starts[0].keys() & starts[1].keys())]
    return len(rounds) > 1 and all(max(pair) < min(next_pair) for pair, next_pair in pairwise(rounds))


def by_axis(matches: Sequence[Match], name: str) -> dict[str, list[Match]]:
    """Matches gathered by a column of ``Case.axes``, such as ``reducer`` or ``variant``."""
    groups: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        value = match.case.axes[name]
        if value is None:  # a user's own model: it is one where reducers are told apart, and has no backbone
            value = match.case.axes["model"] if name == "reducer" else OWN_NAME
        groups[str(value)].append(match)
    return dict(sorted(groups.items()))


def differences(runs: Sequence[RunDescription]) -> list[Difference]:
    """Every key of environment and protocol whose values differ, the grave ones first."""
    facts = [{**run.environment, **protocol_facts(run)} for run in runs]
    keys = dict.fromkeys(key for settings in facts for key in settings)
    columns = ((key, tuple(settings.get(key) for settings in facts)) for key in keys)
    rows = (Difference(key, values, decides(key, values)) for key, values in columns)
    return sorted((row for row in rows if len(set(map(repr, row.values))) > 1), key=lambda row: not row.grave)


def _match(row: Row, ratios: tuple[Interval | None, ...], is_mixed: Sequence[bool]) -> Match:
    """A run that ``is_mixed`` has some machines in common with the first, and others."""
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


def _base_ratios(rows: Sequence[Row], run: int) -> list[Interval | None]:
    """The ratio of that run over the first in every row, visit by visit where both took turns."""
    pairs = {
        i: (result.timing, base.timing)
        for i, row in enumerate(rows)
        if (result := row[run]) and (base := row[0]) and result is not base and result.timing and base.timing
    }
    turns = [i for i in pairs if _took_turns(rows[i][run], rows[i][0])]
    turn_ratios = dict(zip(turns, latencies.ratios([pairs[i] for i in turns]), strict=True))
    interval_ratios = {
        i: ratio_interval(result.interval, base.interval) for i, (result, base) in pairs.items() if i not in turn_ratios
    }
    return [_finite_ratio(turn_ratios.get(i) or interval_ratios.get(i)) for i in range(len(rows))]


def _took_turns(result: Result | None, base: Result | None) -> bool:
    return bool(result and base and in_turns(result.record, base.record))


def _finite_ratio(ratio: Interval | None) -> Interval | None:
    return ratio if ratio and math.isfinite(ratio.median) else None


def _key(case: Case, with_device: bool) -> str:
    return case.id if with_device else replace(case, device="").id


def protocol_facts(run: RunDescription) -> Mapping[str, Scalar]:
    """The settings of a run that its times belong to."""
    names = ("seed", "max_warmup", "max_time", "min_samples", "target")
    return {f"protocol.{name}": getattr(run.protocol, name) for name in names}
