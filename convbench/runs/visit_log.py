"""What a run has visited so far, case by case: its own visits, and those of the run that it resumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain

from convbench.core import visits
from convbench.core.record import Case, Record


class VisitLog:
    """The records of visits in the order in which they were made, and their rounds."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, list[Record]] = defaultdict(list)
        self._rounds: defaultdict[str, set[int]] = defaultdict(set)
        self._failed_ids: set[str] = set()

    def add(self, record: Record) -> None:
        """Add a record: of a visit just made, or of a case that an earlier run measured."""
        self._lines[record.case.id].append(record)
        self._rounds[record.case.id] |= {visit.round for visit in record.visits} or {0}
        if record.status != "ok":
            self._failed_ids.add(record.case.id)

    def hand_out(self, case: Case, number: int) -> None:
        """Note that a case is about to be visited in that round."""
        self._rounds[case.id].add(number)

    def visits_of(self, case: Case) -> Sequence[Record]:
        return self._lines[case.id]

    def record(self, case: Case) -> Record:
        """Join the visits to a case so far to its record."""
        return visits.join_visits(self._lines[case.id])[0]

    def records(self) -> list[Record]:
        """Join all visits so far to one record per case."""
        return visits.join_visits(chain.from_iterable(self._lines.values()))

    def rounds(self, case: Case) -> set[int]:
        """Return the rounds in which a case was or is being visited; round 0 for a case that is measured once."""
        return self._rounds[case.id]

    def has_failed(self, case: Case) -> bool:
        return case.id in self._failed_ids
