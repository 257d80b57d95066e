"""Recommendations as plain objects for ``--json``: base units, shares between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.recommendation import Recommendation, Settle
from convbench.core import metrics
from convbench.report.words.advice import sentences

Plain = str | float | int | None | list["Plain"] | Mapping[str, "Plain"]


def plain(one: Recommendation) -> Mapping[str, Plain]:
    """One task's answer: its ``grade``, the ``doubts`` of a pick, and where ``pick`` is null the ``reason``."""
    price = one.price
    return {
        "task": one.task,
        "clip": str(one.clip) if one.clip else None,
        "grade": one.grade,
        "pick": _candidate(one.pick),
        "reason": one.reason,
        "doubts": list(one.doubts),
        "numbers": {name: _number(value) for name, value in one.numbers.items()},
        "best": _candidate(one.best),
        "leading": _candidate(one.leading),
        "shortfall": one.shortfall,
        "probability": one.probability,
        "ruled_out": [each.result.case.id for each in one.ruled_out],
        "passed_over": [each.result.case.id for each in one.passed_over],
        "settle": _settle(one.settle),
        "binding": list(one.binding),
        "on_front": one.front,
        "stability": one.stability,
        "price": {"next": _candidate(price.candidate), "gain": price.gain, "p": price.p} if price else None,
        "runners": [
            {"candidate": _candidate(r.candidate), "on_front": r.front, "shown": int(r.shown),
             "ruled_out": int(r.ruled_out), "gain": r.gain, "gain_low": _number(r.low), "gain_high": _number(r.high)}
            for r in one.runners
        ],
        "excluded": [{"architecture": str(e.quality.architecture), "why": e.why} for e in one.excluded],
        "words": " ".join(sentences(one)),
    }  # fmt: skip


def _candidate(one: Candidate | None) -> Plain:
    if one is None:
        return None
    limited = [metrics.LATENCY, metrics.PARAMS, metrics.MEMORY, metrics.FLOPS, *metrics.own(one.result.record.readings)]
    quality = one.quality
    return {
        "case": one.result.case.id,
        "accuracy": one.mean,
        "by_seed": {str(seed): value for seed, value in quality.by_seed.items()},
        "learning_rate": quality.learning_rate,
        "learning_rate_at_edge": quality.rate_edge,
        "collapsed": quality.collapsed,
        "ended": quality.ended,
        "collapse_rate": list(quality.collapse_interval or ()),
        "unconverged": quality.unconverged,
        **{metric.option: one.result.value(metric) for metric in limited},
        "equal": [other.case.id for other in one.equal],
    }


def _settle(settle: Settle | None) -> Plain:
    if settle is None:
        return None
    cases: list[Plain] = [each.result.case.id for each in settle.candidates]
    return {"cases": cases, "seeds": settle.seeds, "seconds": settle.seconds}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
