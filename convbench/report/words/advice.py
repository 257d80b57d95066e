"""A recommendation in plain words: the pick first, then why, what it would cost to be better, and how sure it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from convbench.analysis.choice.candidates import Candidate, Excluded, Why
from convbench.analysis.choice.recommendation import Price, Recommendation
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.report.words.abstention import abstention
from convbench.report.words.names import model, setup
from convbench.report.words.numbers import CHEAPEST, accuracy, amount, costs, limit, percent, points

WHY: Mapping[Why, str] = {
    "dead": "every run predicted one class",
    "unconverged": "no run had converged: train longer",
    "failed": "every run failed",
    "unsound": "no run was sound",
    "few-seeds": "fewer than 3 sound seeds",
    "no-cost": "its cost was not measured",
}


def sentences(one: Recommendation) -> list[str]:
    """The answer for one task, most important sentence first."""
    if not one.pick:
        return [*filter(None, [f"{one.task}: no recommendation: {abstention(one)}", _left_out(one.excluded)])]
    said = [f"{one.task}: {setup(one.pick.result)}.", _worth(one.pick), _why(one), _binding(one), _price(one)]
    return [*filter(None, [*said, _sure(one), _same(one.pick), _left_out(one.excluded)])]


def different(found: Sequence[Recommendation]) -> str:
    """That tasks want different configurations, where they do."""
    picks: dict[str, list[str]] = defaultdict(list)
    for one in found:
        if one.pick:
            picks[setup(one.pick.result)].append(one.task)
    if len(picks) < 2:
        return ""
    said = "; ".join(f"{', '.join(tasks)}: {name}" for name, tasks in picks.items())
    return f"Different tasks want different configurations, so there is no one best here: {said}."


def not_run(run: str, suite: str) -> str:
    return f"quality was not run in {run}: run `convbench run {suite} quality=train`"


def _worth(pick: Candidate) -> str:
    chance = f" (chance {percent(pick.quality.chance)})" if pick.quality.chance else ""
    return f"Accuracy {accuracy(pick)}{chance}; {costs(pick.result)}."


def _why(one: Recommendation) -> str:
    pick, best, ask = one.pick, one.best, one.ask
    assert pick
    assert best
    place = "within the budget" if ask.constraints else "measured"
    if len(one.pool) == 1:
        return f"It is the only configuration {place}."
    rule = f"Of {len(one.pool)} configurations {place} it is the {CHEAPEST[ask.cheapest]} that is shown to be within"
    said = f"{rule} {points(ask.within)} of the best at 95 %"
    if best is pick:
        return f"{said}, and it has the highest accuracy itself."
    assert one.shortfall is not None
    below = f"this is at most {points(one.shortfall)} below the best"
    return f"{said}. The highest mean, {percent(best.mean)}, is that of {model(best.result)}; {below}."


def _binding(one: Recommendation) -> str:
    limits = one.ask.constraints
    if not limits:
        return ""
    if not one.binding:
        return "No limit binds: each could be lifted without changing this."
    bounds = ((one.ask.metrics[name], limits[name]) for name in one.binding)
    said = " and ".join(f"{limit(metric)} of {amount(metric, value)}" for metric, value in bounds)
    return f"Binding: the {said}; without {'it' if len(one.binding) == 1 else 'one of them'} the answer would change."


def _price(one: Recommendation) -> str:
    price, pick = one.price, one.pick
    if not price or not pick:
        return ""
    more = [_more(metric, price, pick) for metric in (metrics.LATENCY, metrics.PARAMS)]
    doubt = "" if price.p <= 0.05 else " in the mean, which these seeds do not show to be a gain"
    return (
        f"The next better point, {setup(price.candidate.result)}, gains {points(price.gain)}{doubt}, "
        f"for {' and '.join(filter(None, more))}."
    )


def _more(metric: Metric, price: Price, pick: Candidate) -> str:
    before, after = pick.result.value(metric), price.candidate.result.value(metric)
    if before is None or after is None:
        return ""
    word = " parameters" if metric == metrics.PARAMS else " a call"
    return f"{amount(metric, abs(after - before))}{word} {'more' if after >= before else 'less'}"


def _sure(one: Recommendation) -> str:
    if one.stability is None or one.front is None or len(one.pool) == 1:
        return ""
    return (
        f"{100 * one.stability:.0f} % of resamples of seeds and timings pick it again; "
        f"in {100 * one.front:.0f} % nothing is both cheaper and better."
    )


def _same(pick: Candidate) -> str:
    if not pick.equal:
        return ""
    return f"The same function, at no lower cost: {'; '.join(model(one) for one in pick.equal)}."


def _left_out(excluded: Sequence[Excluded]) -> str:
    causes: dict[Why, list[str]] = defaultdict(list)
    for one in excluded:
        parts = one.quality.architecture
        size = f" {parts.lstm_input:,}" if parts.lstm_input else ""
        causes[one.why].append(f"{parts.reducer}{size}")
    said = "; ".join(f"{', '.join(names)} ({WHY[why]})" for why, names in causes.items())
    return f"Left out: {said}." if said else ""
