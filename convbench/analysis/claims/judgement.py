"""What the test of a claim finds, as data: a verdict, its numbers, a chart; or what it lacks to be tested at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["supported", "refuted", "depends", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "depends", "undecided", "not tested")
"""``depends``: shown to hold here and shown not to hold there. ``undecided``: the runs cannot tell."""

Quantified = tuple[tuple[str, Verdict], ...]
"""A verdict for each quantifier: in some, in most, in all of the tasks."""


class Number(NamedTuple):
    """A number behind a verdict. ``unit`` is a base unit, ``share`` (0 to 1), ``points`` (a share's difference, 0.01
    is one point) or ``×``; ``low`` and ``high`` are its 95 % interval, ``n`` the seeds or configurations behind it."""

    label: str
    value: float
    unit: str = "1"
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Point(NamedTuple):
    """A place in a plot, with the 95 % interval of y."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined in order, under a name."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A small chart. Units of the axes as in ``Number``, or ``size`` for LSTM inputs; ``marks`` are named places on
    x. Axes of sizes, counts and base units are logarithmic, those of shares and points are linear."""

    title: str
    caption: str
    x: tuple[str, str]
    y: tuple[str, str]
    curves: tuple[Curve, ...]
    marks: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a test found: the verdict, one sentence why, the numbers in order, and a chart where it says more.

    ``quantified`` has a verdict for each quantifier where a claim is tested on several tasks; ``verdict`` is then that
    of the claim's own ("often": in most).
    """

    verdict: Verdict
    why: str
    numbers: tuple[Number, ...] = ()
    plot: Plot | None = None
    quantified: Quantified = ()

    def __post_init__(self) -> None:
        """Raises ValueError for a verdict that there is not."""
        if self.verdict not in VERDICTS:
            raise ValueError(f"there is no verdict {self.verdict!r}: it is one of {', '.join(VERDICTS)}")


class Lacking(Exception):
    """The records do not hold what a claim needs; the message says what to run."""
