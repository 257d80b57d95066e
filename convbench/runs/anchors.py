"""Anchors: a few cases that every host of a group visits, so that the hosts' own effects can be estimated.

Hosts with one fingerprint form a group. Their measurements share a ranking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from zlib import crc32

from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.record import Case
from convbench.runs.executor import Host
from convbench.runs.visit_log import VisitLog

MOST = 3
"""The largest number of anchors of a group."""
FIRST_ROUND = 1000
"""Rounds from this number on are visits to anchors. Each host has a round of its own."""


class Anchors:
    """The anchors of each group of hosts, chosen once the group has measured enough cases."""

    def __init__(self, log: VisitLog) -> None:
        self._log = log
        self._by_group: dict[str, list[Case]] = {}

    def missing(self, cases: Sequence[Case], hosts: Sequence[Host]) -> Iterator[tuple[Case, int, Host]]:
        """Yield the visits to their group's anchors, chosen from these cases, that the hosts have not made yet."""
        for fingerprint, members in grouped(hosts, lambda host: host.fingerprint).items():
            anchors = self._group_anchors(fingerprint, cases) if len(members) > 1 else ()
            for host in members:
                number = FIRST_ROUND + crc32(host.name.encode())
                for case in [case for case in anchors if number not in self._log.rounds(case)]:
                    self._log.hand_out(case, number)
                    yield case, number, host

    def _group_anchors(self, fingerprint: str, cases: Sequence[Case]) -> Sequence[Case]:
        """The fastest, the slowest and the median of the eager cases that this group has measured."""
        if len(self._by_group.get(fingerprint, ())) < MOST:
            latencies = {
                case: seconds for case in cases if not case.variant and (seconds := self._seconds(case, fingerprint))
            }
            ranking = sorted(latencies, key=lambda case: (latencies[case], case.id))
            places = sorted({0, len(ranking) // 2, len(ranking) - 1}) if ranking else []
            self._by_group[fingerprint] = [ranking[place] for place in places]
        return self._by_group[fingerprint]

    def _seconds(self, case: Case, fingerprint: str) -> float | None:
        """Median seconds of a call in the group's first timed visit; None if there was none."""
        records = (record for record in self._log.visits_of(case) if record.environment == fingerprint)
        samples = (record.samples(metrics.LATENCY) for record in records)
        return next((median(latencies) for latencies in samples if latencies), None)
