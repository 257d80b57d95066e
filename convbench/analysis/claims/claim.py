"""A claim, how it was tested and what came of it, as data; and the decorator that puts one on the shelf.

``claim`` turns a test (Evidence) -> Judgement into a claim (Evidence) -> Claim. A test raises Lacking where the records
do not hold what it needs: its verdict is then "not tested".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from convbench.core import installed
from convbench.core.registry import claims

if TYPE_CHECKING:
    from convbench.analysis.claims.evidence import Evidence

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
    quantified: Quantified = ()


class Lacking(Exception):
    """The records do not hold what a claim needs; the message says what to run."""


Tested = Callable[["Evidence"], Claim]


def claim(
    number: int | str, statement: str, *, quote: str, prediction: str, experiment: str
) -> Callable[[Callable[[Evidence], Judgement]], Tested]:
    """Decorator: put a test on the shelf as the claim of this number (``C7``), or of your own name (``shop-1``)."""
    name = f"C{number}" if isinstance(number, int) else number

    def on_shelf(test: Callable[[Evidence], Judgement]) -> Tested:
        @wraps(test)
        def tested(evidence: Evidence) -> Claim:
            try:
                judgement = test(evidence)
            except Lacking as lacking:
                judgement = Judgement("not tested", str(lacking))
            return Claim(name, statement, quote, prediction, experiment, *_fields(judgement))

        tested.__doc__ = statement
        return claims.register(name)(tested)

    return on_shelf


def all_claims(evidence: Evidence) -> list[Claim]:
    """Every claim on the shelf, tested: the article's in the order of their numbers, then those of other packages.

    One of these that raises is left out and noted, as plug-ins are that cannot be loaded.
    """
    answers = []
    for plugin in sorted(claims, key=lambda plugin: plugin.origin != installed.OWN):
        with plugin.noted("claim"):
            answers.append(plugin.build(evidence))
    return answers


def _fields(judgement: Judgement) -> tuple[Any, ...]:
    return tuple(getattr(judgement, field.name) for field in fields(judgement))


def tally(judged: Iterable[Claim]) -> dict[Verdict, int]:
    """How many claims have each verdict, those that none has left out."""
    verdicts = [claim.verdict for claim in judged]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
