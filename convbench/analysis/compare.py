"""Runs side by side: the same cases matched, their latencies as ratios, and what else differs."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from convbench.analysis.costs.headlines import MARGIN
from convbench.analysis.results import Result, measured
from convbench.core.comparability import decides
from convbench.core.record import Case, Run, Scalar
from convbench.core.statistics import Interval, ratio_interval


class Match(NamedTuple):
    """One case in every run (None where a run lacks its result), and each run's latency over the first's.

    ``counts_differ`` says that parameters or FLOPs, which are exact, are not the same everywhere.
    """

    case: Case
    results: tuple[Result | None, ...]
    ratios: tuple[Interval | None, ...]
    counts_differ: bool


class Difference(NamedTuple):
    """A key of the environment or protocol with its value in every run; ``grave`` where it decides comparability."""

    key: str
    values: tuple[Scalar, ...]
    grave: bool


def match(runs: Sequence[Sequence[Result]]) -> list[Match]:
    """Cases that at least two runs have measured, matched by id; by all but the device where no device is shared."""
    devices = [{one.case.device for one in found} for found in runs]
    shared = bool(set.intersection(*devices)) if devices else False
    tables = [{_key(one.case, shared): one for one in measured(found)} for found in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = (tuple(table.get(key) for table in tables) for key in keys)
    return [_match(row) for row in rows if sum(one is not None for one in row) > 1]


def overall(matches: Sequence[Match], run: int) -> Interval | None:
    """The median of one run's ratios, and between what nine in ten of them lie; None without any.

    A few cases that went wrong in one of the runs do not move it, as they would a mean.
    """
    known = [ratio.median for one in matches if (ratio := one.ratios[run]) is not None]
    if not known:
        return None
    low, high = np.quantile(known, (0.05, 0.95))
    return Interval(statistics.median(known), float(low), float(high))


def apart(match: Match, run: int) -> float:
    """How far the ratio's interval lies outside of ±10 %, as a logarithm; 0 where it may be noise."""
    ratio = match.ratios[run]
    if ratio is None or not ratio.bounded or ratio.low <= 0:
        return 0.0
    return max(math.log(ratio.low / MARGIN), -math.log(ratio.high * MARGIN), 0.0)


def by(matches: Sequence[Match], name: str) -> dict[str, list[Match]]:
    """Matches gathered by a column of ``Case.axes``, such as ``reducer`` or ``variant``."""
    groups: dict[str, list[Match]] = defaultdict(list)
    for one in matches:
        groups[str(one.case.axes[name] or one.case.axes["model"])].append(one)
    return dict(sorted(groups.items()))


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Every key of environment and protocol whose values differ, the grave ones first."""
    facts = [{**run.environment, **protocol(run)} for run in runs]
    keys = dict.fromkeys(key for one in facts for key in one)
    rows = (Difference(key, tuple(one.get(key) for one in facts), decides(key)) for key in keys)
    return sorted((row for row in rows if len(set(map(repr, row.values))) > 1), key=lambda row: not row.grave)


def _match(row: tuple[Result | None, ...]) -> Match:
    first = next(one for one in row if one is not None)
    counts = {(one.params, one.flops) for one in row if one is not None}
    return Match(first.case, row, tuple(_ratio(one, row[0]) for one in row), len(counts) > 1)


def _ratio(one: Result | None, first: Result | None) -> Interval | None:
    if one is None or first is None or one is first or not (one.latency and first.latency):
        return None
    ratio = ratio_interval(one.latency, first.latency)
    return ratio if math.isfinite(ratio.median) else None


def _key(case: Case, with_device: bool) -> str:
    return case.id if with_device else replace(case, device="").id


def protocol(run: Run) -> Mapping[str, Scalar]:
    """The settings of a run that its times belong to."""
    names = ("seed", "max_warmup", "max_time", "min_samples", "target")
    return {f"protocol.{name}": getattr(run.protocol, name) for name in names}
