"""What a run has visited so far, case by case: its own visits, and those that an earlier run left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from convbench.core import visits
from convbench.core.record import Case, Record


class VisitLog:
    """The records of visits in the order in which they were made, and the rounds that they belong to."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, list[Record]] = defaultdict(list)
        self._rounds: defaultdict[str, set[int]] = defaultdict(set)
        self._failed_ids: set[str] = set()

    def add(self, record: Record) -> None:
        """Take note of a record: of a visit just made, or of a case that an earlier run left."""
        self._lines[record.case.id].append(record)
        self._rounds[record.case.id] |= {visit.round for visit in record.visits} or {0}
        if record.status != "ok":
            self._failed_ids.add(record.case.id)

    def hand_out(self, case: Case, number: int) -> None:
        """Take note that a case is about to be visited in that round."""
        self._rounds[case.id].add(number)

    def visits_of(self, case: Case) -> Sequence[Record]:
        return self._lines[case.id]

    def record(self, case: Case) -> Record:
        """What the visits to a case have come to so far."""
        return visits.join_visits(self._lines[case.id])[0]

    def records(self) -> list[Record]:
        """What all visits have come to so far, case by case."""
        return visits.join_visits(chain.from_iterable(self._lines.values()))

    def rounds(self, case: Case) -> set[int]:
        """The rounds in which a case was visited; of one that is measured once round 0."""
        return self._rounds[case.id]

    def has_failed(self, case: Case) -> bool:
        return case.id in self._failed_ids
