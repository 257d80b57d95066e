"""Which case is visited next: facts first, then rounds over every case, then cases that leave the answer open.

1. *Facts*: each case is built, checked, compiled and counted once, several at a time, since none is timed.
2. *Rounds*: each case in a fresh process, in random order, the variants of one model side by side, on a core that
   changes from round to round. The first round fills the whole table. It is finished whatever the budget.
3. *Again*: cases whose visits were disturbed, and then the contenders that cannot yet be told from the fastest, round
   by round, until the answer is settled, the budget is spent, or more visits would not pay off.
4. *Trainings*: once each, within the budget. With ``until_sure``, further seeds where recommendations are open.

With several hosts, each also visits a few common cases (anchors), which tie the hosts together. Trainings are handed
out right after the facts then, to fill the gaps.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from convbench.analysis.choice.further import at_best_rate, further_trials
from convbench.analysis.choice.recommendation import look_of
from convbench.analysis.costs.headlines import undecided_results
from convbench.analysis.results import results
from convbench.core.grouping import grouped
from convbench.core.progress import RunState
from convbench.core.record import FACTS, Case, Protocol, Record, Training, Visit
from convbench.runs import anchors
from convbench.runs.executor import Host
from convbench.runs.visit_log import VisitLog

ATTEMPTS = 2
"""A case is tried at most this many times its planned visits, until as many visits are undisturbed."""
MOST_EXTRA = 0.5
"""Extra visits, as a share of those in the planned rounds, unless a budget has time left or with ``until_sure``."""
MOST_VISITS = 40
BATCH = 10
"""Contenders that are visited before the answer is worked out again."""


@dataclass(frozen=True, slots=True)
class PlannedVisit:
    """A visit to make: a case and its round. ``decides`` and ``host`` are those of the ``Job``."""

    case: Case
    round: int
    decides: bool = False
    host: str = ""


@dataclass
class Schedule:
    """Visits to make, one after another. What comes next depends on the records in its ``log``.

    ``has_facts`` is whether any metric can be measured without timing. ``clock`` returns the seconds since the run's
    start. With ``until_sure`` the schedule goes on until the answer is settled. ``hosts`` returns the present hosts,
    ``lost`` the ids of cases that none of them can measure any more. These are left to a resumed run.
    """

    cases: Sequence[Case]
    protocol: Protocol
    has_facts: bool
    clock: Callable[[], float]
    until_sure: bool = False
    hosts: Callable[[], Sequence[Host]] = tuple
    lost: Callable[[], Collection[str]] = tuple
    log: VisitLog = field(default_factory=VisitLog)
    _earlier_tries: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._state = RunState(FACTS, self.protocol.visits)
        self._anchors = anchors.Anchors(self.log)

    @property
    def state(self) -> RunState:
        budget = self.protocol.budget
        budget_left = None if budget is None else max(0.0, budget - self.clock())
        return replace(self._state, hosts=max(1, len(self.hosts())), budget_left=budget_left)

    def __iter__(self) -> Iterator[PlannedVisit]:
        timed_cases = [case for case in self.cases if not case.trial]
        if self.until_sure:  # cases that had too few undisturbed visits in an earlier run are tried again
            self._earlier_tries = Counter({record.case.id: len(_tries(record)) for record in self.log.records()})
        yield from self._facts(timed_cases)
        if len(self.hosts()) > 1:
            yield from self._trials()
            self._enter(trainings=0)  # the timed visits that follow run beside the trainings
        for number in range(self.protocol.visits):
            if number and self._is_spent():
                break
            yield from self._visits_to_anchors(timed_cases) if number else ()
            yield from self._round(timed_cases, number, decides=number == self.protocol.visits - 1)
        yield from self._visits_to_anchors(timed_cases) if not self._is_spent() else ()
        yield from self._extra_rounds(timed_cases, goes_on=self.until_sure and self.protocol.budget is None)
        self._enter(round=0)
        yield from self._trials()
        if self.until_sure:
            yield from self._seeds()
        if self.protocol.budget is not None:  # the planned trainings come before visits that use up the budget
            yield from self._extra_rounds(timed_cases, goes_on=True)

    def _enter(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)

    # --- Facts, rounds and what is visited again ----------------------------------------------------------------------

    def _facts(self, timed_cases: Sequence[Case]) -> Iterator[PlannedVisit]:
        if self.has_facts and self.protocol.visits > 1:
            cases = [case for case in timed_cases if not self.log.rounds(case)]
            self._enter(round=FACTS, visits=len(cases))
            # The last one lets all others end first, so that no case is timed whose facts failed. Many hosts that share
            # the work need not wait: a cluster withdraws cases that failed.
            yield from (PlannedVisit(case, FACTS, case is cases[-1] and len(self.hosts()) < 2) for case in cases)

    def _round(self, cases: Sequence[Case], number: int, *, decides: bool = False) -> Iterator[PlannedVisit]:
        """Yield visits to the cases that go on and have not been visited in this round."""
        ordered_cases = side_by_side(cases, random.Random(f"{self.protocol.seed} {number}"))
        round_cases = [case for case in ordered_cases if self._goes_on(case) and number not in self.log.rounds(case)]
        following = max(0, self.protocol.visits - 1 - number) * len(round_cases)
        self._enter(round=number, visits=len(round_cases), following=following)
        yield from self._hand_out(round_cases, number, decides=decides)

    def _hand_out(self, cases: Sequence[Case], number: int, *, decides: bool) -> Iterator[PlannedVisit]:
        """Yield a visit to each case, noted before its record comes: an executor may never give one."""
        for case in cases:
            self.log.hand_out(case, number)
            yield PlannedVisit(case, number, decides and case is cases[-1])

    def _visits_to_anchors(self, timed_cases: Sequence[Case]) -> Iterator[PlannedVisit]:
        for case, number, host in self._anchors.missing(timed_cases, self.hosts()):
            yield PlannedVisit(case, number, host=host.name)

    def _extra_rounds(self, timed_cases: Sequence[Case], *, goes_on: bool) -> Iterator[PlannedVisit]:
        """Yield rounds over disturbed or undecided cases; none if a single visit measures all.

        Unless it ``goes_on`` while the answer is open, extra visits are at most ``MOST_EXTRA`` of the planned ones.
        """
        if self.protocol.visits == 1:
            return
        number, extra_visits = self.protocol.visits, 0
        by_id = {case.id: case for case in timed_cases}
        while not self._is_spent():
            open_ids = self._open_ids()
            self._enter(open=tuple(open_ids), trainings=0)
            round_cases = [by_id[name] for name in open_ids if name in by_id and self._goes_on(by_id[name])]
            if not round_cases or not (goes_on or extra_visits < MOST_EXTRA * self.protocol.visits * len(timed_cases)):
                return
            yield from self._round(round_cases, number, decides=True)
            number, extra_visits = number + 1, extra_visits + len(round_cases)

    def _open_ids(self) -> list[str]:
        """Return the cases to visit again: disturbed ones, or without any, those that leave the answer open."""
        records = self.log.records()
        ids = [record.case.id for record in records if self._wants_more(record) and self._goes_on(record.case)]
        return ids or self._contenders(records)[:BATCH]

    def _contenders(self, records: Sequence[Record]) -> list[str]:
        lost_ids = self.lost()
        return [result.case.id for result in undecided_results(results(records)) if result.case.id not in lost_ids]

    def _wants_more(self, record: Record) -> bool:
        tries = _tries(record)
        limit = ATTEMPTS * self.protocol.visits + self._earlier_tries[record.case.id]
        return sum(visit.is_sound for visit in tries) < self.protocol.visits <= len(tries) < limit

    def _is_spent(self) -> bool:
        return self.protocol.budget is not None and self.clock() >= self.protocol.budget

    def _goes_on(self, case: Case) -> bool:
        """Whether a case may be visited again: it has not failed, is not lost and has fewer than ``MOST_VISITS``."""
        rounds = sum(number < anchors.FIRST_ROUND for number in self.log.rounds(case))
        return not self.log.has_failed(case) and case.id not in self.lost() and rounds < MOST_VISITS

    # --- Trainings ----------------------------------------------------------------------------------------------------

    def _trials(self) -> Iterator[PlannedVisit]:
        """Yield the trials that are neither made nor handed out yet, then the later ones at the best learning rate."""
        trials, later = trials_of(self.cases, self.protocol.training)
        yield from self._new_trials(trials, decides=bool(later) or self.until_sure)
        if later:
            best_trials = [case for case, _ in at_best_rate(self.log.records(), later)]
            self._enter(unplanned=True)
            yield from self._new_trials(best_trials, decides=self.until_sure)

    def _new_trials(self, trials: Sequence[Case], *, decides: bool) -> Iterator[PlannedVisit]:
        new_trials = [case for case in trials if not self.log.rounds(case)]
        self._enter(trainings=len(new_trials), visits=len(new_trials), following=0)
        yield from takewhile(lambda _: not self._is_spent(), self._hand_out(new_trials, 0, decides=decides))

    def _seeds(self) -> Iterator[PlannedVisit]:
        """Yield trainings from further seeds while the answer is open. ``looks`` bounds the error of looking again."""
        while not self._is_spent():
            records = self.log.records()
            look, further_cases = look_of(records), further_trials(records)
            new_trials = [case for case in further_cases if not self.log.rounds(case)]
            if not new_trials:
                return
            self._enter(look=look + 1, trainings=len(new_trials), visits=len(new_trials), unplanned=True)
            yield from self._hand_out(new_trials, 0, decides=True)


def _tries(record: Record) -> list[Visit]:
    """Return the timed visits that did not fail, disturbed or not."""
    return [visit for visit in record.visits if visit.is_timed and not visit.failure]


def trials_of(cases: Iterable[Case], training: Training) -> tuple[list[Case], list[Case]]:
    """Split the trials: those to make, and later ones, of which only those at the best learning rate are made."""
    trials: tuple[list[Case], list[Case]] = ([], [])
    for case in cases:
        if case.trial:
            trials[case.trains and 0 < training.rate_seeds <= case.trial.seed].append(case)
    return trials


def side_by_side(cases: Iterable[Case], shuffle: random.Random) -> list[Case]:
    """Shuffle the cases, with the variants of one model next to each other, also in random order."""
    models = grouped(cases, lambda case: case.eager)
    blocks = [shuffle.sample(block, len(block)) for block in models.values()]
    return [case for block in shuffle.sample(blocks, len(blocks)) for case in block]


def cores_of(case: Case, number: int, cores: Sequence[int]) -> tuple[int, ...]:
    """Return the cores that a visit is pinned to: one per thread, others in each round.

    ``cores`` are those of the host, in order; empty if it does not list them. The result is empty if the visit is not
    pinned: on a GPU, for a trial, or if it may use all cores.
    """
    count = case.threads if isinstance(case.threads, int) else 1
    if case.device != "cpu" or count >= len(cores) or case.trial:
        return ()
    start = number % len(cores)
    return tuple((*cores, *cores)[start : start + count])
