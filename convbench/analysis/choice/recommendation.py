"""What is asked of a run and what is answered for one task, as data; words are made elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from convbench.analysis.choice.candidates import Candidate, CostName, Excluded
from convbench.analysis.results import Result, shown_metrics
from convbench.core.metric import Metric
from convbench.core.record import Clip

Reason = Literal[
    "not-run", "no-sound-run", "few-seeds", "no-cost", "over-budget", "no-effect", "edge", "undecided"
]  # fmt: skip
Constraints = Mapping[CostName, float]


@dataclass(frozen=True)
class Ask:
    """What is asked for: limits in base units, the margin as a share, and what cheapest means.

    A limit is a maximum, or a minimum of a metric of which more is better; ``metrics`` are those that limits may be of.
    """

    constraints: Constraints = field(default_factory=dict)
    within: float = 0.02
    cheapest: CostName = "latency"
    seed: int = 0
    metrics: Mapping[CostName, Metric] = field(default_factory=lambda: budgets(()))


def budgets(found: Iterable[Result]) -> dict[CostName, Metric]:
    """By its short name every metric that may have a limit: ours, and what probes of a user's own declare."""
    return {metric.option: metric for metric in shown_metrics(found, "advise")}


@dataclass(frozen=True, eq=False)
class Runner:
    """Another candidate beside the pick: how likely it is on the front, and its quality less the pick's with its 95 %
    interval. ``shown`` says that it, too, is within the margin."""

    candidate: Candidate
    front: float
    shown: bool
    gain: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Price:
    """The next better point of the front: what it gains over the pick (a share), with the p-value of a gain at all."""

    candidate: Candidate
    gain: float
    p: float


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer for one task: a ``pick``, or the ``reason`` why there is none, with its ``numbers``.

    ``best`` is the highest mean within the budget. ``shortfall`` is how far the pick may be below the best at 95 %.
    ``binding`` are the constraints of which each, relaxed alone, changes the pick or the best. ``front`` is the pick's
    probability of being on the front, ``stability`` the share of resamples that pick it again. ``leading`` is, without
    a pick, what stands nearest to one: the cheapest, the best, or nothing.
    """

    task: str
    clip: Clip | None
    ask: Ask
    pick: Candidate | None = None
    best: Candidate | None = None
    reason: Reason | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    leading: Candidate | None = None
    pool: tuple[Candidate, ...] = ()
    shortfall: float | None = None
    front: float | None = None
    binding: tuple[CostName, ...] = ()
    runners: tuple[Runner, ...] = ()
    price: Price | None = None
    stability: float | None = None
    excluded: tuple[Excluded, ...] = ()
