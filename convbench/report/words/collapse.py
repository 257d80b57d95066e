"""How often a configuration's runs collapse, in plain words."""

from __future__ import annotations

from convbench.analysis.quality.qualities import Quality
from convbench.report.words.numbers import percent


def fails(quality: Quality, inside: bool = False) -> str:
    """``Fails in 2 of 10 seeds (95 %: 3 to 56 %)``; inside a sentence with a small letter."""
    interval = quality.collapse_interval
    bounds = f" (95 %: {percent(interval[0])} to {percent(interval[1])})" if interval else ""
    return f"{'fails' if inside else 'Fails'} in {quality.collapsed} of {quality.ended} seeds{bounds}"
