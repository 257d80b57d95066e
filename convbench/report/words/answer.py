"""The answer in plain words: what to use, the evidence for it, what failed, and what is too noisy to tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.gains import VariantGain
from convbench.analysis.costs.headlines import (
    UNSURE_WIDTH,
    Headline,
    count_noisy,
    headline_of,
    uncounted_operators,
    uncounted_share,
    withheld_results,
)
from convbench.analysis.costs.ranking import MARGIN
from convbench.analysis.costs.runtimes import Runtimes
from convbench.analysis.costs.runtimes import runtimes as runtimes_of
from convbench.analysis.quality.qualities import has_training
from convbench.analysis.results import Result, costs, is_triable, measured_results
from convbench.analysis.results import results as results_of
from convbench.core import findings as codes
from convbench.core.record import Parts, Record, RunDescription
from convbench.core.storage import shards
from convbench.core.text import MOST_NAMES, counted, joined, some_long
from convbench.report.words import elsewhere, quality, runtimes, units
from convbench.report.words.advice import NO_HEAD
from convbench.report.words.findings import withheld_reason
from convbench.report.words.first_lines import ASIDE, UNORDERED, merit
from convbench.report.words.names import cell, model, setup, with_article
from convbench.report.words.numbers import gained, untimed

NOISE = {  # findings that cast doubt on a latency or on its model
    codes.INTERVAL_WIDE: "wide intervals",
    codes.NOT_STEADY: "no steady state",
    codes.PAGE_FAULTS: "time lost to page faults",
    codes.THROTTLED: "a throttled device",
    codes.FOREIGN_PROCESS: "another process on the device",
    codes.BUSY_MACHINE: "a busy machine",
    codes.INPUTS_CHANGED: "inputs that the model writes into",
    codes.NOT_A_NUMBER: "NaN in the model's output",
}
SLACK = 1.01
"""Least ratio of two counts to mention: a cost below it is no price worth naming."""
COST_ONLY = "Cost only: quality was not run, so no optimum is claimed; {}."
RUNS_IT = "quality=probe or quality=train runs it"


def answer(run: RunDescription, records: Sequence[Record]) -> str:
    """Return the answer as one paragraph."""
    results = results_of(records)
    answers = quality.recommend(results)
    *texts, ending = sentences(run, results, answers)
    return " ".join(filter(None, (*texts, confidence(headline_of(results), answers), cautions(results)[0], ending)))


def sentences(run: RunDescription, results: Sequence[Result], answers: Sequence[Recommendation]) -> list[str]:
    """Return the answer's sentences, the most important first, the outcome of the cases last.

    Abstentions are sentences too. ``confidence`` and ``cautions`` are separate.
    """
    headline = headline_of(results)
    if not headline.pick:
        if len(costs(results)) < len(results):
            ending = f"No cost was measured: {outcome(run, results)}."
        else:
            missing = ", ".join(_shortfalls(run, results))
            ending = f"Nothing was measured of {_case_count(run, results)}{missing and f': {missing}'}."
        return [*filter(None, (*quality.sentences(results, answers), withheld_sentence(results))), ending]
    opening, views = _pick(headline), runtimes_of(results)
    by_task = quality.sentences(results, answers)
    texts = [
        *([*by_task, f"By cost alone: {opening[:1].lower()}{opening[1:]}"] if by_task else [opening]),
        _ties(headline),
        _quickest(headline, views),
        _flops_bound(results),
        _runner_up(headline),
        withheld_sentence(results),
        "" if has_training(result.record for result in results) else _position(headline),
        _dearest(headline),
        _crossover(headline),
        _variants(headline),
        *map(runtimes.sentence, views),
    ]
    texts += [*elsewhere.sentences(headline.leaders, headline.pick), elsewhere.together(headline.mixed)]
    cure = RUNS_IT if is_triable(results) else NO_HEAD
    cost_only = COST_ONLY.format(cure) if headline.has_rivals and len(costs(results)) == len(results) else ""
    ending = outcome(run, results)
    return [*dict.fromkeys(filter(None, [*texts, cost_only])), f"{ending[0].upper()}{ending[1:]}."]


def cautions(results: Sequence[Result]) -> tuple[str, list[str]]:
    """Return the number of doubtful cases as one line, and the kinds of doubt if there are several."""
    doubtful = count_noisy(results, NOISE)
    if not doubtful:
        return "", []
    kinds = [f"{counted(number, 'case')} with {NOISE[code]}" for code, number in doubtful.items()]
    if len(kinds) == 1:
        return f"Read with care: {kinds[0]}.", []
    cases = sum(
        any(finding.code in doubtful for finding in result.record.findings) for result in measured_results(results)
    )
    return f"Read with care: {counted(cases, 'case has', 'cases have')} a caution.", kinds


def outcome(run: RunDescription, results: Sequence[Result]) -> str:
    """Return ``78 of 80 cases measured, 1 failed, 1 skipped``, with trials ``18 cases measured, 30 trainings``."""
    measured_count = sum(result.record.is_measured for result in results)
    case_counts = [f"{measured_count:,} of {_case_count(run, results)} measured"]
    parts = _trial_counts(results) if len(costs(results)) < len(results) else case_counts
    return ", ".join([*parts, *_shortfalls(run, results)])


def _case_count(run: RunDescription, results: Sequence[Result]) -> str:
    """Return ``80 cases``: those with a record, and those not run yet."""
    return counted(len(results) + _count_not_run(run, results), "case")


def _count_not_run(run: RunDescription, results: Sequence[Result]) -> int:
    case_ids = {result.case.id for result in results}
    return sum(name not in case_ids for name in run.open_ids([result.record for result in results]))


def _shortfalls(run: RunDescription, results: Sequence[Result]) -> list[str]:
    """Return ``1 failed``, ``1 skipped``, ``3 not timed yet``, ``2 not run yet``, and which shards are missing."""
    states: Counter[str] = Counter(result.record.status for result in results)
    states["not timed yet"] = sum(result.record.is_untimed for result in results)
    states["not run yet"] = _count_not_run(run, results)
    names = ("failed", "skipped", "not timed yet", "not run yet")
    texts = [f"{states[state]:,} {state}" for state in names if states[state]]
    shard_names = shards.missing_names(run)
    return [*texts, f"{shard_names} missing"] if shard_names else texts


def _trial_counts(results: Sequence[Result]) -> list[str]:
    counter = Counter(result.case.trains for result in results if result.case.trial and result.record.status == "ok")
    kinds = ((True, "training"), (False, "linear read-out"))
    texts = [counted(counter[trains], word) for trains, word in kinds if counter[trains]]
    measured_count = sum(result.record.is_measured for result in measured_results(results))
    return [f"{counted(measured_count, 'case')} measured", *texts]


def _pick(headline: Headline) -> str:
    pick = headline.pick
    assert pick
    if not headline.is_ordered:
        return UNORDERED
    is_partial = bool(uncounted_operators(pick))
    params = units.quantity(pick.params, "parameter") if pick.params is not None else ""
    flops = f"{'at least ' if is_partial else ''}{units.flops(pick.flops)}" if pick.flops is not None else ""
    cost = " and ".join(filter(None, (params, flops)))
    is_beside = bool(pick.latency) and (len(headline.ranking) < 2 or len(headline.tied) > 1)
    place = elsewhere.surroundings(pick, headline.leaders, beside_name=is_beside)
    if not pick.latency:
        word = "Fewest parameters" if is_partial else "Smallest"
        return f"{word}{place}: {setup(pick)}{cost and f', with {cost}'}; {untimed([pick])}."
    threads = f" with {counted(pick.group.threads, 'thread')}" if pick.group.threads else ""
    seconds = f"{units.interval(pick.latency)} a call{threads}{cost and f', {cost}'}"
    ties = headline.tied
    # with several machines, the place names the environment
    is_alone = all(leader.result.group.environment == pick.group.environment for leader in headline.leaders)
    machine, aside = " on this machine" if is_alone else "", ASIDE if headline.controls_aside else ""
    if len(headline.ranking) < 2:
        return f"{'On this machine, ' if is_alone else ''}{setup(pick)}{place} needs {seconds}."
    if len(ties) < 2:
        return f"Fastest{place}{machine}{aside}: {setup(pick)}, with {seconds}."
    return (
        f"Take {setup(pick)}{place}: {seconds}, {merit(pick, ties)} among {len(ties)} whose latency{machine} is "
        f"statistically tied with the fastest{aside}."
    )


def _quickest(headline: Headline, views: Sequence[Runtimes]) -> str:
    """Return the latency in the fastest variant: of the pick, or else of another model.

    Empty if the sentence of a view compares that result with the others of its model.
    """
    quickest = headline.quickest
    if not quickest or not quickest.result.latency:
        return ""
    if any(price.result is quickest.result for view in views for price in view.slower):
        return ""
    latency = units.interval(quickest.result.latency)
    if quickest.is_own:
        best = _best_variant(headline)
        # with a single gain, ``_variants`` states the same ratio
        is_stated = best is not None and [gain.result for gain in best.gains] == [quickest.result]
        ratio = "" if is_stated else f": {units.speedup(quickest.speedup)} as fast"
        return f"In {quickest.result.case.variant_name} it takes {latency}{ratio}."
    return f"Faster: {setup(quickest.result)}, with {latency}: {units.speedup(quickest.speedup)} as fast as the pick."


def _ties(headline: Headline) -> str:
    """Name the models that are statistically tied with the pick; empty if there are none."""
    names = [model(result) for result in headline.ties if result is not headline.pick]
    return f"Also tied with the fastest: {some_long(names, 4)}." if names else ""


def _flops_bound(results: Sequence[Result]) -> str:
    """Name the cases whose FLOPs are a lower bound, the uncounted operators, and their share of the parameters."""
    cases = [result for result in measured_results(results) if uncounted_operators(result)]
    if not cases:
        return ""
    operators = sorted({operator for result in cases for operator in uncounted_operators(result)})
    share = max(map(uncounted_share, cases))
    clause = f" (up to {units.percent(share)} of the parameters are read only by these)" if share else ""
    names = some_long(list(dict.fromkeys(map(setup, cases))), MOST_NAMES)  # a case in two scenarios is named once
    return f"The FLOPs of {names} are a lower bound: no counter knows {joined(operators)}{clause}."


def confidence(headline: Headline, answers: Sequence[Recommendation]) -> str:
    """Return how sure the ranking by latency is, and why. The answers of tasks have grades of their own."""
    certainty, head = headline.confidence, "Confidence in the latencies" if answers else "Confidence"
    if certainty is None:
        return ""
    if certainty.visits is None:
        return f"{head}: low (one process a case: how much processes differ is not known)."
    is_vague = certainty.half_width > UNSURE_WIDTH
    reasons = [f"the pick is known to ±{units.percent(certainty.half_width)} only"] if is_vague else []
    if MARGIN < certainty.most < math.inf:
        reasons.append(f"the pick may take up to {units.factor(certainty.most)} as long as the fastest")
    if certainty.open:
        reasons.append(f"{certainty.open:,} of those tied may be slower")
    if certainty.withheld:
        reasons.append(f"{certainty.withheld} withheld")
    reasons.append(f"at least {counted(certainty.visits, 'process', 'processes')} a case")
    if certainty.level == "high" and len(headline.ranking) > 1:
        reasons.append("each contender tied or told apart")
    return f"{head}: {certainty.level} ({', '.join(reasons)})."


def _runner_up(headline: Headline) -> str:
    """Return how much slower the next model is; empty if others are tied with the fastest."""
    if len(headline.ranking) < 2 or len(headline.tied) > 1:
        return ""
    runner_up = headline.ranking[1]
    return f"The next, {setup(runner_up.result)}, takes {units.speedup(runner_up.factor)} its time."


def withheld_sentence(results: Sequence[Result]) -> str:
    """Count the cases whose latency is withheld, and give the reason, or the commonest as an example."""
    cases = withheld_results(results)
    if not cases:
        return ""
    reasons = Counter(
        withheld_reason(f.data) for result in cases for f in result.record.findings if f.code == codes.WITHHELD
    )
    count = counted(len(cases), "case was", "cases were")
    (reason, _), *_ = reasons.most_common(1)
    example = "for example, " if len(reasons) > 1 else ""
    return f"{count} never measured undisturbed ({example}{reason}): withheld, in no ranking or comparison."


def _position(headline: Headline) -> str:
    pick, keeper = headline.pick, headline.position_pick
    if not keeper or not pick or not headline.is_ordered:
        return ""
    latency = units.median(keeper.latency) if keeper.latency else ""
    params = units.quantity(keeper.params, "parameter") if keeper.params is not None else ""
    return (
        f"{pick.series} discards where things are; if position matters, the cheapest that keeps it is {setup(keeper)} "
        f"({', '.join(filter(None, (latency, params)))})."
    )


def _dearest(headline: Headline) -> str:
    pick, dearest = headline.pick, headline.dearest
    if not pick or not dearest or dearest is pick or not headline.is_ordered:
        return ""
    flops = () if uncounted_operators(dearest) or uncounted_operators(pick) else (("FLOPs", dearest.flops, pick.flops),)
    pairs = (*flops, ("parameters", dearest.params, pick.params))
    times = [
        f"{units.factor(cost / base)} the {name}" for name, cost, base in pairs if cost and base and cost > SLACK * base
    ]
    is_runner_up = len(headline.tied) < 2 and headline.ranking[1].result is dearest
    if dearest.latency and pick.latency and dearest not in headline.ties and not is_runner_up:
        factor_by_result = {contender.result: contender.factor.median for contender in headline.ranking}
        times.append(f"{units.factor(factor_by_result[dearest] / factor_by_result[pick])} the time")
    return f"{model(dearest)} costs {joined(times)} of the pick." if times else ""


def _crossover(headline: Headline) -> str:
    if not headline.crossover or not headline.pick or not isinstance(headline.pick.case.architecture, Parts):
        return ""
    name = cell(headline.pick.case.architecture)
    return (
        f"Below {with_article(name)} input of {headline.crossover:,.0f} the convolution dominates "
        f"the FLOPs, so a smaller input to the {name} saves little compute there."
    )


def _variants(headline: Headline) -> str:
    """Return the gain of the best variant over eager, for the pick's clip, scenario and machine."""
    assert headline.pick
    case, variants, best = headline.pick.case, _variants_of_pick(headline), _best_variant(headline)
    scenario = "" if case.scenario == "inference" else f" ({case.scenario})"
    if best is None:
        middle = " in the median of its models" if any(len(variant.gains) > 1 for variant in variants) else ""
        return f"No variant was faster than eager{scenario}{middle}." if variants else ""
    calls = best.paid_after
    payback = (
        f"; making it pays off after at most {counted(max(calls), 'call')}"
        if calls and len(calls) == len(best.gains)
        else ""
    )
    return f"{best.variant}{scenario} is {_range(best)} eager{payback}.{_allocators(best)}"


def _variants_of_pick(headline: Headline) -> list[VariantGain]:
    """Return the variants of the pick's clip, scenario and machine, the one with the greatest gain first."""
    assert headline.pick
    group = headline.pick.group
    # ignore the number type: a pick in int8 differs from eager in it
    return [variant for variant in headline.variants if variant.group._replace(dtype=group.dtype) == group]


def _best_variant(headline: Headline) -> VariantGain | None:
    return next((variant for variant in _variants_of_pick(headline) if variant.speedup.median > 1), None)


def _range(variant: VariantGain) -> str:
    speedup, span = gained(variant)
    cases = f" (median of {len(variant.gains)} models, {span})" if len(variant.gains) > 1 else ""
    return f"{speedup} as fast{cases} as"


def _allocators(variant: VariantGain) -> str:
    names = next((gain.allocators for gain in variant.gains if gain.allocators), None)
    return f" The allocators differ ({names[0]} against {names[1]}), which is part of this gain." if names else ""
