"""What a metric declares: its name and unit, which direction is better, its words, and where it is shown.

A probe yields readings of metrics; code that prints, draws or exports them asks the metric and never knows it by name.
Built-in metrics are in ``core.metrics``; a probe of another package declares its own beside itself, and nothing else
changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

from convbench.core.errors import ConvbenchError

Better = Literal["lower", "higher", "neither"]
Aggregation = Literal["exact", "median", "last", "each"]
Place = Literal["table", "page", "axes", "pin", "advise"]
EVERYWHERE: tuple[Place, ...] = get_args(Place)
_BETTER, _AGGREGATIONS = get_args(Better), get_args(Aggregation)


@dataclass(frozen=True, slots=True)
class Metric:
    """Something that is measured, with everything that a reader must know about it.

    ``name`` is its column in CSV and JSON (lower case, digits, underscores). ``unit`` is its base unit: ``s``, ``B``,
    ``FLOP``, ``MAC``, ``1`` for counts and shares, or any other word (``J``, ``frames/s``). ``better`` is the direction
    that is better: it decides headings, Pareto fronts and whether a budget is a maximum or a minimum.

    ``title`` heads axes and the pinned card (if empty, it is made from the name), ``heading`` the tables (if empty, it
    is the title), ``description`` is one sentence. ``number`` is how raw samples become one number: there is only one
    sample (``exact``), their ``median``, or the ``last`` of a curve; with ``each``, every sample is a number of its
    own, and only records have them. ``digits`` is how many significant digits are shown.

    ``shown`` is where it stands besides CSV and JSON, which have every metric: the terminal's ``table``, the table of
    the ``page``, the ``axes`` of its charts (log axes: positive values only), the ``pin``-ned card, and the budgets of
    ``advise``. ``short`` is its name there: ``advise --budget latency=5ms`` (if empty, it is the name).
    """

    name: str
    unit: str
    better: Better = "lower"
    title: str = ""
    description: str = ""
    heading: str = ""
    number: Aggregation = "median"
    digits: int = 3
    shown: tuple[Place, ...] = EVERYWHERE
    short: str = ""

    def __post_init__(self) -> None:
        """Raise ConvbenchError for a word that its field does not allow."""
        for field, words, choices in (
            ("better", (self.better,), _BETTER),
            ("number", (self.number,), _AGGREGATIONS),
            ("shown", self.shown, EVERYWHERE),
        ):
            if mistake := next((word for word in words if word not in choices), None):
                raise ConvbenchError(f"metric {self.name!r}: {field}: unknown {mistake!r}; known: {', '.join(choices)}")

    @property
    def option(self) -> str:
        """Its name in options and as an axis."""
        return self.short or self.name

    @property
    def sign(self) -> int:
        """The factor that makes lower values better."""
        return -1 if self.better == "higher" else 1

    @lru_cache(maxsize=512)  # noqa: B019 - metrics are few, frozen, and live as long as the program
    def part(self, part: str) -> Metric:
        """Return the metric of one part of the whole, such as a stage (``params_reducer``); in CSV and JSON only."""
        words = part.replace("_", " ")
        return replace(
            self,
            name=f"{self.name}_{part}",
            title=f"{self.title}, {words}",
            description=f"{self.description.removesuffix('.')}: the part of {words}.",
            heading="",
            shown=(),
            short="",
        )


def with_title(metric: Metric) -> Metric:
    """Return the metric with a title; a missing one is made from the name, ``Energy j`` from ``energy_j``."""
    if metric.title:
        return metric
    words = metric.name.replace("_", " ").strip()
    return replace(metric, title=f"{words[:1].upper()}{words[1:]}")
