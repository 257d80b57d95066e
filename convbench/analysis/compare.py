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
OWN = "whole models"
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
    shared = bool(set.intersection(*devices)) if devices else False
    tables = [{_key(result.case, shared): result for result in measured(results)} for results in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    aligned: list[Row] = [tuple(table.get(key) for table in tables) for key in keys]
    rows = [row for row in aligned if sum(result is not None for result in row) > 1]
    columns = [_over_first(rows, run) for run in range(len(runs))]
    places = [{result.record.environment for result in table.values()} for table in tables]
    # Runs that share no machine are compared across machines, which ``differences`` says of all their cases.
    mixed = [len(place | places[0]) > 1 and bool(place & places[0]) for place in places]
    return [_match(row, ratios, mixed) for row, ratios in zip(rows, zip(*columns, strict=True), strict=True)]


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
        Summary(value, len(group), tuple(column[at] for column in columns))
        for at, (value, group) in enumerate(groups.items())
    ]


def _intervals(groups: Sequence[Sequence[Interval | None]]) -> list[Interval | None]:
    """The interval of each group's ratios."""
    positive = [[ratio for ratio in group if ratio and ratio.median > 0] for group in groups]
    logs = [[math.log(ratio.median) for ratio in group] for group in positive]
    common = spread.prior(logs)
    return [
        None if not group else group[0] if len(group) == 1 else spread.estimate(values, common)
        for group, values in zip(positive, logs, strict=True)
    ]


def noise(matches: Sequence[Match], run: int) -> float | None:
    """How well a ratio is known: the median of their relative half widths; None where none is bounded."""
    half_widths = [ratio.relative_half_width for match in matches if (ratio := match.ratios[run]) and ratio.bounded]
    return statistics.median(half_widths) if half_widths else None


def in_turns(first: Record, second: Record) -> bool:
    """Whether two records of a case took turns: every round that both have ended in both before its next began."""
    starts = [{visit.round: visit.started for visit in record.visits if visit.timed and visit.sound}
              for record in (first, second)]  # fmt: skip
    rounds = [(starts[0][at], starts[1][at]) for at in sorted(starts[0].keys() & starts[1].keys())]
    return len(rounds) > 1 and all(max(now) < min(after) for now, after in pairwise(rounds))


def by_axis(matches: Sequence[Match], name: str) -> dict[str, list[Match]]:
    """Matches gathered by a column of ``Case.axes``, such as ``reducer`` or ``variant``."""
    groups: dict[str, list[Match]] = defaultdict(list)
    for match in matches:
        value = match.case.axes[name]
        if value is None:  # a user's own model: it is one where reducers are told apart, and has no backbone
            value = match.case.axes["model"] if name == "reducer" else OWN
        groups[str(value)].append(match)
    return dict(sorted(groups.items()))


def differences(runs: Sequence[RunDescription]) -> list[Difference]:
    """Every key of environment and protocol whose values differ, the grave ones first."""
    facts = [{**run.environment, **protocol_facts(run)} for run in runs]
    keys = dict.fromkeys(key for settings in facts for key in settings)
    columns = ((key, tuple(settings.get(key) for settings in facts)) for key in keys)
    rows = (Difference(key, values, decides(key, values)) for key, values in columns)
    return sorted((row for row in rows if len(set(map(repr, row.values))) > 1), key=lambda row: not row.grave)


def _match(row: Row, ratios: tuple[Interval | None, ...], mixed: Sequence[bool]) -> Match:
    """``mixed`` runs have some machines in common with the first, and others."""
    first = row[0].record.environment if row[0] else None
    unlike = [
        any_other and result is not None and first not in (None, result.record.environment)
        for any_other, result in zip(mixed, row, strict=True)
    ]
    alike = tuple(None if other else ratio for other, ratio in zip(unlike, ratios, strict=True))
    present = [result for result in row if result is not None]
    counts = [{result.params for result in present}, {result.flops for result in present}]
    differ = any(len(values - {None}) > 1 for values in counts)
    return Match(present[0].case, row, alike, differ, any(unlike))


def _over_first(rows: Sequence[Row], run: int) -> list[Interval | None]:
    """The ratio of that run over the first in every row, visit by visit where both took turns."""
    pairs = {
        at: (result.timing, first.timing)
        for at, row in enumerate(rows)
        if (result := row[run]) and (first := row[0]) and result is not first and result.timing and first.timing
    }
    turns = [at for at in pairs if _took_turns(rows[at][run], rows[at][0])]
    paired = dict(zip(turns, latencies.ratios([pairs[at] for at in turns]), strict=True))
    apart = {
        at: ratio_interval(result.interval, first.interval) for at, (result, first) in pairs.items() if at not in paired
    }
    return [_finite(paired.get(at) or apart.get(at)) for at in range(len(rows))]


def _took_turns(result: Result | None, first: Result | None) -> bool:
    return bool(result and first and in_turns(result.record, first.record))


def _finite(ratio: Interval | None) -> Interval | None:
    return ratio if ratio and math.isfinite(ratio.median) else None


def _key(case: Case, with_device: bool) -> str:
    return case.id if with_device else replace(case, device="").id


def protocol_facts(run: RunDescription) -> Mapping[str, Scalar]:
    """The settings of a run that its times belong to."""
    names = ("seed", "max_warmup", "max_time", "min_samples", "target")
    return {f"protocol.{name}": getattr(run.protocol, name) for name in names}
