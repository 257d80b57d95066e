"""Machine, protocol and state of a run in words: what a number belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from convbench.analysis.results import Result, measured
from convbench.core.record import Run, Scalar, Training
from convbench.report.words import units
from convbench.report.words.findings import percent


def place(run: Run) -> str:
    """The machine and software in one line, of what is known of them."""
    known = run.environment
    counted = (f"{known[key]} {key}" for key in ("cores", "threads") if known.get(key))
    named = (f"{key} {known[key]}" for key in ("torch", "python") if known.get(key))
    said = [known.get("gpu"), known.get("cpu"), *counted, *named, known.get("allocator"), run.started]
    return " · ".join(_shorter(str(one)) for one in said if one)


def _shorter(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def protocol(run: Run) -> dict[str, str]:
    """How the suite was measured, in words."""
    asked = run.protocol
    said = {
        "Seed": str(asked.seed),
        "Warm-up": f"until two windows agree, at most {units.seconds(asked.max_warmup)}",
        "Sampling": f"until the interval is within ±{percent(asked.target)} of the median, "
        f"at least {asked.min_samples} samples, at most {units.seconds(asked.max_time)}",
        "Time limit": f"{units.seconds(asked.timeout)} a {'visit' if asked.visits > 1 else 'case'}",
        "Metrics": ", ".join(run.metrics) or "all",
    }
    if any("/learn/" in case for case in run.planned):
        said["Training"] = _training(asked.training)
    if asked.visits > 1:
        said["Visits"] = f"{asked.visits} fresh processes a case in shuffled rounds, more where the answer was open"
    if run.intervals_meet is not None:
        said["Two runs agree"] = f"{percent(run.intervals_meet)} of the intervals met in a selftest on this machine"
    if run.visible_slowdown is not None:
        seen = f"slowdowns from {percent(run.visible_slowdown)} on, by its selftest on this machine (1 thread)"
        said["The gate sees"] = seen
    return said


def _training(asked: Training) -> str:
    return (
        f"{asked.steps:,} steps of Adam with a cosine schedule; {asked.train_clips:,} clips to learn from, "
        f"{asked.val_clips:,} to choose by, {asked.test_clips:,} to report on"
    )


OF_PLUGINS = ("position", "control")
"""What reducers say of themselves: noted with a record, but no state of the machine."""


def conditions(found: Sequence[Result]) -> dict[str, str]:
    """What was recorded per case: the value that all share, or the values it took."""
    values: dict[str, set[Scalar]] = defaultdict(set)
    for one in measured(found):
        for key, value in one.record.conditions.items():
            if key not in OF_PLUGINS:
                values[key].add(value)
    return {key: _few(key, several) for key, several in sorted(values.items())}


def _few(key: str, several: set[Scalar]) -> str:
    numbers = [value for value in several if isinstance(value, (int, float))]
    if len(several) > 3 and len(numbers) == len(several):
        return f"{fact(key, min(numbers))} to {fact(key, max(numbers))}"
    words = sorted(fact(key, value) for value in several)
    return ", ".join(words) if len(words) <= 4 else f"{', '.join(words[:3])} and {len(words) - 3} more"


def fact(key: str, value: Scalar) -> str:
    """A value by what its name says of its unit."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return units.MISSING if value is None else str(value)
    if key.endswith("_bytes"):
        return units.size(value)
    return units.seconds(value) if key.endswith("_s") else units.digits(value, 4) if value % 1 else str(value)
