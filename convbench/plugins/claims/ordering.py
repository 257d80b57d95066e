"""Whether parameters stand for cost: whether they order configurations as latency does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from convbench.analysis.claims.claim import Judgement, Lacking, Number, Verdict, claim
from convbench.analysis.claims.evidence import COSTS, LEAST_RATIO, Evidence, group_of_largest_input, ratio_of
from convbench.analysis.results import Result
from convbench.core.statistics import TAIL, Interval
from convbench.report.words import claims as words

STANDS_FOR = 0.8
UPSET = 1.5
"""A pair is a counterexample if one takes this many times as long with no more parameters."""

SEEN = 1.05
"""Below this ratio, two configurations have about as many parameters."""

DRAWS, SEED = 2000, 0


@claim(
    16,
    "Parameters stand for cost (implied)",
    quote="The sheer number of parameters within the LSTM required to handle such a high-dimensional input often leads "
    "to overfitting and extended training times.",
    prediction=f"Parameters order configurations as their latency does: Kendall's τ of {STANDS_FOR} or more, which is "
    "nine in ten pairs ordered alike.",
    experiment="All eager configurations measured on one backbone in inference: Kendall's τ of parameters, FLOPs and "
    "peak memory with latency, 95 % bootstrap intervals over configurations.",
)
def stand_in(evidence: Evidence) -> Judgement:
    results = group_of_largest_input(
        [result for result in evidence.costs if result.latency and result.case.scenario == "inference"]
    )
    if len(results) < 5:
        raise Lacking(f"Latencies of five configurations on one backbone are needed: {COSTS}.")
    latency = [result.cost("latency") or 0.0 for result in results]
    pairs = [(word, [result.cost(key) for result in results]) for word, key in
             (("parameters", "params"), ("FLOPs", "flops"), ("peak memory", "memory"))]  # fmt: skip
    taus = {
        word: tau([v or 0.0 for v in values], latency)
        for word, values in pairs
        if None not in values and len(set(values)) > 1
    }
    if "parameters" not in taus:
        raise Lacking(f"Parameters were not counted, or are the same in every configuration: {COSTS}.")
    return judge(taus, len(results), _upset(results))


def judge(taus: dict[str, Interval], n: int, upset: Number | None = None) -> Judgement:
    """Supported if τ of parameters and latency is shown to be high, refuted if shown not to be or if a pair refutes it.

    Such a pair is shown to take ``UPSET`` times as long with no more parameters.
    """
    interval = taus["parameters"]
    is_broken = upset is not None and (upset.low or 0.0) >= UPSET
    is_refuted = is_broken or interval.high < STANDS_FOR
    verdict: Verdict = "refuted" if is_refuted else "supported" if interval.low >= STANDS_FOR else "undecided"
    head = {"supported": "Parameters order configurations as latency does",
            "refuted": "Parameters do not order configurations as latency does",
            "undecided": "These configurations do not decide it"}[verdict]  # fmt: skip
    why = f"{head}: τ = {interval.median:z.2f} [{interval.low:z.2f}, {interval.high:z.2f}] over {n} configurations"
    if "FLOPs" in taus:
        why += f", that of FLOPs {taus['FLOPs'].median:z.2f}"
    if is_broken and upset:
        why += f"; {upset.label} {words.number(upset)} as long"
    numbers = [
        Number(f"Kendall's τ of {word} and latency", t.median, "1", t.low, t.high, n) for word, t in taus.items()
    ]
    return Judgement(verdict, f"{why}.", (*numbers, *([upset] if upset else [])))


def tau(values: Sequence[float], latency: Sequence[float]) -> Interval:
    """Return Kendall's τ-b with a percentile bootstrap interval over configurations."""
    x, y = (np.sign(np.subtract.outer(column, column)) for column in (values, latency))
    n = len(values)
    draws = np.random.default_rng(SEED).integers(n, size=(DRAWS, n))
    # a pair counts as often as both of its configurations are drawn: the first row draws each once
    counts = np.array([np.ones(n), *(np.bincount(draw, minlength=n) for draw in draws)])
    concordance, x_pairs, y_pairs = (((counts @ pairs) * counts).sum(1) for pairs in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore"):
        taus = concordance / np.sqrt(x_pairs * y_pairs)  # NaN if all that were drawn tie
    low, high = np.nanquantile(taus[1:], (TAIL, 1 - TAIL))
    return Interval(float(taus[0]), float(low), float(high))


def _upset(results: Sequence[Result]) -> Number | None:
    """Return the pair that breaks the order most: counterexamples first, then the largest ratio of parameters."""
    worst_rank, number = (False, 1.0), None
    for result, other_result in permutations(results, 2):
        times = (other_result.params or 1) / (result.params or 1)
        if times < 1.0 or (ratio := ratio_of(result, other_result)).low <= LEAST_RATIO:
            continue
        rank = (ratio.low >= UPSET, times)
        if rank > worst_rank:
            names = [f"{member.series} {member.lstm_input:,}" for member in (result, other_result)]
            label = f"{names[0]} has {_fewer_words(times)} parameters than {names[1]}, and its latency is"
            worst_rank, number = rank, Number(label, ratio.median, "×", ratio.low, ratio.high)
    return number


def _fewer_words(times: float) -> str:
    """Return ``3.2 times fewer``, or ``no more`` for about as many."""
    return f"{times:.1f} times fewer" if times >= SEEN else "no more"
