"""Test the gate itself on this machine: how often it calls the same code slower, and which slowdowns it sees.

An experiment is a whole check of a tree against itself, with or without real work put into head's forward pass. Every
verdict is a line of a file to which later selftests append, so that the figures rest on all verdicts, and only those.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter, ValidationError

from convbench.check import decision, gate
from convbench.check.inspection import Request, inspect
from convbench.check.link import SideWorker
from convbench.check.pairs import Arm, CheckedCase
from convbench.check.settings import Rule, Settings
from convbench.check.stock import Stock
from convbench.check.timings import Timings
from convbench.check.trees.sides import Side
from convbench.check.verdict import verdict
from convbench.core.comparability import machine_key
from convbench.core.errors import Refused, StoreError
from convbench.core.package import __version__
from convbench.core.record import Scalar
from convbench.core.scales import percent
from convbench.core.statistics import rate_interval
from convbench.core.storage import json_form
from convbench.core.system import files
from convbench.core.text import counted, digest

ENOUGH_POWER, FEWEST = 0.9, 10
"""A slowdown counts as seen if at least this share of its verdicts is red, of at least this many verdicts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The verdict on one case with work put in.

    ``slowdown`` is what was asked for, ``achieved`` what was timed when the work was put in, and ``seen`` the estimate
    of the check's pairs.
    """

    slowdown: float
    achieved: float
    case: str
    word: str
    seen: float
    pairs: int
    seconds: float
    settings: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Figure:
    """The verdicts on one slowdown as shares, that of red ones with exact 95 % bounds, and the median of ``seen``."""

    slowdown: float
    trials: int
    red: float
    red_low: float
    red_high: float
    passed: float
    inconclusive: float
    seen: float


class Selftest:
    """A tree that is ready to be checked against itself. Raises Refused if a case cannot be checked."""

    def __init__(self, side: Side, request: Request, settings: Settings, rule: Rule, folder: Path) -> None:
        self.side, self.folder = side, folder
        self.rule = rule
        with Stock() as stock:
            inspection = inspect(side, side, request, settings, folder, stock)
        self.settings = inspection.with_limit(settings)
        if inspection.invalid:
            raise Refused(inspection.faults)
        self.cases, self.environment = inspection.valid, inspection.environments["head"]
        self.conditions = {
            **asdict(settings),
            **asdict(rule),
            "device": self.environment.get("device"),
            "machine": " | ".join(map(str, machine_key(self.environment))),
            "suite": inspection.suite,
            "cases": digest(*sorted(inspection.ids)),
            "convbench": __version__,
        }
        self._injections: dict[tuple[str, float], tuple[tuple[int, int], float]] = {}

    def experiments(
        self, slowdowns: Sequence[float], seconds: float, announce: Callable[[str], None]
    ) -> Iterator[Attempt]:
        """Yield the verdicts of whole checks until the time is up.

        Each round tries every slowdown once, in random order. The first round is always completed.
        """
        start, queue, is_first_round = time.monotonic(), random.sample(list(slowdowns), len(slowdowns)), True
        while queue and (is_first_round or time.monotonic() - start < seconds):
            slowdown = queue.pop()
            if not queue:
                queue, is_first_round = random.sample(list(slowdowns), len(slowdowns)), False
            announce(f"experiment: +{percentage(slowdown)}" if slowdown else "experiment: the same code")
            yield from self.experiment(slowdown, announce)

    def experiment(self, slowdown: float, announce: Callable[[str], None], deadline: float = math.inf) -> list[Attempt]:
        """Run one check of all cases with this slowdown put into head, until they are decided or the deadline.

        ``deadline`` is a time of ``time.monotonic``; cases that are open then are inconclusive.
        """
        injections = {case.id: self._injection(case, slowdown, announce) for case in self.cases} if slowdown else {}
        head = Arm("head", self.side, {case: work for case, (work, _) in injections.items()})
        start, method = time.monotonic(), gate.Method(self.settings, self.rule, self.folder, announce, deadline)
        arms, names = (Arm("base", self.side), head), [case.id for case in self.cases]
        timings = gate.decide(arms, self.cases, names, method, Timings())
        seconds = (time.monotonic() - start) / len(self.cases)
        excesses = {case: share for case, (_, share) in injections.items()}
        return [self._attempt(case.id, slowdown, excesses.get(case.id, 0.0), timings, seconds) for case in self.cases]

    def _attempt(self, case: str, slowdown: float, excess: float, timings: Timings, seconds: float) -> Attempt:
        outcome = timings.outcome(case)
        case_verdict = verdict(outcome, self.rule, len(self.cases))
        estimate = decision.ratio(outcome.logs).estimate - 1 if outcome.pairs else 0.0
        count = len(outcome.pairs) + len(outcome.confirmation)
        return Attempt(slowdown, excess, case, case_verdict.word, estimate, count, seconds, self.conditions)

    def _injection(
        self, case: CheckedCase, slowdown: float, announce: Callable[[str], None]
    ) -> tuple[tuple[int, int], float]:
        """Return the work that slows a case down and the slowdown that it achieves, calibrated once per case."""
        if (case.id, slowdown) not in self._injections:
            announce(f"measuring which work slows {case.id} by {percentage(slowdown)}")
            with SideWorker(self.side, case.settings(self.settings), self.folder, dict(case.variables)) as worker:
                worker.greet()
                worker.await_greeting()
                answer = worker.ask("calibrate", **case.arguments, slowdown=slowdown)
            count, size = answer["injected"]
            self._injections[case.id, slowdown] = ((count, size), answer["achieved"])
        return self._injections[case.id, slowdown]


def figures(attempts: Iterable[Attempt]) -> list[Figure]:
    """Return a figure per slowdown, the same code (0) first. Invalid attempts count, as neither red nor passed."""
    all_attempts = list(attempts)
    return [
        _figure(slowdown, [attempt for attempt in all_attempts if attempt.slowdown == slowdown])
        for slowdown in sorted({attempt.slowdown for attempt in all_attempts})
    ]


def smallest_seen(figures: Iterable[Figure]) -> float | None:
    """Return the smallest slowdown with at least nine in ten verdicts red, of ten or more; None if there is none."""
    candidates = (figure for figure in figures if figure.trials >= FEWEST and figure.red >= ENOUGH_POWER)
    return min((figure.slowdown for figure in candidates if figure.slowdown), default=None)


def is_too_short(figures: Iterable[Figure]) -> bool:
    """Whether a slowdown has a large enough share of red verdicts, but too few verdicts."""
    return any(f.slowdown and f.red >= ENOUGH_POWER and f.trials < FEWEST for f in figures)


def sentences(figures: Iterable[Figure]) -> Iterator[str]:
    """Yield a line per slowdown: its verdicts, its share of red ones with exact 95 % bounds, and its other shares."""
    for figure in figures:
        red, ok, inconclusive = map(percent, (figure.red, figure.passed, figure.inconclusive))
        bounds, seen = percent(figure.red_low, figure.red_high), percent(figure.seen, signed=True)
        name = f"+{percentage(figure.slowdown)}" if figure.slowdown else "same code"
        shares = f"{red} red ({bounds}), {ok} ok, {inconclusive} inconclusive"
        yield f"{name}: {counted(figure.trials, 'verdict')}, {shares}, seen as {seen}"


def percentage(slowdown: float) -> str:
    """Write a slowdown as it was asked for: ``2.5 %``."""
    return f"{100 * slowdown:.4g} %"


def append(attempts: Iterable[Attempt], path: Path) -> Iterator[Attempt]:
    """Yield the attempts, each after it has been appended to the file."""
    for attempt in attempts:
        line = json_form.as_json(json_form.adapter(Attempt), attempt)
        files.append(path, line, "choose another place with --out")
        yield attempt


def stored_attempts(path: Path, conditions: Mapping[str, Scalar]) -> list[Attempt]:
    """Return a file's attempts under these conditions: settings, rule, machine, cases and convbench."""
    if not path.exists():
        return []
    try:
        adapter: TypeAdapter[Attempt] = json_form.adapter(Attempt)
        attempts = [adapter.validate_json(line) for line in files.read(path).splitlines()]
    except (OSError, ValueError) as error:
        reason = json_form.reason(error) if isinstance(error, ValidationError) else error
        raise StoreError(
            f"{path}: not the trials of a selftest ({reason}): remove it or choose another --out"
        ) from error
    return [attempt for attempt in attempts if attempt.settings == conditions]


def _figure(slowdown: float, attempts: list[Attempt]) -> Figure:
    words = [attempt.word for attempt in attempts]
    low, high = rate_interval(words.count("regression"), len(words))
    red, ok, inconclusive = (words.count(word) / len(words) for word in ("regression", "ok", "inconclusive"))
    return Figure(slowdown, len(words), red, low, high, ok, inconclusive, median(attempt.seen for attempt in attempts))
