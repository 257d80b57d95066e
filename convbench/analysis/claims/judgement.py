"""Describe the result of a claim's test as data: a verdict, its numbers and a chart, or what the test lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Verdict = Literal["supported", "refuted", "depends", "undecided", "not tested"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""``depends``: shown to hold in some places and shown not to hold in others. ``undecided``: the runs cannot tell."""

Quantified = tuple[tuple[str, Verdict], ...]
"""Verdicts by quantifier: in some, in most, in all of the tasks."""


class Number(NamedTuple):
    """A number behind a verdict.

    ``unit`` is a base unit, ``share`` (0 to 1), ``points`` (a difference of shares: 0.01 is one point), ``×``
    or ``size`` (of an LSTM input).
    ``low`` and ``high`` bound the 95 % interval, and ``n`` counts the seeds or configurations behind the number.
    """

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

    @classmethod
    def of(cls, x: float, y: Number) -> Point:
        """Return the place of a number."""
        return cls(x, y.value, y.low, y.high)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points joined in order, under a name."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A small chart.

    The axes have the units of ``Number``, or ``size`` for LSTM inputs; ``marks`` are named places on x. Axes of sizes,
    counts and base units are logarithmic and show no value of 0 or less; those of shares and points are linear.
    """

    title: str
    caption: str
    x: tuple[str, str]
    y: tuple[str, str]
    curves: tuple[Curve, ...]
    marks: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError without curves, or for a curve without points."""
        if not self.curves or not all(curve.points for curve in self.curves):
            raise ValueError("a plot needs curves, and each curve points")


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a test: its verdict, one sentence why, numbers in order, and a chart if it helps.

    If a claim is tested on several tasks, ``quantified`` has a verdict for each quantifier. ``verdict`` is then that of
    the claim's own quantifier ("often": in most).
    """

    verdict: Verdict
    why: str
    numbers: tuple[Number, ...] = ()
    plot: Plot | None = None
    quantified: Quantified = ()

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown verdict."""
        if self.verdict not in VERDICTS:
            raise ValueError(f"unknown verdict {self.verdict!r}; known: {', '.join(VERDICTS)}")


class Lacking(Exception):
    """The records lack what a claim needs; the message says what to run."""
