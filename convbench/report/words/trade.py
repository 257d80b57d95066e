"""How much accuracy a trained model loses, and speed it gains, in another runtime or precision."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.choice.trade import Trade
from convbench.core.statistics import Interval
from convbench.report.words import units
from convbench.report.words.names import configuration
from convbench.report.words.numbers import shares

OF_THE_PICK, OF_OTHERS = 3, 3


def sentence(answer: Recommendation) -> str:
    """Return ``The same trained models run otherwise: flatten in int8 loses 0.3 points [0.1, 0.5] and is 8.0× ...``."""
    words = "; ".join(
        f"{configuration(trade.variant.quality)} in {trade.variant.quality.variant} {_effect(trade)}"
        for trade in _highlights(answer)
    )
    return f"The same trained models run otherwise: {words}." if words else ""


def loss(trade: Trade) -> str:
    """Return ``loses 0.3 points [0.1, 0.5]``, ``gains ...`` or ``loses no accuracy``."""
    gain = trade.gain
    if round(1000 * max(abs(gain.low), abs(gain.high))) == 0:
        return "loses no accuracy"
    is_loss = gain.median <= 0
    middle, low, high = shares(Interval(-gain.median, -gain.high, -gain.low) if is_loss else gain, "z")
    return f"{'loses' if is_loss else 'gains'} {middle} {'point' if middle == '1.0' else 'points'} [{low}, {high}]"


def _effect(trade: Trade) -> str:
    if trade.speedup is None:
        return loss(trade)
    if trade.factor >= 1:
        return f"{loss(trade)} and is {units.factor(trade.speedup)} as fast as eager"
    return f"{loss(trade)} and takes {units.factor(1 / trade.factor)} eager's time"


def _highlights(answer: Recommendation) -> Iterator[Trade]:
    """Yield the pick's fastest trades, then the fastest of each of a few other architectures."""
    pick_architecture = answer.pick.quality.architecture if answer.pick else None
    pick_trades = [trade for trade in answer.trades if trade.variant.quality.architecture == pick_architecture]
    trade_by_architecture: dict[object, Trade] = {}
    for trade in answer.trades:
        if trade not in pick_trades:
            trade_by_architecture.setdefault(trade.variant.quality.architecture, trade)
    yield from pick_trades[:OF_THE_PICK]
    yield from list(trade_by_architecture.values())[:OF_OTHERS]
