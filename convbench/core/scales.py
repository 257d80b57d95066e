"""How every room writes numbers: the units of a base unit, the one that fits a value, digits, and per cent."""

from __future__ import annotations

from collections.abc import Sequence

Scale = Sequence[tuple[float, str]]

SECONDS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
BYTES = ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"), (2.0**40, "TiB"))


HALF_UP = 1 + 1e-12
"""A factor by which a half rounds up, even if a division by a unit left it just below itself."""


def fitting_unit(value: float, scale: Scale, significant: int = 3) -> tuple[float, str]:
    """Return the largest factor, with unit, that leaves at least 1 after rounding; or the smallest."""
    least = (1 - 10.0**-significant / 2) / HALF_UP
    return next((step for step in reversed(scale) if abs(value) >= step[0] * least), scale[0])


def four_digits(value: float) -> str:
    """Return ``48,170`` or ``0.3485``: four significant digits, never with an exponent."""
    return f"{float(f'{value:.4g}'):,.10g}"


def percent(*shares: float, places: int = 1, signed: bool = False) -> str:
    """Return ``87.3 %``, for a range ``5.3 to 85.3 %``, if ``signed`` ``+1.3 %``; zero is never negative."""
    form = f"{'+' if signed else ''}z.{places}f"
    return f"{' to '.join(f'{100 * share:{form}}' for share in shares)} %"


def gib(size: float) -> str:
    """Return ``8.00 GiB``, whatever the size: amounts of memory that are compared have the same unit."""
    return f"{size / 2**30:.2f} GiB"
