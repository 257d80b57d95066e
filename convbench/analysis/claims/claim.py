"""Define a claim, with its test and its result, and the decorator that puts one on the shelf.

``claim`` turns a test (Evidence) -> Judgement into a claim (Evidence) -> Claim. A test raises Lacking if the records do
not hold what it needs; its verdict is then "not tested".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

from convbench.analysis.claims.evidence import Evidence
from convbench.analysis.claims.judgement import (
    VERDICTS,
    Curve,
    Judgement,
    Lacking,
    Number,
    Plot,
    Point,
    Quantified,
    Verdict,
)
from convbench.core import installed
from convbench.core.registry import claims

__all__ = [
    "VERDICTS", "Claim", "Curve", "Judgement", "Lacking", "Number", "Plot", "Point", "Quantified", "Verdict",
    "all_claims", "claim", "tally",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the article and its result. ``quote`` is the article's wording, ``prediction`` is what could fail."""

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


Tested = Callable[[Evidence], Claim]


def claim(
    number: int | str, statement: str, *, quote: str, prediction: str, experiment: str
) -> Callable[[Callable[[Evidence], Judgement]], Tested]:
    """Decorator: put a test on the shelf as the claim of this number (``C7``), or of your own name (``shop-1``)."""
    name = f"C{number}" if isinstance(number, int) else number

    def register(test: Callable[[Evidence], Judgement]) -> Tested:
        @wraps(test)
        def judge(evidence: Evidence) -> Claim:
            try:
                judgement = test(evidence)
            except Lacking as lacking:
                judgement = Judgement("not tested", str(lacking))
            return Claim(name, statement, quote, prediction, experiment, *_fields(judgement))

        judge.__doc__ = statement
        return claims.register(name)(judge)

    return register


def all_claims(evidence: Evidence) -> list[Claim]:
    """Test every claim on the shelf: the article's in the order of their numbers, then those of other packages.

    A claim of another package that raises is left out and noted, as a plug-in that cannot be loaded is.
    """
    answers = []
    for plugin in sorted(claims, key=lambda plugin: plugin.origin != installed.OWN):
        with plugin.note_errors("claim"):
            answer = plugin.build(evidence)
            if not isinstance(answer, Claim):
                raise TypeError(f"it returns {type(answer).__name__}: register it with analysis.claims.claim.claim")
            answers.append(answer)
    return answers


def _fields(judgement: object) -> tuple[Any, ...]:
    if not isinstance(judgement, Judgement):
        raise TypeError(f"it returns {type(judgement).__name__}, not a Judgement")
    return tuple(getattr(judgement, field.name) for field in fields(judgement))


def tally(answers: Iterable[Claim]) -> dict[Verdict, int]:
    """Count the claims with each verdict; verdicts without claims are left out."""
    verdicts = [claim.verdict for claim in answers]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
