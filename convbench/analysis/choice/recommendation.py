"""Describe a question to a run and the answer for one task, as data; other modules put it into words.

An answer has a grade. ``sure``: the pick is shown to be within the margin of the best, and nothing speaks against it.
``provisional``: the pick is the one that most likely is, with a bound and what would settle it. ``open``: there is no
pick, because nothing is ruled out, nothing was run, or nothing meets the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from convbench.analysis.choice.candidates import Candidate, CostName, Excluded
from convbench.analysis.choice.trade import Trade
from convbench.analysis.inference.noninferior import ERROR
from convbench.analysis.quality.qualities import task_name
from convbench.analysis.results import Result, shown_metrics
from convbench.core.metric import Metric
from convbench.core.record import Clip, Record

Grade = Literal["open", "provisional", "sure"]
GRADES: tuple[Grade, ...] = get_args(Grade)
"""Grades from the least to the most sure."""

Reason = Literal["not-run", "no-sound-run", "few-seeds", "no-cost", "over-budget", "no-effect"]
Doubt = Literal[
    "not-shown", "no-effect", "edge", "few-seeds", "collapses", "undertrained", "known-clips", "unknown-cost"
]
Constraints = Mapping[CostName, float]
LOOK = "look"
"""The condition that holds the look at which a record was added; records without it are of the first."""


@dataclass(frozen=True)
class Ask:
    """A question: limits in base units, the margin as a share, and the cost to be cheap in.

    A limit is a maximum, or a minimum if more of its metric is better; ``metrics`` are those that may have limits.
    ``per_second`` is what a second of latency is worth in accuracy (0.2 points a millisecond: 2.0). If it is given, the
    pick is not the cheapest within the margin, but the one with the highest lower bound of accuracy less that price.
    ``error`` is that of a sure pick. ``against`` are the costs that quality is weighed against on the front.
    """

    constraints: Constraints = field(default_factory=dict)
    within: float = 0.02
    cheapest: CostName = "latency"
    per_second: float | None = None
    against: tuple[CostName, ...] = ("latency", "memory")
    error: float = ERROR
    seed: int = 0
    metrics: Mapping[CostName, Metric] = field(default_factory=lambda: budgets(()))

    def at_look(self, look: int) -> Ask:
        """Return the question with the error of a look (1, 2, ...) after more seeds, since each look is a test.

        Look n has the error 5 % / n(n + 1). Over all looks, however many, these sum up to 5 % at most: a pick that
        ``until sure`` calls sure is wrong at most that often.
        """
        return replace(self, error=ERROR / (look * (look + 1)))


def look_of(records: Iterable[Record]) -> int:
    """Return how often the answers of these records were looked at; seeds were added each time but the first."""
    return max((int(record.conditions.get(LOOK) or 1) for record in records), default=1)


def budgets(results: Iterable[Result]) -> dict[CostName, Metric]:
    """Return every metric that may have a limit, by its short name: built-in ones and those of users' own probes."""
    return {metric.option: metric for metric in shown_metrics(results, "advise")}


@dataclass(frozen=True, eq=False)
class Runner:
    """A candidate beside the pick, or, without a pick, beside the leading one.

    ``front`` is its probability of being on the front. ``gain`` is its quality less the other's, and ``low`` to
    ``high`` is the 95 % interval, which allows for the selection. ``is_shown`` says that it, too, is within the margin,
    and ``ruled_out`` that it is not.
    """

    candidate: Candidate
    front: float
    is_shown: bool
    ruled_out: bool
    gain: float
    low: float
    high: float

    @property
    def is_tied(self) -> bool:
        """Whether the candidate cannot be told from the other one as better or as worse."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, eq=False)
class NextBetter:
    """The next better point of the front: its gain over the pick (a share), and the p-value of no gain."""

    candidate: Candidate
    gain: float
    p: float


@dataclass(frozen=True, eq=False)
class Settle:
    """What would settle an answer: further seeds for each of these candidates, and the seconds of their trainings.

    ``seeds`` is None if more than a hundred would be needed: then a wider margin is the answer.
    """

    candidates: tuple[Candidate, ...]
    seeds: int | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer for one task: a ``pick``, or the ``reason`` why there is none, with its ``numbers``.

    ``best`` is the highest mean within the budget. ``shortfall`` is how far the pick may be below the best at 95 %, and
    ``probability`` how likely it is within the margin. ``doubts`` say why a pick is not sure. ``ruled_out`` are shown
    to be more than the margin below another; ``passed_over`` are cheaper than the pick and as good, but collapse more
    often. ``binding`` are the constraints that would each change the pick or the best if it alone were relaxed; if
    there are none, all constraints if together they would. ``front`` is the pick's probability of being on the front,
    ``stability`` that of being the cheapest within the margin; None if not all costs are known. Without a pick,
    ``leading`` is the cheapest candidate, if any. ``trades`` tell what models lose and gain in the variants that were
    evaluated too, within the budget or not. ``unmeasured`` is a requested cost that no candidate has; ``ask`` is then
    the question as it was answered, in costs that they have.
    """

    task: str
    clip: Clip | None
    ask: Ask
    grade: Grade = "open"
    pick: Candidate | None = None
    best: Candidate | None = None
    reason: Reason | None = None
    doubts: tuple[Doubt, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    leading: Candidate | None = None
    pool: tuple[Candidate, ...] = ()
    ruled_out: tuple[Candidate, ...] = ()
    passed_over: tuple[Candidate, ...] = ()
    shortfall: float | None = None
    probability: float | None = None
    front: float | None = None
    binding: tuple[CostName, ...] = ()
    runners: tuple[Runner, ...] = ()
    price: NextBetter | None = None
    stability: float | None = None
    settle: Settle | None = None
    excluded: tuple[Excluded, ...] = ()
    trades: tuple[Trade, ...] = ()
    unmeasured: CostName | None = None
    several_clips: bool = False

    @property
    def name(self) -> str:
        """The task, with the clip if there are several answers for the task."""
        return task_name(self.task, self.clip, self.several_clips)
