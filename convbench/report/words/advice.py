"""An answer in plain words: the pick and its grade first, then why, how sure it is, and what would settle it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from convbench.analysis.choice.candidates import Candidate, Excluded, Why
from convbench.analysis.choice.recommendation import Doubt, Price, Recommendation
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.report.words import trade, units
from convbench.report.words.abstention import abstention, extend
from convbench.report.words.collapse import fails
from convbench.report.words.names import model, setup
from convbench.report.words.numbers import CHEAPEST, accuracy, amount, costs, limit, percent, points

WHY: Mapping[Why, str] = {
    "dead": "most of its runs learnt nothing or collapsed",
    "failed": "every run failed",
    "unsound": "no run was sound",
    "few-seeds": "fewer than 2 sound seeds",
    "no-cost": "its cost was not measured",
}
DOUBTS: Mapping[Doubt, str] = {
    "not-shown": "it is not shown to be within the margin",
    "no-effect": "no difference in quality was found",
    "edge": "the best is at the edge of the sweep",
    "few-seeds": "fewer than 3 sound seeds",
    "collapses": "its runs collapse more often than those of others",
    "undertrained": "at least half of the runs of it or of the best were still learning: train longer",
}
LISTED = 6


def sentences(answer: Recommendation) -> list[str]:
    """The answer for one task, most important sentence first."""
    if not answer.pick:
        texts = [f"{answer.task}: open, no pick: {abstention(answer)}", _settle(answer)]
        texts += [trade.sentence(answer), _left_out(answer.excluded)]
        return [*filter(None, texts)]
    texts = [f"{answer.task}: {setup(answer.pick.result)} ({answer.grade}).", _worth(answer.pick), _why(answer)]
    texts += [_doubts(answer), _ruled_out(answer), _passed_over(answer), _settle(answer)]
    texts += [_binding(answer), _price(answer), _likely(answer), _same(answer.pick)]
    texts += [trade.sentence(answer), _left_out(answer.excluded)]
    return [*filter(None, texts)]


def different(answers: Sequence[Recommendation]) -> str:
    """That tasks want different configurations, where they do."""
    picks: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        if answer.pick:
            picks[setup(answer.pick.result)].append(answer.task)
    if len(picks) < 2:
        return ""
    choices = "; ".join(f"{', '.join(tasks)}: {name}" for name, tasks in picks.items())
    return f"Different tasks want different configurations, so there is no one best here: {choices}."


def not_run(run: str, suite: str) -> str:
    return f"quality was not run in {run}: run `convbench run {suite} quality=train`"


def _worth(pick: Candidate) -> str:
    chance = f" (chance {percent(pick.quality.chance)})" if pick.quality.chance else ""
    often = f" {fails(pick.quality)}." if pick.quality.collapsed else ""
    return f"Accuracy {accuracy(pick)}{chance}; {costs(pick.result)}.{often}"


def _why(answer: Recommendation) -> str:
    pick, best, ask = answer.pick, answer.best, answer.ask
    assert pick
    assert best
    place = "within the budget" if ask.constraints else "measured"
    if len(answer.pool) == 1:
        return f"It is the only configuration {place}."
    head = f"Of {len(answer.pool)} configurations {place} it is {_rule(answer)}"
    if best is pick:
        return f"{head}, and it has the highest accuracy itself{_below(answer, ': it is')}."
    return f"{head}. The highest mean, {percent(best.mean)}, is that of {_named(best)}{_below(answer, '; this is')}."


def _rule(answer: Recommendation) -> str:
    ask = answer.ask
    if ask.per_second is not None:
        return f"the best of accuracy less {points(ask.per_second / 1000)} a millisecond"
    if {"not-shown", "no-effect"} <= set(answer.doubts):
        return f"the {CHEAPEST[ask.cheapest]} that is likely within {points(ask.within)} of the best"
    if "not-shown" in answer.doubts:
        return "the one with the highest accuracy less its noise"
    return f"the {CHEAPEST[ask.cheapest]} that is shown to be within {points(ask.within)} of the best at 95 %"


def _below(answer: Recommendation, joined: str) -> str:
    if answer.shortfall is None or (answer.shortfall < 5e-4 and answer.best is answer.pick):
        return ""
    worth = "" if answer.ask.per_second is None else ", price included"
    return f"{joined} at most {points(answer.shortfall)} below the best (95 %){worth}"


def _doubts(answer: Recommendation) -> str:
    if not answer.doubts:
        return ""
    text = f"Provisional, because {'; '.join(DOUBTS[doubt] for doubt in answer.doubts)}."
    return f"{text} {extend(answer)}" if "edge" in answer.doubts else text


def _ruled_out(answer: Recommendation) -> str:
    """What is out and what is not told from the pick, where the answer is not sure."""
    if answer.grade == "sure":
        return ""
    out = _models(answer.ruled_out)
    open_ = _models([r.candidate for r in answer.runners if not r.ruled_out and not r.shown])
    return " ".join(filter(None, [f"Ruled out: {out}." if out else "", f"Still in: {open_}." if open_ else ""]))


def _passed_over(answer: Recommendation) -> str:
    texts = [f"{_named(candidate)}, which {fails(candidate.quality, inside=True)}" for candidate in answer.passed_over]
    return f"Passed over, cheaper and as good when it learns: {'; '.join(texts)}." if texts else ""


def _settle(answer: Recommendation) -> str:
    settle = answer.settle
    if not settle:
        return ""
    names = _models(settle.candidates)
    if settle.seeds is None:
        return f"No hundred seeds would tell {names} apart by {points(answer.ask.within)}: a wider --within would."
    took = f", about {units.seconds(settle.seconds)} of training" if settle.seconds else ""
    seeds = f"{settle.seeds} more {'seed' if settle.seeds == 1 else 'seeds'}"
    return f"To settle it: {seeds} of each of {names}{took}."


def _binding(answer: Recommendation) -> str:
    limits = answer.ask.constraints
    if not limits:
        return ""
    if not answer.binding:
        return "No limit binds: each could be lifted without changing this."
    bounds = ((answer.ask.metrics[name], limits[name]) for name in answer.binding)
    text = " and ".join(f"{limit(metric)} of {amount(metric, value)}" for metric, value in bounds)
    without = "it" if len(answer.binding) == 1 else "one of them"
    return f"Binding: the {text}; without {without} the answer would change."


def _price(answer: Recommendation) -> str:
    price, pick = answer.price, answer.pick
    if not price or not pick or answer.ask.per_second is not None:
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


def _likely(answer: Recommendation) -> str:
    if answer.probability is None or answer.front is None or len(answer.pool) == 1:
        return ""
    within = f"{100 * answer.probability:.0f} % likely within the margin"
    right = "" if answer.stability is None else f", {100 * answer.stability:.0f} % the cheapest that is"
    names = f"{', '.join(['quality', *answer.ask.against[:-1]])} and {answer.ask.against[-1]}"
    return f"It is {within}{right}, and {100 * answer.front:.0f} % on the front of {names}."


def _same(pick: Candidate) -> str:
    if not pick.equal:
        return ""
    return f"The same function, at no lower cost: {'; '.join(model(result) for result in pick.equal)}."


def _left_out(excluded: Sequence[Excluded]) -> str:
    causes: dict[Why, list[str]] = defaultdict(list)
    for exclusion in excluded:
        parts = exclusion.quality.architecture
        size = f" {parts.lstm_input:,}" if parts.lstm_input else ""
        own = "" if exclusion.quality.variant == "eager" else f" in {exclusion.quality.variant}"
        causes[exclusion.why].append(f"{parts.reducer}{size}{own}")
    text = "; ".join(f"{', '.join(names)} ({WHY[why]})" for why, names in causes.items())
    return f"Left out: {text}." if text else ""


def _named(candidate: Candidate) -> str:
    """The model, with the variant where its quality is that variant's own."""
    variant = candidate.quality.variant
    return f"{model(candidate.result)}{'' if variant == 'eager' else f', {variant}'}"


def _models(candidates: Sequence[Candidate]) -> str:
    names = [_named(candidate) for candidate in candidates]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{'; '.join(names[:LISTED])}{more}"
