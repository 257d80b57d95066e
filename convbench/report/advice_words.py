"""A recommendation in plain words: the pick first, then why, what it would cost to be better, and how sure it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from convbench.analysis.candidates import Candidate, CostName, Excluded, Why
from convbench.analysis.recommend import Price, Reason, Recommendation
from convbench.analysis.results import Result
from convbench.report import units
from convbench.report.names import model, setup

CHEAPEST: Mapping[CostName, str] = {
    "latency": "fastest", "params": "smallest", "memory": "smallest in memory", "flops": "cheapest in FLOPs",
}  # fmt: skip
UNIT: Mapping[str, str] = {"latency": "s", "params": "1", "memory": "B", "flops": "FLOP"}
LIMITS: Mapping[str, str] = {"latency": "latency", "params": "parameters", "memory": "peak memory", "flops": "FLOPs"}
WHY: Mapping[Why, str] = {
    "dead": "every run predicted one class",
    "unconverged": "no run had converged: train longer",
    "failed": "every run failed",
    "unsound": "no run was sound",
    "few-seeds": "fewer than 3 sound seeds",
    "no-cost": "its cost was not measured",
}
ABSTAINS: Mapping[Reason, str] = {
    "not-run": "quality was not run for it",
    "no-sound-run": "no run was sound",
    "few-seeds": "fewer than 3 sound seeds of anything: run more seeds",
    "no-cost": "the costs of what was trained were not measured: run the same suite with its costs",
    "over-budget": "nothing meets the budget",
    "no-effect": "no difference in quality was found",
    "edge": "the best is at the edge of the sweep",
    "undecided": "too noisy to show what is within the margin of the best",
}


def sentences(one: Recommendation) -> list[str]:
    """The answer for one task, most important sentence first."""
    if not one.pick:
        return [*filter(None, [f"{one.task}: no recommendation: {_abstention(one)}", _left_out(one.excluded)])]
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


def percent(share: float) -> str:
    """``87.3 %``"""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """``1.3 points``, of accuracy."""
    number = f"{100 * abs(share):.1f}"
    return f"{number} {'point' if number == '1.0' else 'points'}"


def amount(name: str, value: float) -> str:
    """A cost as people read it."""
    return units.human(value, UNIT[name])


def accuracy(one: Candidate) -> str:
    """``87.3 % [85.0, 89.6] over 5 seeds``"""
    interval = one.quality.interval
    bounds = f" [{100 * interval.low:.1f}, {100 * interval.high:.1f}]" if interval else ""
    return f"{percent(one.mean)}{bounds} over {len(one.quality.by_seed)} seeds"


def _worth(pick: Candidate) -> str:
    chance = f" (chance {percent(pick.quality.chance)})" if pick.quality.chance else ""
    return f"Accuracy {accuracy(pick)}{chance}; {costs(pick.result)}."


def costs(one: Result) -> str:
    """``3.10 ms a call, 74.2 k parameters, 8.02 MiB, 116 MFLOP``, as far as measured."""
    said = [
        f"{units.seconds(one.latency.median)} a call" if one.latency else "",
        f"{units.count(one.params)} parameters" if one.params is not None else "",
        units.size(one.memory) if one.memory is not None else "",
        units.flops(one.flops) if one.flops is not None else "",
    ]
    return ", ".join(filter(None, said))


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
    said = " and ".join(f"{LIMITS[name]} of {amount(name, limits[name])}" for name in one.binding)
    return f"Binding: the {said}; without {'it' if len(one.binding) == 1 else 'one of them'} the answer would change."


def _price(one: Recommendation) -> str:
    price, pick = one.price, one.pick
    if not price or not pick:
        return ""
    more = [_more(name, price, pick) for name in ("latency", "params")]
    doubt = "" if price.p <= 0.05 else " in the mean, which these seeds do not show to be a gain"
    return (
        f"The next better point, {setup(price.candidate.result)}, gains {points(price.gain)}{doubt}, "
        f"for {' and '.join(filter(None, more))}."
    )


def _more(name: str, price: Price, pick: Candidate) -> str:
    before, after = pick.result.cost(name), price.candidate.result.cost(name)
    if before is None or after is None:
        return ""
    word = " parameters" if name == "params" else " a call"
    return f"{amount(name, abs(after - before))}{word} {'more' if after >= before else 'less'}"


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


def _abstention(one: Recommendation) -> str:
    """Why there is no recommendation, with what to do about it."""
    assert one.reason
    head = ABSTAINS[one.reason]
    match one.reason:
        case "over-budget":
            return f"{head}. {_misses(one)}"
        case "no-effect":
            return f"{head} (p = {one.numbers['p']:.2f}). {_cheapest(one)}"
        case "edge":
            return f"{head}. {_extend(one)}"
        case "undecided":
            return f"{head}. {_needed(one)}"
    return f"{head}."


def _misses(one: Recommendation) -> str:
    limits: Mapping[str, float] = {str(name): value for name, value in one.ask.constraints.items()}
    near = [f"{LIMITS[name]} at least {amount(name, value)} (the limit is {amount(name, limits[name])})"
            for name, value in one.numbers.items()]  # fmt: skip
    return f"Nearest: {'; '.join(near)}."


def _cheapest(one: Recommendation) -> str:
    assert one.leading
    return (
        f"The {CHEAPEST[one.ask.cheapest]} is {setup(one.leading.result)} ({accuracy(one.leading)}; "
        f"{costs(one.leading.result)}). A difference of {points(one.numbers['detectable'])} between two "
        "configurations would have been seen in four of five such runs."
    )


def _extend(one: Recommendation) -> str:
    assert one.leading
    size, smaller = int(one.numbers["size"]), int(one.numbers["smaller"])
    return (
        f"{model(one.leading.result)} has {percent(one.leading.mean)}, {points(one.numbers['gain'])} more than at "
        f"{smaller:,}, and no larger size was tried: extend lstm_input to {2 * size:,} and beyond."
    )


def _needed(one: Recommendation) -> str:
    assert one.leading
    seeds, margin = int(one.numbers["seeds"]), one.numbers["margin"]
    more = f"about {int(one.numbers['needed'])} seeds instead of {seeds}, or " if "needed" in one.numbers else ""
    return (
        f"The highest mean is {setup(one.leading.result)} ({accuracy(one.leading)}). To decide within "
        f"{points(one.ask.within)}: {more}a margin of --within {100 * margin + 0.05:.1f}%."
    )
