"""The answer in plain words: what to use, what it rests on, what failed, what is too noisy to tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.gains import VariantGain
from convbench.analysis.costs.headlines import (
    UNSURE,
    Headline,
    headline_of,
    noisy,
    uncounted,
    uncounted_share,
    withheld,
)
from convbench.analysis.costs.runtimes import runtimes as runtimes_of
from convbench.analysis.quality.qualities import tried
from convbench.analysis.results import Result, costs, measured, triable
from convbench.analysis.results import results as results_of
from convbench.core import planned, shards
from convbench.core.findings import (
    BUSY_MACHINE,
    FOREIGN_PROCESS,
    INPUTS_CHANGED,
    INTERVAL_WIDE,
    NOT_A_NUMBER,
    NOT_STEADY,
    PAGE_FAULTS,
    THROTTLED,
    WITHHELD,
)
from convbench.core.record import Parts, Record, RunDescription
from convbench.core.text import counted, joined
from convbench.report.words import elsewhere, quality, runtimes, units
from convbench.report.words.advice import NO_HEAD
from convbench.report.words.decision import UNORDERED, merit
from convbench.report.words.names import model, setup
from convbench.report.words.numbers import untimed

NOISE = {  # findings that make a latency, or the model that took it, doubtful
    INTERVAL_WIDE: "wide intervals",
    NOT_STEADY: "no steady state",
    PAGE_FAULTS: "time lost to page faults",
    THROTTLED: "a throttled device",
    FOREIGN_PROCESS: "another process on the device",
    BUSY_MACHINE: "a busy machine",
    INPUTS_CHANGED: "inputs that the model writes into",
    NOT_A_NUMBER: "NaN in what the model returns",
}
ALIKE = 1.01
"""A count that is no more than this over another is no price to name."""
COST_ONLY = "Cost only: quality was not run, so no optimum is claimed; {}."
RUNS_IT = "quality=probe or quality=train runs it"


def answer(run: RunDescription, records: Sequence[Record]) -> str:
    """The answer as one paragraph."""
    results = results_of(records)
    answers = quality.recommended(results)
    *texts, ending = sentences(run, results, answers)
    return " ".join(filter(None, (*texts, confidence(headline_of(results), answers), cautions(results)[0], ending)))


def sentences(run: RunDescription, results: Sequence[Result], answers: Sequence[Recommendation]) -> list[str]:
    """The answer, most important sentence first; every abstention is a sentence too. What became of the cases is last.

    How sure it is, and what to read with care, stand apart: ``confidence`` and ``cautions``.
    """
    headline = headline_of(results)
    if not headline.pick:
        what = "No cost" if len(costs(results)) < len(results) else "Nothing"
        nothing = f"{what} was measured: {outcome(run, results)}."
        return [*filter(None, (*quality.sentences(results, answers), never_undisturbed(results))), nothing]
    opening = _pick(headline)
    by_task = quality.sentences(results, answers)
    texts = [
        *([*by_task, f"By cost alone: {opening[:1].lower()}{opening[1:]}"] if by_task else [opening]),
        _ties(headline),
        _quickest(headline),
        _uncounted(results),
        _next(headline),
        never_undisturbed(results),
        "" if tried(result.record for result in results) else _placed(headline),
        _dearest(headline),
        _crossover(headline),
        _variants(headline),
        *map(runtimes.sentence, runtimes_of(results)),
    ]
    texts += elsewhere.sentences(headline.others, headline.pick)
    cure = RUNS_IT if triable(results) else NO_HEAD
    cost_only = "" if len(costs(results)) < len(results) else COST_ONLY.format(cure)
    return [*dict.fromkeys(filter(None, [*texts, cost_only])), _missing(run, results)]


def cautions(results: Sequence[Result]) -> tuple[str, list[str]]:
    """What to read with care, counted in one line, and the kinds of it where there are several."""
    doubtful = noisy(results, NOISE)
    if not doubtful:
        return "", []
    kinds = [f"{counted(number, 'case')} with {NOISE[code]}" for code, number in doubtful.items()]
    if len(kinds) == 1:
        return f"Read with care: {kinds[0]}.", []
    codes = doubtful.keys()
    cases = sum(any(finding.code in codes for finding in result.record.findings) for result in measured(results))
    return f"Read with care: {counted(cases, 'case has', 'cases have')} a caution.", kinds


def outcome(run: RunDescription, results: Sequence[Result]) -> str:
    """``78 of 80 cases measured, 1 failed, 1 skipped``, with trials ``18 cases measured, 30 trainings``."""
    states = Counter(result.record.status for result in results)
    missing = len(planned.unmeasured(run, [result.record for result in results]))
    of_all = [f"{states['ok']:,} of {counted(len(results) + missing, 'case')} measured"]
    parts = _measured(results) if len(costs(results)) < len(results) else of_all
    parts += [f"{states[state]:,} {state}" for state in ("failed", "skipped") if states[state]]
    if missing:
        parts.append(f"{missing:,} not run yet")
    if lacking := shards.missing_names(run):
        parts.append(f"{lacking} missing")
    return ", ".join(parts)


def _measured(results: Sequence[Result]) -> list[str]:
    ended = Counter(result.case.trains for result in results if result.case.trial and result.record.status == "ok")
    kinds = ((True, "training"), (False, "linear read-out"))
    apart = [counted(ended[trains], word) for trains, word in kinds if ended[trains]]
    return [f"{counted(len(measured(results)), 'case')} measured", *apart]


def _pick(headline: Headline) -> str:
    pick = headline.pick
    assert pick
    if not headline.ordered:
        return UNORDERED
    partly = bool(uncounted(pick))
    params = f"{units.count(pick.params)} parameters" if pick.params is not None else ""
    flops = f"{'at least ' if partly else ''}{units.flops(pick.flops)}" if pick.flops is not None else ""
    cost = " and ".join(filter(None, (params, flops)))
    place = elsewhere.surroundings(pick, headline.others)
    if not headline.timed or not pick.latency:
        word = "Fewest parameters" if partly else "Smallest"
        return f"{word}{place}: {setup(pick)}{cost and f', with {cost}'}; {untimed([pick])}."
    seconds = f"{units.interval(pick.latency)} a call{_threads(pick)}{cost and f', {cost}'}"
    tied = headline.tied
    if len(tied) < 2:
        return f"Fastest{place} on this machine: {setup(pick)}, with {seconds}."
    return (
        f"Take {setup(pick)}{place}: {seconds}, {merit(pick, tied)} among {len(tied)} whose latency on this machine is "
        "statistically tied with the fastest."
    )


def _quickest(headline: Headline) -> str:
    """How fast the pick, or else another model, is in the variant that is fastest for it."""
    quickest = headline.quickest
    if not quickest or not quickest.result.latency:
        return ""
    latency = units.interval(quickest.result.latency)
    if quickest.own:
        return f"In {quickest.result.case.variant_name} it takes {latency}: {units.speedup(quickest.speedup)} as fast."
    return f"Faster: {setup(quickest.result)}, with {latency}: {units.speedup(quickest.speedup)} as fast as the pick."


def _ties(headline: Headline) -> str:
    """What else may be taken without being slower, as far as this run can tell."""
    others = [model(result) for result in headline.tied if result is not headline.pick]
    if not others or not headline.timed:
        return ""
    more = f" and {len(others) - 4} more" if len(others) > 4 else ""
    return f"Also tied with the fastest: {'; '.join(others[:4])}{more}."


def _uncounted(results: Sequence[Result]) -> str:
    """Which cases' FLOPs are a lower bound, by how much of the model, and what is missing in them."""
    partly = [result for result in measured(results) if uncounted(result)]
    if not partly:
        return ""
    operators = sorted({operator for result in partly for operator in uncounted(result)})
    share = max(map(uncounted_share, partly))
    reads = f" (up to {units.digits(100 * share, 2)} % of the parameters are read by nothing else)" if share else ""
    names = [setup(result) for result in partly[:3]] + ([f"{len(partly) - 3} more"] if len(partly) > 3 else [])
    return f"The FLOPs of {joined(names)} are a lower bound: no counter knows {joined(operators)}{reads}."


def _threads(result: Result) -> str:
    """On how many threads, where that is known."""
    threads = result.group.threads
    return f" with {counted(threads, 'thread')}" if threads else ""


def confidence(headline: Headline, answers: Sequence[Recommendation]) -> str:
    """How sure the ranking by latency is, and why; the answers of tasks have grades of their own."""
    sure, head = headline.confidence, "Confidence in the latencies" if answers else "Confidence"
    if sure is None:
        return ""
    if sure.visits is None:
        return f"{head}: low (one process a case: how much processes differ is not known)."
    reasons = [f"at least {counted(sure.visits, 'process', 'processes')} a case"]
    if sure.open:
        reasons.append(f"{sure.open:,} of those tied may be slower")
    if sure.withheld:
        reasons.append(f"{sure.withheld} withheld")
    if not sure.open and not sure.withheld and len(headline.ranking) > 1:
        reasons.append("each contender tied or told apart")
    if sure.half_width > UNSURE:
        reasons.append(f"the pick known to ±{units.percent(sure.half_width)}")
    return f"{head}: {sure.level} ({', '.join(reasons)})."


def _next(headline: Headline) -> str:
    """By how much the next is slower, where nothing is tied with the fastest."""
    if not headline.timed or len(headline.ranking) < 2 or len(headline.tied) > 1:
        return ""
    following = headline.ranking[1]
    return f"The next, {setup(following.result)}, takes {units.speedup(following.factor)} its time."


def never_undisturbed(results: Sequence[Result]) -> str:
    """What could not be told, and why, in place of a number that would be wrong."""
    cases = withheld(results)
    if not cases:
        return ""
    reasons = Counter(str(f.data["reason"]) for result in cases for f in result.record.findings if f.code == WITHHELD)
    count = counted(len(cases), "case was", "cases were")
    (reason, _), *_ = reasons.most_common(1)
    return f"{count} never measured undisturbed ({reason}): withheld from ranking, fronts and gains."


def _placed(headline: Headline) -> str:
    pick, placed = headline.pick, headline.placed
    if not placed or not pick or not headline.ordered:
        return ""
    latency = units.seconds(placed.latency.median) if placed.latency else ""
    params = f"{units.count(placed.params)} parameters" if placed.params is not None else ""
    return (
        f"{pick.series} discards where things are; if position matters, the cheapest that keeps it is {setup(placed)} "
        f"({', '.join(filter(None, (latency, params)))})."
    )


def _dearest(headline: Headline) -> str:
    pick, dear = headline.pick, headline.dearest
    if not pick or not dear or dear is pick or not headline.ordered:
        return ""
    flops = () if uncounted(dear) or uncounted(pick) else (("FLOPs", dear.flops, pick.flops),)
    pairs = (*flops, ("parameters", dear.params, pick.params))
    times = [
        f"{units.factor(more / less)} the {name}" for name, more, less in pairs if more and less and more > ALIKE * less
    ]
    if dear.latency and pick.latency and dear not in headline.ties:
        slower = {contender.result: contender.factor.median for contender in headline.ranking}
        times.append(f"{units.factor(slower[dear] / slower[pick])} the time")
    return f"{model(dear)} costs {joined(times)}." if times else ""


def _crossover(headline: Headline) -> str:
    if not headline.crossover or not headline.pick or not isinstance(headline.pick.case.architecture, Parts):
        return ""
    stage = headline.pick.case.architecture.rnn.cell.upper()
    return (
        f"Below an LSTM input of {headline.crossover:,.0f} the convolution dominates the FLOPs, "
        f"so a smaller input to the {stage} saves little compute there."
    )


def _variants(headline: Headline) -> str:
    """What the variant that gains most gains over all models, on the clip, in the scenario and where the pick ran."""
    assert headline.pick
    case, here = headline.pick.case, headline.pick.group
    # eager's number type is not that of a pick in int8
    variants = [variant for variant in headline.variants if variant.group._replace(dtype=here.dtype) == here]
    best = next((variant for variant in variants if variant.speedup.median > 1), None)
    scenario = "" if case.scenario == "inference" else f" ({case.scenario})"
    if best is None:
        return f"No variant was faster than eager{scenario}." if variants else ""
    paid = best.paid_after
    pays = f"; making it has paid after at most {max(paid):,.0f} calls" if paid and len(paid) == len(best.gains) else ""
    return f"{best.variant}{scenario} is {_range(best)} eager{pays}.{_allocators(best)}"


def _range(best: VariantGain) -> str:
    if len(best.gains) == 1:
        return f"{units.speedup(best.gains[0].speedup)} as fast as"
    low, high = units.digits(best.speedup.low, 2), units.digits(best.speedup.high, 2)
    return f"{units.factor(best.speedup.median)} as fast (median of {len(best.gains)} models, {low} to {high}) as"


def _allocators(best: VariantGain) -> str:
    differ = next((gain.allocators for gain in best.gains if gain.allocators), None)
    return f" The allocators differ ({differ[0]} against {differ[1]}), which is part of this gain." if differ else ""


def _missing(run: RunDescription, results: Sequence[Result]) -> str:
    text = outcome(run, results)
    return f"{text[0].upper()}{text[1:]}."
