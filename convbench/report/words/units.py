"""Base units as people read them: three significant digits and a prefix, never a bare exponent."""

from __future__ import annotations

import math
import re

from convbench.core.metric import Metric
from convbench.core.scales import BYTES, HALF_UP, SECONDS, Scale, fitting_unit
from convbench.core.statistics import Interval

MISSING = "–"
LONGEST = 15
"""Significant digits of a number in double precision."""
WIDE = 0.1
"""Relative half width of an interval beyond which a third significant digit would be noise."""
_SECONDS = (*SECONDS, (60.0, "min"), (3600.0, "h"))
_COUNTS = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"))
_ANY = ((1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), *_COUNTS)
SI = frozenset({"s", "J", "W", "Wh", "Hz", "V", "A", "g", "m", "bit"})
"""Units that take a prefix without a space: 1.20 mJ."""

COUNTED = frozenset({"1", "FLOP", "MAC"})
"""Units of counts: the heading names what is counted."""

_SCALES = {
    "s": _SECONDS,
    "B": BYTES,
    "FLOP": tuple((factor, f"{prefix}FLOP") for factor, prefix in _COUNTS),
    **{unit: tuple((factor, f"{prefix}{unit}") for factor, prefix in _ANY) for unit in SI - {"s"}},
}


LEAST, GREATEST = 1e-15, 1e18
"""Numbers beyond these are written with an exponent."""


def digits(value: float, significant: int = 3) -> str:
    """Return the value with ``significant`` digits, thousands grouped, without trailing point.

    It has an exponent only if it would be longer than a name otherwise: ``1.00e+285``. NaN and infinity, which a stored
    run may hold, are written as Python writes them.
    """
    if value == 0:
        return "0"
    if not LEAST <= abs(value) < GREATEST:
        return f"{value:.{significant - 1}e}"
    number = float(f"{value * HALF_UP:.{significant}g}")
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{decimals}f}"


def percent(share: float) -> str:
    """Return ``14 %``, ``0.21 %``: two significant digits, more if a share other than 1 would round to ``100 %``.

    For accuracies ``numbers.percent`` writes one decimal.
    """
    value = 100 * share
    places = (number for number in range(2, LONGEST) if float(f"{value:.{number}g}") != 100 or round(value, 6) == 100)
    return f"{digits(value, next(places, LONGEST))} %"


def seconds(value: float | None) -> str:
    """Return ``3.10 ms``."""
    return _with_unit(value, _SECONDS)


def count(value: float | None) -> str:
    """Return ``84.0 k``; integers below 1,000 are written as they are."""
    return _with_unit(value, _COUNTS)


def quantity(value: float | None, noun: str) -> str:
    """Return ``84.0 k parameters``, or ``1 parameter``."""
    text = count(value)
    return f"{text} {noun if text == '1' else f'{noun}s'}"


def integer(value: int | None) -> str:
    """Return ``131,072``, such as an LSTM input size; a dash for None or 0."""
    return f"{value:,}" if value else MISSING


def size(value: float | None) -> str:
    """Return ``8.02 MiB``."""
    return _with_unit(value, BYTES)


def flops(value: float | None) -> str:
    """Return ``116 MFLOP``."""
    return _with_unit(value, _SCALES["FLOP"])


def factor(value: float | Interval | None, significant: int = LONGEST) -> str:
    """Return ``5.6×``: three significant digits below 2, two below 10, whole from there.

    It has no more than ``significant`` digits; with an interval, no more than ``precision`` returns.
    """
    if value is None:
        return MISSING
    number, significant = (value.median, precision(value)) if isinstance(value, Interval) else (value, significant)
    most = 3 if number < 2 else 2 if number < 10 else max(2, math.floor(math.log10(number)) + 1)
    return f"{digits(number, min(most, significant))}×"


def human(value: float | None, unit: str, significant: int = 3) -> str:
    """Return a value with a prefix for its base unit: ``3.10 ms``, ``8.02 MiB``, ``116 MFLOP``, ``84.0 k``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if unit in _SCALES:
        return _with_unit(value, _SCALES[unit], significant)
    number = _with_unit(value, _COUNTS, significant)
    return number if unit in COUNTED else f"{number} {unit}".replace("  ", " ")


def cell(value: float | None, metric: Metric, significant: int | None = None) -> str:
    """Return a metric's value for a table; the unit is left out if the heading names it."""
    heading = metric.heading or metric.title
    match = re.search(rf"(?<!\w){re.escape(metric.unit)}(?!\w)", heading, re.IGNORECASE)
    return human(value, "1" if match else metric.unit, significant or metric.digits)


def precision(value: Interval) -> int:
    """Return the significant digits that an interval leaves its median and bounds: three, or two beyond ±10 %."""
    return 2 if value.bounded and value.relative_half_width > WIDE else 3


def decimals(value: Interval) -> int:
    """Return the decimals of a number that has one; none if ``precision`` leaves only the median's two digits."""
    return 0 if precision(value) == 2 and abs(value.median) >= 10 else 1


def tick_scale(unit: str) -> tuple[tuple[float, str], ...]:
    """Return an axis's scales by rising factor: the divisor of its labels and the unit that they show."""
    if unit == "B":
        return BYTES
    if unit in COUNTED:
        return _COUNTS[:-1]
    prefixes, space = (_ANY, "") if unit in SI else (_COUNTS, " ")
    return tuple((factor, f"{prefix}{space}{unit}".strip()) for factor, prefix in prefixes)


def interval(value: Interval | None) -> str:
    """Return ``3.10 ms [3.05, 3.21]``, with the bounds in the median's unit; without bounds if they are unbounded."""
    if value is None:
        return MISSING
    if not value.bounded:
        return f"{seconds(value.median)} [too few samples]"
    scale, _ = fitting_unit(value.median, _SECONDS, precision(value))
    return f"{median(value)} {_ends(Interval(*(seconds / scale for seconds in value)))}"


def median(value: Interval | None) -> str:
    """Return ``3.10 ms``: the median of ``interval`` alone, with as many digits."""
    if value is None:
        return MISSING
    significant = precision(value)
    scale, unit = fitting_unit(value.median, _SECONDS, significant)
    return f"{digits(value.median / scale, significant)} {unit}"


def bounds(value: Interval | None) -> str:
    """Return ``3.05, 3.21``: the part of ``interval`` in brackets."""
    return interval(value).partition(" [")[2].rstrip("]") or MISSING


def speedup(value: Interval) -> str:
    """Return ``2.9× [2.7, 3.1]``; without bounds if they are unbounded."""
    if not value.bounded:
        return factor(value.median)
    return f"{digits(value.median, precision(value))}× {_ends(value)}"


def _ends(value: Interval) -> str:
    """Return ``[941, 1030]`` without grouped thousands: ``[941, 1,030]`` would read as three numbers."""
    return f"[{', '.join(digits(end, precision(value)).replace(',', '') for end in value[1:])}]"


def extent(low: str, high: str) -> str:
    """Return a range of two texts that names their common unit once: ``5.60 to 6.10 ms``, ``1.03 to 1.05×``."""
    unit = re.split(r"\d", high)[-1]
    return f"{low.removesuffix(unit)} to {high}"


def span(low: float, high: float) -> str:
    """Return the bounds of a ratio as ``1.031, 1.074``, without brackets as ``bounds``; a dash if one is open."""
    return f"{low:.3f}, {high:.3f}" if low and math.isfinite(low) and math.isfinite(high) else MISSING


def ratio(value: tuple[float, float, float]) -> str:
    """Return a ratio with its bounds: ``1.052 [1.031, 1.074]``."""
    estimate, low, high = value
    ends = span(low, high)
    return f"{estimate:.3f} {f'[{ends}]' if ends != MISSING else '(too few pairs for an interval)'}"


def _with_unit(value: float | None, scales: Scale, significant: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    scale, unit = fitting_unit(value, scales, significant)
    is_whole = scale == 1.0 and float(value).is_integer()
    return f"{int(value):,} {unit}".rstrip() if is_whole else f"{digits(value / scale, significant)} {unit}".rstrip()
