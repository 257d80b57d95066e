"""A claim, how it was tested and what came of it, as data; and the list that claims put themselves on.

``claim`` turns a test (Evidence) -> Outcome into a claim (Evidence) -> Claim. A test raises Lacking where the records
do not hold what it needs: its verdict is then "not tested".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from convbench.analysis.claims.evidence import Evidence

Verdict = Literal["supported", "refuted", "depends", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "depends", "not tested")


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
class Outcome:
    """What a test found: the verdict, one sentence why, the numbers in order, and a chart where it says more."""

    verdict: Verdict
    why: str
    numbers: tuple[Number, ...] = ()
    plot: Plot | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the article. ``quote`` is its own words, ``prediction`` what could fail."""

    number: str
    claim: str
    quote: str
    prediction: str
    experiment: str
    verdict: Verdict
    why: str
    numbers: tuple[Number, ...] = ()
    plot: Plot | None = None


class Lacking(Exception):
    """The records do not hold what a claim needs; the message says what to run."""


Tested = Callable[["Evidence"], Claim]
SHELF: dict[int, Tested] = {}


def claim(
    number: int, said: str, *, quote: str, prediction: str, experiment: str
) -> Callable[[Callable[[Evidence], Outcome]], Tested]:
    """Put a test on the list as the claim of this number."""

    def on_list(test: Callable[[Evidence], Outcome]) -> Tested:
        def tested(evidence: Evidence) -> Claim:
            try:
                found = test(evidence)
            except Lacking as lacking:
                found = Outcome("not tested", str(lacking))
            return Claim(
                f"C{number}", said, quote, prediction, experiment, found.verdict, found.why, found.numbers, found.plot
            )

        SHELF[number] = tested
        return tested

    return on_list


def tally(claims: Iterable[Claim]) -> dict[Verdict, int]:
    """How many claims have each verdict, those that none has left out."""
    verdicts = [one.verdict for one in claims]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
