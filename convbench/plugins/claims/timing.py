"""What the LSTM input size costs in time on one backbone, from measured latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from convbench.analysis.claims.claim import Curve, Judgement, Lacking, Number, Plot, Point, Verdict, claim
from convbench.analysis.claims.evidence import COSTS, LEAST_RATIO, Evidence, group_of_largest_input, ratio_of
from convbench.analysis.costs.crossover import crossover
from convbench.analysis.results import Result
from convbench.report.words import units

SIZE_ONLY = {"gap", "avg-k", "flatten"}
"""Reducers that have no weights and differ only in the size of their output."""

FLAT = 1.5
"""A step below this many times the step at the smallest size counts as about as fast."""


@claim(
    5,
    "So large an input extends training times",
    quote="The sheer number of parameters within the LSTM required to handle such a high-dimensional input often leads "
    "to overfitting and extended training times.",
    prediction=f"On one backbone a training step takes longer with the whole map than with GAP (by {LEAST_RATIO:g}× or "
    "more); it is flat up to about D×, where LSTM and convolution cost equal MACs, and linear beyond.",
    experiment="The article's backbone, reduced by averages of k×k cells alone (k = 1 is GAP, k = 64 flatten): latency "
    "of a training step (forward, backward, Adam) and of inference by LSTM input size.",
)
def training_time(evidence: Evidence) -> Judgement:
    steps = _results_by_size(evidence.costs, "train")
    if len(steps) < 3:
        raise Lacking(f"Latencies of a training step at three LSTM input sizes or more are needed: {COSTS}.")
    return judge(steps, _results_by_size(evidence.costs, "inference"))


def judge(steps: Sequence[Result], inference: Sequence[Result] = ()) -> Judgement:
    """Supported if the largest input is shown to take LEAST_RATIO times as long as the smallest, refuted if not.

    The results are in the order of their sizes.
    """
    ratio = ratio_of(steps[-1], steps[0])
    verdict: Verdict = (
        "supported" if ratio.low > LEAST_RATIO else "refuted" if ratio.high < LEAST_RATIO else "undecided"
    )
    crossover_size = crossover(inference[0]) if inference else None
    first_size, last_size, flat_size = steps[0].lstm_input or 0, steps[-1].lstm_input or 0, _last_flat_size(steps)
    numbers = [_latency("Training step", step) for step in steps]
    numbers += [
        _ratio_number("Training step", steps),
        Number(f"Last size with a step below {FLAT:g}× that at {first_size:,}", flat_size, "size"),
    ]
    bends = {"fitted to latency (t = a + bD)": bend(steps), "by MACs": bend_of_macs(steps)}
    numbers += [
        Number(f"Size at which it doubles a training step, {basis}", size, "size")
        for basis, size in bends.items()
        if size
    ]
    numbers += [Number("D× of inference, closed form", crossover_size, "size")] if crossover_size else []
    numbers += [_ratio_number("Inference", inference)] if len(inference) > 1 else []
    why = f"A training step at {last_size:,} takes {units.factor(ratio)} as long as at {first_size:,}"
    if flat_size > first_size:
        why += f", yet up to {flat_size:,} less than {FLAT:g}× as long: this does not argue for the smallest input"
    return Judgement(verdict, f"{why}.", tuple(numbers), _plot(steps, inference, crossover_size))


def bend_of_macs(steps: Sequence[Result]) -> float | None:
    """Return the size at which the MACs that grow with D equal all others; None if none grow."""
    first_step, last_step = steps[0], steps[-1]
    if first_step.macs is None or last_step.macs is None or not (first_step.lstm_input and last_step.lstm_input):
        return None
    slope = (last_step.macs - first_step.macs) / (last_step.lstm_input - first_step.lstm_input)
    return first_step.macs / slope - first_step.lstm_input if slope > 0 else None


def bend(steps: Sequence[Result]) -> float | None:
    """Return a / b of t = a + bD, fitted by relative error with a and b not negative; None if a or b is zero."""
    size = np.array([step.lstm_input for step in steps], dtype=float)
    time = np.array([step.cost("latency") for step in steps], dtype=float)
    (a, b), _ = nnls(np.stack([1 / time, size / time], axis=1), np.ones_like(time))
    return float(a / b) if a > 0 and b > 0 else None


def _results_by_size(costs: Sequence[Result], scenario: str) -> list[Result]:
    """Return the reducers without weights in the group of the largest input, one result per size, by rising size."""
    candidates = [result for result in costs if result.case.scenario == scenario and result.latency]
    group = group_of_largest_input([result for result in candidates if result.series in SIZE_ONLY])
    sizes = {result.lstm_input: result for result in group if result.lstm_input}
    return [sizes[size] for size in sorted(sizes)]


def _last_flat_size(steps: Sequence[Result]) -> int:
    """Return the last size up to which every step is below FLAT times the smallest size's."""
    flat_step = steps[0]
    for step in steps[1:]:
        if ratio_of(step, steps[0]).median >= FLAT:
            break
        flat_step = step
    return flat_step.lstm_input or 0


def _latency(label: str, result: Result) -> Number:
    assert result.latency
    low, high = (value if math.isfinite(value) else None for value in result.latency[1:])
    return Number(f"{label} at D = {result.lstm_input:,}", result.latency.median, "s", low, high)


def _ratio_number(label: str, results: Sequence[Result]) -> Number:
    first, last = results[0], results[-1]
    ratio = ratio_of(last, first)
    return Number(f"{label} at {last.lstm_input:,} over {first.lstm_input:,}", ratio.median, "×", ratio.low, ratio.high)


def _plot(steps: Sequence[Result], inference: Sequence[Result], size: float | None) -> Plot:
    rows = (("Training step", steps), ("Inference", inference))
    curves = [
        Curve(name, tuple(Point.of(result.lstm_input or 0, _latency("", result)) for result in results))
        for name, results in rows
        if results
    ]
    return Plot(
        "Latency by LSTM input size, one backbone",
        "How to read this: medians with 95 % intervals; the reducers have no weights, so only the size differs. Left "
        "of the dashed size D the convolution takes more MACs than the LSTM.", ("LSTM input size", "size"),
        ("Latency", "s"), tuple(curves), (("LSTM = conv MACs at D =", size),) if size else (),
    )  # fmt: skip
