"""A recommendation in plain words: the pick and its grade first, then why, how sure it is, and what would settle it."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from convbench.analysis.choice.by_task import common_pick
from convbench.analysis.choice.candidates import Candidate, Excluded, Why
from convbench.analysis.choice.recommendation import Doubt, NextBetter, Recommendation
from convbench.analysis.costs.ranking import exclude_controls, factors_over
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result, is_triable
from convbench.core import metrics, scales
from convbench.core.case import is_training
from convbench.core.commands import Command
from convbench.core.metric import Metric
from convbench.core.record import EAGER, Record, RunDescription
from convbench.core.text import counted, joined, some_long
from convbench.report.words import trade, units
from convbench.report.words.abstention import abstention, extend
from convbench.report.words.findings import failure
from convbench.report.words.first_lines import ASIDE
from convbench.report.words.names import advisable, after_norm, around, configuration, model
from convbench.report.words.next_runs import NextRun, command, runs_for_cost, training_run, withheld_rivals
from convbench.report.words.numbers import (
    accuracy,
    amount,
    chance,
    cheapest,
    costs,
    likely,
    limit_name,
    mean,
    points,
)

WHY: Mapping[Why, str] = {
    "dead": "most runs learnt nothing or collapsed",
    "failed": "every run failed",
    "unsound": "no run was sound",
    "beyond": "accuracy at the equal budget not known",
    "few-seeds": "fewer than 2 sound seeds",
    "no-cost": "not measured in inference",
    "unknown-cost": "the cost that decides was not measured, or never undisturbed",
}
DOUBTS: Mapping[Doubt, str] = {
    "not-shown": "it is not shown to be within the margin",
    "no-effect": "no difference in quality was found",
    "edge": "the best is at the edge of the sweep",
    "few-seeds": "fewer than 3 sound seeds",
    "collapses": "its runs collapse more often than those of others",
    "undertrained": "at least half of the runs of it or of the best were still learning: train longer",
    "known-clips": "some test clips are among those learned from, so its accuracy is too high",
    "unknown-cost": "the cost of another that may be as good is not known",
}
NO_HEAD = "a whole model of your own has no head that could be exchanged for a task's"
NAMES = 6
FEW_CLIPS = 200
"""Below this number of test clips, more clips help whatever the number of seeds."""


def sentences(answer: Recommendation) -> list[str]:
    """Return the answer for one task, most important sentence first."""
    if not answer.pick:
        texts = [f"{answer.name}: open, no pick: {abstention(answer)}", _settle(answer)]
        texts += [trade.sentence(answer), _exclusions(answer.excluded)]
        return [*filter(None, texts)]
    texts = [f"{answer.name}: {advisable(answer.pick)} ({answer.grade}).", _worth(answer.pick, answer), _why(answer)]
    texts += [_doubts(answer), _ruled_out(answer), _passed_over(answer), _settle(answer)]
    texts += [_binding(answer), _price(answer), _likely(answer), _equals(answer.pick)]
    texts += [trade.sentence(answer), _rates(answer), _exclusions(answer.excluded)]
    return [*filter(None, texts)]


def differences(answers: Sequence[Recommendation]) -> str:
    """Return the picks if tasks differ in them, and the configuration that is good enough in all, if there is one."""
    picks: dict[str, list[str]] = defaultdict(list)
    for answer in answers:
        if answer.pick:
            picks[advisable(answer.pick)].append(answer.name)
    if len(picks) < 2:
        return ""
    choices = "; ".join(f"{', '.join(tasks)}: {pick}" for pick, tasks in picks.items())
    ask, candidate = answers[0].ask, common_pick([answer for answer in answers if answer.pick])
    margin = f"within {points(ask.within)} of the best{'' if ask.per_second is None else ', price included,'} in all"
    if not candidate:
        return f"Different tasks want different configurations, and none is shown to be {margin}: {choices}."
    return (
        f"Different tasks want different configurations: {choices}. Yet {advisable(candidate)} is shown to be {margin}."
    )


def missing_quality(run: RunDescription, results: Sequence[Result], directory: str) -> str:
    """Return that a run has trained nothing so far, and the command that trains: the run's own, or its resumption.

    If no command trains anything, return the reason: failed cases, whole models, or skipped trainings.
    """
    text, case_ids = f"quality was not run in {directory}", {result.case.id for result in results}
    if any(is_training(case) and case not in case_ids for case in run.planned):
        return f"{text} yet: {_go_on(run, directory)}"
    if not is_triable(results):
        return f"{text}: {NO_HEAD}"
    if records := [result.record for result in results if result.case.trains]:
        number = counted(len(records), "training was", "trainings were")
        return f"{text}: {number} skipped, {failure(records[0].failure)}"
    if results and all(result.record.status != "ok" for result in results):
        return f"{text}, and no case was measured: {failure(results[0].record.failure)}"
    return f"{text}: run `{command(run, training_run(run), _place(run, directory))}`"


def unfinished(run: RunDescription, records: Sequence[Record], directory: str) -> str:
    """Return how many planned cases and trainings have no result yet, and the command to go on; empty if all have."""
    if not (missing_count := len(run.open_ids(records))):
        return ""
    subject = counted(missing_count, "planned case or training has", "planned cases or trainings have")
    return f"{subject} no result yet, so answers may change: {_go_on(run, directory)}"


def missing_costs(
    run: RunDescription, results: Sequence[Result], answers: Sequence[Recommendation], directory: str
) -> str:
    """Return what costs these answers lack, and the command that measures them; empty if none would."""
    steps = runs_for_cost(run, results, answers)
    return ". ".join(f"{step.why}: run `{command(run, step, _place(run, directory))}`" for step in steps)


def _go_on(run: RunDescription, directory: str) -> str:
    return f"go on with `{command(run, NextRun('', resume=True), _place(run, directory))}`"


def _place(run: RunDescription, directory: str) -> str:
    return directory if Command.of(run).python else shlex.quote(directory)


def _worth(pick: Candidate, answer: Recommendation) -> str:
    failures = f" {_fails(pick.quality)}." if pick.quality.collapsed else ""
    return f"Accuracy {accuracy(pick)}{chance(pick.quality)}; {costs(pick.result, answer)}.{failures}"


def _why(answer: Recommendation) -> str:
    pick, best, ask = answer.pick, answer.best, answer.ask
    assert pick
    assert best
    limits = "within the budget" if ask.constraints else "" if answer.excluded else "measured"
    place = " ".join(filter(None, ("left" if answer.excluded else "", limits)))
    if len(answer.pool) == 1:
        return f"It is the only configuration {place}, so it is compared with none."
    count = len(exclude_controls([candidate.result for candidate in answer.pool]))
    aside = ASIDE if count < len(answer.pool) else ""
    head = f"Of {counted(count, 'configuration')} {place}{aside} {_rule(answer)}."
    if best is pick:
        is_equalled = any(other is not pick and other.mean == pick.mean for other in answer.pool)
        place = "No other has a higher mean accuracy" if is_equalled else "It has the highest mean accuracy"
        return f"{head} {place}{_shortfall(answer, ', and the truly best is')}."
    sentence = f"The highest mean, {mean(best.quality, bounds=False)}, is that of {_name(best)}"
    return f"{head} {sentence}{_shortfall(answer, '; the truly best is')}."


def _rule(answer: Recommendation) -> str:
    """Return the rule that makes it the pick, to follow ``Of 4 configurations measured``."""
    ask = answer.ask
    assert answer.pick
    has_cost = math.isfinite(answer.pick.cost(ask.cheapest))
    margin, superlative = points(ask.within), cheapest(ask if has_cost else replace(ask, cheapest="params"))
    if ask.per_second is not None:
        proof = f", and it is shown to be within {margin} of the best in that"
        head = f"its accuracy less {points(ask.per_second / 1000)} a millisecond has the highest lower bound (95 %)"
        return head if "not-shown" in answer.doubts else f"{head}{proof}"
    if (
        {"not-shown", "no-effect"} <= set(answer.doubts)
        and not answer.ruled_out
        and not any(runner.is_shown for runner in answer.runners)
    ):
        return f"it is the {superlative} that is likely (90 %) within {margin} of the best"
    if "not-shown" in answer.doubts:
        rule = f"it is the {superlative} whose lower bound (95 %) is within {points(ask.within / 2)} of the highest one"
        if any(runner.is_shown for runner in answer.runners):
            return f"{rule}, of those that do not collapse more often than others"
        return f"none is shown to be within {margin} of the best; {rule}"
    reliability = " and does not collapse more often than others" if answer.passed_over else ""
    return f"it is the {superlative} that is shown to be within {margin} of the best (95 %){reliability}"


def _shortfall(answer: Recommendation, lead: str) -> str:
    if answer.shortfall is None or (answer.shortfall < 5e-4 and answer.best is answer.pick):
        return ""
    price = "" if answer.ask.per_second is None else ", price included"
    level = "95 %"
    if "not-shown" in answer.doubts and answer.shortfall <= answer.ask.within:
        level += f" for it alone, not for all {len(answer.pool)} at once"
    return f"{lead} at most {points(answer.shortfall)} above this pick ({level}){price}"


def _doubts(answer: Recommendation) -> str:
    if not answer.doubts:
        return ""
    text = f"Provisional, because {'; '.join(DOUBTS[doubt] for doubt in answer.doubts)}."
    return f"{text} {extend(answer)}" if "edge" in answer.doubts else text


def _ruled_out(answer: Recommendation) -> str:
    """Name the candidates ruled out and those tied with the pick; empty for a sure answer."""
    if answer.grade == "sure":
        return ""
    tied_candidates = [runner.candidate for runner in answer.runners if runner.is_tied]
    texts = {"Ruled out": _models(answer.ruled_out), "Tied with it": _models(tied_candidates)}
    return " ".join(f"{head}: {names}." for head, names in texts.items() if names)


def _passed_over(answer: Recommendation) -> str:
    texts = [f"{_name(candidate)}, which {_fails(candidate.quality, inside=True)}" for candidate in answer.passed_over]
    return f"Passed over, cheaper and as good when it learns: {'; '.join(texts)}." if texts else ""


def _settle(answer: Recommendation) -> str:
    return " ".join(filter(None, (_settle_accuracy(answer), _settle_cost(answer))))


def _settle_cost(answer: Recommendation) -> str:
    names = [configuration(quality) for quality in withheld_rivals(answer)]
    if not names:
        return ""
    return f"To settle it: time {some_long(names, NAMES)} again on a quiet machine, as no visit was undisturbed."


def _settle_accuracy(answer: Recommendation) -> str:
    settle = answer.settle
    if not settle:
        return ""
    names = _models(settle.candidates)
    if settle.seeds is None:
        margin = points(answer.ask.within)
        hint = _clip_hint([candidate.quality for candidate in settle.candidates])
        return f"A hundred more seeds would not tell {names} apart by {margin}: ask for a wider margin{hint}."
    duration = f", about {units.seconds(settle.seconds)} of training" if settle.seconds else ""
    seeds = counted(settle.seeds, "more seed")
    subject = names if len(settle.candidates) == 1 else f"each of {names}"
    return f"To settle it: {seeds} of {subject}{duration}."


def _clip_hint(qualities: Sequence[Quality]) -> str:
    clips = min(quality.clips for quality in qualities)
    runs = [run for quality in qualities for run in quality.answers.values()]
    if pool := min((run.pool for run in runs), default=0):
        noun = "clips" if all(len(set(run.sources)) == len(run.sources) for run in runs) else "recordings"
        return f", or bring more {noun}: all seeds draw from the same {pool:,}"
    return f", or bring more clips: each run is tested on {clips}" if clips < FEW_CLIPS else ""


def _binding(answer: Recommendation) -> str:
    limits = answer.ask.constraints
    if not limits:
        return ""
    if not answer.binding:
        return "No limit binds: each could be lifted without changing this."
    bounds = ((answer.ask.metrics[name], limits[name]) for name in answer.binding)
    text = joined([f"{limit_name(metric)} of {amount(metric, value)}" for metric, value in bounds])
    pronoun = "it" if len(answer.binding) == 1 else "them"
    return f"Binding: the {text}; without {pronoun} the answer would change."


def _price(answer: Recommendation) -> str:
    price, pick = answer.price, answer.pick
    if not price or not pick or answer.ask.per_second is not None:
        return ""
    cheapest_metric = answer.ask.metrics[answer.ask.cheapest]
    is_as_fast = _is_as_fast(price, pick)
    price_metrics = dict.fromkeys((cheapest_metric, metrics.LATENCY, metrics.PARAMS))
    if is_as_fast:
        del price_metrics[metrics.LATENCY]
    changes = joined([text for metric in price_metrics if (text := _change(metric, price, pick))])
    doubt = "" if price.p <= 0.05 else " in the mean, which these seeds do not show to be a gain"
    latency_text = "; its latency cannot be told from this one's" if is_as_fast else ""
    gain = f"gains {points(price.gain)}{doubt}{changes and f', for {changes}'}{latency_text}"
    return f"The next better point, {advisable(price.candidate)}, {gain}."


def _is_as_fast(price: NextBetter, pick: Candidate) -> bool:
    """Whether the timings of the two do not show which is faster."""
    pair = (price.candidate.result, pick.result)
    if not all(result.latency for result in pair):
        return False
    ratio = factors_over(pair[:1], pair[1])[0]
    return ratio.low <= 1 <= ratio.high


def _change(metric: Metric, price: NextBetter, pick: Candidate) -> str:
    before, after = pick.result.value(metric), price.candidate.result.value(metric)
    if before is None or after is None or after == before:
        return ""
    words = {metrics.LATENCY: " a call", metrics.PARAMS: " parameters"}
    word = words.get(metric, f" of {limit_name(metric)}")
    return f"{amount(metric, abs(after - before))}{word} {'more' if after > before else 'less'}"


def _likely(answer: Recommendation) -> str:
    if len(answer.pool) == 1:
        return ""
    rule = "the cheapest that is" if answer.ask.per_second is None else "the best of accuracy less price"
    cost_names = (limit_name(answer.ask.metrics[name]) for name in answer.ask.against)
    front = f"on the front of {joined(['quality', *cost_names])}"
    places = {"within the margin": answer.probability, rule: answer.stability, front: answer.front}
    texts = [f"{place} ({likely(share)})" for place, share in places.items() if share is not None]
    return f"How likely it is: {', '.join(texts)}."


def _equals(pick: Candidate) -> str:
    if not pick.equal:
        return ""
    return f"The same function, at no lower cost: {'; '.join(model(result) for result in pick.equal)}."


def _rates(answer: Recommendation) -> str:
    """Name the configurations whose best learning rate is the lowest or highest that was tried."""
    edges = [
        f"{configuration(quality)} ({quality.rate_edge})"
        for quality in {id(candidate.quality): candidate.quality for candidate in answer.pool}.values()
        if quality.rate_edge
    ]
    if not edges:
        return ""
    names = some_long(edges, NAMES)
    return f"Best at the lowest or highest learning rate tried, so a rate beyond may be better: {names}."


def _exclusions(exclusions: Sequence[Excluded]) -> str:
    causes: dict[Why, list[str]] = defaultdict(list)
    for exclusion in exclusions:
        parts = exclusion.quality.architecture
        size = f" {parts.lstm_input:,}" if parts.lstm_input else ""
        variant = "" if exclusion.quality.variant == EAGER else f" in {exclusion.quality.variant}"
        causes[exclusion.why].append(f"{parts.reducer}{size}{after_norm(parts)}{around(exclusion.quality)}{variant}")
    text = "; ".join(f"{', '.join(names)} ({WHY[why]})" for why, names in causes.items())
    return f"Left out: {text}." if text else ""


def _name(candidate: Candidate) -> str:
    """Return the model, with its variant if its quality was evaluated in that variant."""
    variant = candidate.quality.variant
    return f"{configuration(candidate.quality)}{'' if variant == EAGER else f', {variant}'}"


def _models(candidates: Sequence[Candidate]) -> str:
    return some_long([_name(candidate) for candidate in candidates], NAMES)


def _fails(quality: Quality, inside: bool = False) -> str:
    """Return ``Fails in 2 of 10 seeds (95 %: 3 to 56 %)``; uncapitalized if ``inside`` a sentence."""
    interval = quality.collapse_interval
    bounds = f" (95 %: {scales.percent(*interval)})" if interval else ""
    return f"{'fails' if inside else 'Fails'} in {quality.collapsed} of {counted(quality.ended, 'seed')}{bounds}"
