"""Recommendations as plain objects for ``--json``: base units, shares between 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.recommendation import Recommendation, Settle
from convbench.analysis.choice.trade import Trade
from convbench.analysis.results import shown_metrics
from convbench.core.storage.json_form import finite
from convbench.report.words.advice import sentences

PlainValue = str | float | int | None | list["PlainValue"] | Mapping[str, "PlainValue"]


def plain(answer: Recommendation) -> Mapping[str, PlainValue]:
    """Return one task's answer: its ``grade``, the ``doubts`` about a pick, and the ``reason`` if ``pick`` is null."""
    price = answer.price
    return {
        "task": answer.task,
        "clip": str(answer.clip) if answer.clip else None,
        "grade": answer.grade,
        "pick": _candidate(answer.pick),
        "reason": answer.reason,
        "unmeasured": answer.unmeasured,
        "doubts": list(answer.doubts),
        "numbers": {name: finite(value) for name, value in answer.numbers.items()},
        "best": _candidate(answer.best),
        "leading": _candidate(answer.leading),
        "shortfall": answer.shortfall,
        "probability": answer.probability,
        "ruled_out": [candidate.result.case.id for candidate in answer.ruled_out],
        "tied": [runner.candidate.result.case.id for runner in answer.runners if runner.is_tied],
        "passed_over": [candidate.result.case.id for candidate in answer.passed_over],
        "settle": _settle(answer.settle),
        "binding": list(answer.binding),
        "on_front": answer.front,
        "stability": answer.stability,
        "price": {"next": _candidate(price.candidate), "gain": price.gain, "p": price.p} if price else None,
        "runners": [
            {"candidate": _candidate(r.candidate), "on_front": r.front, "shown": int(r.is_shown),
             "ruled_out": int(r.ruled_out), "gain": r.gain, "gain_low": finite(r.low), "gain_high": finite(r.high)}
            for r in answer.runners
        ],
        "trades": [_trade(trade) for trade in answer.trades],
        "excluded": [{"architecture": str(e.quality.architecture), "why": e.why} for e in answer.excluded],
        "words": " ".join(sentences(answer)),
    }  # fmt: skip


def _candidate(candidate: Candidate | None) -> PlainValue:
    if candidate is None:
        return None
    metrics = shown_metrics([candidate.result], "advise")
    quality = candidate.quality
    return {
        "case": candidate.result.case.id,
        "accuracy": candidate.mean,
        "by_seed": {str(seed): value for seed, value in quality.by_seed.items()},
        "learning_rate": quality.learning_rate,
        "learning_rate_at_edge": quality.rate_edge,
        "collapsed": quality.collapsed,
        "ended": quality.ended,
        "collapse_rate": list(quality.collapse_interval or ()),
        "unconverged": quality.unconverged,
        **{metric.option: finite(candidate.result.value(metric)) for metric in metrics},
        "equal": [result.case.id for result in candidate.equal],
    }


def _settle(settle: Settle | None) -> PlainValue:
    if settle is None:
        return None
    cases: list[PlainValue] = [candidate.result.case.id for candidate in settle.candidates]
    return {"cases": cases, "seeds": settle.seeds, "seconds": settle.seconds}


def _trade(trade: Trade) -> PlainValue:
    return {
        "case": trade.variant.result.case.id,
        "accuracy": trade.variant.mean,
        "gain": trade.gain.median,
        "gain_low": trade.gain.low,
        "gain_high": trade.gain.high,
        "speedup": trade.speedup.median if trade.speedup else None,
    }
