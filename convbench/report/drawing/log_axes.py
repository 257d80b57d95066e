"""Readable log axes: the places and labels of ticks. The page's script has the same rules for zooming."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.core.scales import fitting_unit
from convbench.report.drawing.style import GRID
from convbench.report.words import units

BINARY = {"B", "size"}
SHARES = {"share": " %", "points": ""}
"""Units of shares, and what follows their hundredths."""
ROUNDEST = (1, 5, 2, 3, 1.5, 7)
"""Leading digits of ticks, the roundest first: of two ticks too close to each other the rounder stays."""


def limits(values: Iterable[float]) -> tuple[float, float]:
    """Return ends of a log axis that leave 5 % of room around the values (all positive); (1, 10) without values."""
    numbers = list(values)
    if not numbers:
        return (1.0, 10.0)
    low, high = math.log(min(numbers)), math.log(max(numbers))
    margin = max(0.05 * (high - low), 0.2)
    return (math.exp(low - margin), math.exp(high + margin))


def ticks(low: float, high: float, unit: str, max_ticks: int = 8) -> list[float]:
    """Return round values between the ends, at most ``max_ticks`` for sizes and bytes.

    Sizes and bytes get powers of two; other units get decades, with values between if few decades fit. If ``max_ticks``
    is below 8, neighbours are at least 1/``max_ticks`` of the axis apart.
    """
    if unit in BINARY:
        first_power, last_power = math.ceil(math.log2(low)), math.floor(math.log2(high))
        step = max(1, math.ceil((last_power - first_power + 1) / max_ticks))
        start = math.ceil(first_power / step) * step
        places = [2.0**power for power in range(start, last_power + 1, step)]
    else:
        span = math.log10(high / low)
        mantissas = (1, 1.5, 2, 3, 5, 7) if span < 0.9 else (1, 2, 5) if span < 2.7 else (1,)
        places = _thin(_round_values(low, high, mantissas), low, high, max_ticks)
        if len(places) < 2 and max_ticks < 8:
            places = _thin(sorted(_round_values(low, high, ROUNDEST)), low, high, max_ticks)
    values = _even_values(low, high, unit)
    return next((choice for choice in (places, _thin(values, low, high, max_ticks)) if len(choice) >= 2), values)


def _round_values(low: float, high: float, mantissas: Iterable[float]) -> list[float]:
    """Return the values between the ends that begin with one of the mantissas, the roundest first."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = (m * 10.0**e for m in sorted(mantissas, key=ROUNDEST.index) for e in decades)
    return [value for value in places if low <= value <= high]


def _thin(places: Sequence[float], low: float, high: float, max_ticks: int) -> list[float]:
    """Return the places in order; if ``max_ticks`` is below 8, without those too close to an earlier one."""
    ticks: list[float] = []
    for place in places:
        if max_ticks >= 8 or all(abs(math.log(place / tick)) * max_ticks >= math.log(high / low) for tick in ticks):
            ticks.append(place)
    return sorted(ticks)


def label(value: float, unit: str, significant: int = 4) -> str:
    """Return a tick in human units: ``5 ms``, ``64 MiB``, ``10 M``, ``4,096``, ``80 %``."""
    if unit == "size":
        return f"{value:,.6g}" if value % 1 else f"{value:,.0f}"
    if unit == "×":
        return f"{value:.3g}×"
    if unit in SHARES:
        return f"{100 * round(value, 6):.3g}{SHARES[unit]}"
    factor, words = fitting_unit(value, units.tick_scale(unit))
    return f"{value / factor:.{significant}g} {words}".rstrip()


def even_labels(values: Iterable[float], unit: str) -> list[str]:
    """Return the ticks of a linear axis in human units, with the same decimals in each unit: ``2.00 ms``, ``2.05 ms``.

    A number with an exponent stays as it is.
    """
    texts = [label(value, unit).partition(" ") for value in values]
    places: dict[str, int] = {}
    for number, _, words in texts:
        places[words] = max(places.get(words, 0), len(number.partition(".")[2]))
    return [f"{_padded(number, places[words])}{space}{words}" for number, space, words in texts]


def _padded(number: str, places: int) -> str:
    whole, _, decimals = number.partition(".")
    return number if "e" in number or not places else f"{whole}.{decimals.ljust(places, '0')}"


def log_axis(axes: MplAxes, axis_name: str, ends: tuple[float, float], unit: str, max_ticks: int = 8) -> None:
    """Make the x or y axis logarithmic between the ends, with these ticks and a faint grid."""
    axis = axes.xaxis if axis_name == "x" else axes.yaxis
    axes.set(**{f"{axis_name}scale": "log", f"{axis_name}lim": ends})
    places = ticks(*ends, unit, max_ticks)
    axis.set_ticks(places, [label(place, unit) for place in places])
    axis.set_ticks([], minor=True)
    axis.grid(True, color=GRID, linewidth=0.8)
    axis.set_tick_params(length=0, pad=5)
    axis.set_gid(f"{axis_name}axis")


def _even_values(low: float, high: float, unit: str) -> list[float]:
    """Return about four evenly spaced round values, for a range too short for decades: 768 KiB, 896 KiB, 1 MiB."""
    step = 10 ** math.floor(math.log10((high - low) / 2))
    step *= next((m for m in (5, 2, 1) if (high - low) / (m * step) >= 3), 1)
    step = 2.0 ** math.floor(math.log2((high - low) / 3)) if unit == "B" else step
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
