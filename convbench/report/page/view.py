"""A run as the values of the page's template: plain text and numbers, with nothing left to compute."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.gains import MAKING_METRICS, VariantGain
from convbench.analysis.costs.headlines import Headline, headline_of, uncounted_operators
from convbench.analysis.costs.ranking import Contender, reorders
from convbench.analysis.results import Result, measured_results, typical
from convbench.core import metrics
from convbench.core.case import is_training
from convbench.core.metric import Metric
from convbench.core.record import RunDescription
from convbench.core.spread import ASSUMED
from convbench.core.text import counted
from convbench.report.page import rows
from convbench.report.page.quality_section import section
from convbench.report.words import units
from convbench.report.words.answer import cautions, confidence, outcome, sentences
from convbench.report.words.facts import calls, conditions, environment, place, protocol
from convbench.report.words.findings import failure, observation, remedy
from convbench.report.words.first_lines import decision
from convbench.report.words.names import advisable, cell, input_size, kind, places, reducer, shared_setup
from convbench.report.words.next_runs import AGAIN, command, next_runs
from convbench.report.words.numbers import TIE, gained
from convbench.report.words.quality import recommend

EQUAL_CASES = 50

DIRECTORY = "{RUN}"
"""Placeholder for the run's directory in a command; the page's script, which knows its own place, replaces it."""

SENTENCES = 12
"""Number of sentences of one kind of finding that the page lists."""

PAPER_SENTENCES = 3
"""Number of those sentences on paper, where nobody can fold them."""


def view(run: RunDescription, results: Sequence[Result]) -> dict[str, Any]:
    """Return the template's values, except for the figures and the payload."""
    headline = headline_of(results)
    answers = recommend(results)
    texts = sentences(run, results, answers)
    picks = [answer.pick.result for answer in answers if answer.pick] if answers else [headline.pick]
    caution, kinds = cautions(results)
    variant_places = places([variant.group for variant in headline.variants])
    return {
        "run": run,
        "listed": SENTENCES,
        "printed": PAPER_SENTENCES,
        "quality": section(results, answers),
        "decision": decision(headline, answers) or texts[0],
        "confidence": confidence(headline, answers),
        "steps": [
            {"why": step.why, "command": command(run, step, DIRECTORY)}
            for step in next_runs(run, results, headline, answers)
        ],
        "repeat": command(run, AGAIN, DIRECTORY),
        "lead": texts[0],
        "sentences": texts[1:],
        "caution": caution,
        "cautions": kinds,
        "outcome": outcome(run, results),
        "ranking": _ranking(headline, picks) if headline.is_ordered else [],
        "unlike": _unlike(headline, answers),
        "kind": (word := kind(contender.result for contender in headline.ranking)),
        "ranked": _ranking_heading(word, "fastest" if headline.timed else "smallest", headline.of_one),
        "size": input_size(contender.result.case.architecture for contender in headline.ranking).heading,
        "reordered": reorders([contender.result for contender in headline.by_series]),
        "sized": any(contender.result.lstm_input for contender in headline.ranking),
        "of_one": headline.of_one,
        "timed": headline.timed,
        "weighed": any(contender.result.memory is not None for contender in headline.ranking),
        "tie": TIE,
        "visits": _visit_counts(results),
        "assumed": units.percent(math.sqrt(ASSUMED.variance)),
        "calls": calls(results),
        "alike": shared_setup(headline.pick) if headline.pick else "",
        "variants": [_variant(*pair) for pair in zip(headline.variants, variant_places, strict=True)],
        "columns": rows.columns(results),
        "rows": rows.first_rows(results),
        "total": len(measured_results(results)),
        "failures": _failures(results, "failed"),
        "skipped": _failures(results, "skipped"),
        "findings": _findings(results),
        "place": place(run, results),
        "environment": environment(run),
        "conditions": conditions(results),
        "protocol": protocol(run),
        "impossible": [{"case": case, "reason": reason} for case, reason in run.impossible.items()],
        "equal": {case: list(cases) for case, cases in list(run.equal.items())[:EQUAL_CASES]},
    }


def _visit_counts(results: Sequence[Result]) -> list[int]:
    """Return the different numbers of visits that timed cases had, sorted; a case without visits has 0."""
    cases = [result.record for result in measured_results(results) if result.latency]
    return sorted({sum(visit.is_timed for visit in record.visits) for record in cases})


def _ranking_heading(kind: str, superlative: str, of_one: bool) -> str:
    """Return the heading of the ranking. Users' own models have no sizes among which one could be the fastest."""
    if of_one:
        return f"The sizes, {superlative} first"
    return f"The models, {superlative} first" if kind == "model" else f"Each {kind} at its {superlative}"


def _ranking(headline: Headline, picks: Iterable[Result | None]) -> list[dict[str, str]]:
    """Return each reducer once and the page's picks, fastest first, all measured alike, with the picks marked."""
    pick_ids = {pick.case.id for pick in picks if pick}
    rows = {contender.result.case.id for contender in headline.by_series} | pick_ids
    contenders = [contender for contender in headline.ranking if contender.result.case.id in rows]
    return [_rank(contender, headline, contender.result.case.id in pick_ids) for contender in contenders]


def _unlike(headline: Headline, answers: Iterable[Recommendation]) -> list[str]:
    """Return the names of the tasks' picks that are not in the ranking, whose cases are all alike."""
    ranked = {contender.result.case.id for contender in headline.ranking}
    picks = [answer.pick for answer in answers if answer.pick]
    return list(dict.fromkeys(advisable(pick) for pick in picks if pick.result.case.id not in ranked))


def _rank(contender: Contender, headline: Headline, is_pick: bool) -> dict[str, str]:
    result = contender.result
    return {
        "series": result.series,
        "reducer": reducer(result),
        "lstm_input": units.integer(result.lstm_input),
        "variant": result.case.variant_name,
        "latency": units.interval(result.latency),
        "factor": units.factor(contender.factor) if result.latency else units.MISSING,
        "tied": "tied" if result in headline.ties else "",
        "pick": "pick" if is_pick else "",
        "params": units.count(result.params),
        "flops": f"{'≥ ' if uncounted_operators(result) else ''}{units.flops(result.flops)}",
        "memory": units.size(result.memory),
    }


def _variant(variant: VariantGain, place: str) -> dict[str, str]:
    """Return a row of the table of variants, with medians over its cases."""
    counts = variant.paid_after
    never_count = len(variant.gains) - len(counts)
    is_known = any(_median(variant, metric) is not None for metric in MAKING_METRICS)
    allocators = sorted({" against ".join(gain.allocators) for gain in variant.gains if gain.allocators})
    captured_share = _median(variant, metrics.CAPTURED)
    speedup, span = gained(variant)
    return {
        "variant": variant.variant,
        "place": place,
        "cases": f"{len(variant.gains):,}",
        "speedup": speedup,
        "range": span,
        "compile": units.seconds(_median(variant, metrics.COMPILE)),
        "graphs": units.count(_median(variant, metrics.GRAPH_COUNT)),
        "breaks": units.count(_median(variant, metrics.GRAPH_BREAKS)),
        "captured": units.percent(captured_share) if captured_share is not None else units.MISSING,
        "pays": (counted(statistics.median_high(counts), "call") if counts else "never") if is_known else units.MISSING,
        "never": f"never for {never_count}" if is_known and counts and never_count else "",
        "allocators": ", ".join(allocators),
    }


def _median(variant: VariantGain, metric: Metric) -> float | None:
    values = [v for gain in variant.gains if (v := typical(gain.result.record, metric)) is not None]
    return statistics.median(values) if values else None


def _failures(results: Sequence[Result], status: str) -> list[dict[str, str]]:
    records = [result.record for result in results if result.record.status == status]
    return [{"case": record.case.id, "reason": failure(record.failure)} for record in records]


def _findings(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return findings by kind, each sentence once with its cases: warnings first, then by number of cases.

    What holds for all findings of a kind, such as the remedy, is apart from the sentences.
    """
    kinds: dict[tuple[str, str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        name = cell(result.case.architecture)
        for finding in result.record.findings:
            texts = kinds[finding.level, finding.code.replace("_", " ").replace("lstm", name), remedy(finding, name)]
            texts[observation(finding, result.case.device, name)].append(result.case.id)
    sorted_kinds = sorted(kinds.items(), key=lambda item: (item[0][0] != "warning", -_cases_in(item[1].values())))
    return [
        {
            "level": level,
            "kind": kind,
            "remedy": common_text,
            "count": _cases_in(texts.values()),
            "counted": _counted({case for cases in texts.values() for case in cases}),
            "listed": _cases_in([*texts.values()][:SENTENCES]),
            "printed": _cases_in([*texts.values()][:PAPER_SENTENCES]),
            "said": [
                {"sentence": text, "cases": ids, "every": 1 < len(results) == len(set(ids))}
                for text, ids in texts.items()
            ],
        }
        for (level, kind, common_text), texts in sorted_kinds
    ]


def _counted(cases: Collection[str]) -> str:
    """Return ``5 cases``, ``45 trainings``, or both: a training is not among the cases that the page counts."""
    trainings = sum(map(is_training, cases))
    numbers = {"case": len(cases) - trainings, "training": trainings}
    return ", ".join(counted(number, noun) for noun, number in numbers.items() if number)


def _cases_in(groups: Iterable[list[str]]) -> int:
    return len({case for cases in groups for case in cases})
