"""A run as the page's template wants it: plain text and numbers, nothing left to compute."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.gains import VariantGain
from convbench.analysis.costs.headlines import Advice, Contender, advise, uncounted
from convbench.analysis.results import Result, measured, typical
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import Run
from convbench.report.page import rows
from convbench.report.page.quality_section import section
from convbench.report.words import units
from convbench.report.words.answer import cautions, confidence, outcome, sentences
from convbench.report.words.decision import Step, command, decision, next_steps
from convbench.report.words.facts import conditions, environment, place, protocol
from convbench.report.words.findings import failure, percent, sentence
from convbench.report.words.names import reducer, same
from convbench.report.words.quality import recommended

LISTED = 50

DIRECTORY = "RUN"
"""What stands in a command for the run's directory, until the page's script, which knows its own place, fills it in."""

SAID = 12
"""Sentences of one kind of finding, and ids below a sentence, that the page lists."""


def view(run: Run, found: Sequence[Result]) -> dict[str, Any]:
    """What the template is filled with, but for the figures and the payload."""
    advice = advise(found)
    answers = recommended(found)
    said = sentences(run, found, answers)
    caution, kinds = cautions(found)
    return {
        "run": run,
        "listed": SAID,
        "quality": section(found, answers),
        "decision": decision(advice, answers) or said[0],
        "confidence": _sure(advice, answers),
        "steps": [_step(run, one) for one in next_steps(run, found, advice)],
        "lead": said[0],
        "sentences": [sentence for sentence in said[1:] if sentence != caution],
        "caution": caution,
        "cautions": kinds,
        "outcome": outcome(run, found),
        "ranking": _ranking(advice),
        "timed": advice.timed,
        "alike": same(advice.pick) if advice.pick else "",
        "variants": [_variant(one) for one in advice.variants],
        "columns": rows.columns(found),
        "rows": rows.first(found),
        "total": len(measured(found)),
        "failures": _failures(found, "failed"),
        "skipped": _failures(found, "skipped"),
        "findings": _findings(found),
        "place": place(run),
        "environment": environment(run),
        "conditions": conditions(found),
        "protocol": protocol(run),
        "equal": {case: list(others) for case, others in list(run.equal.items())[:LISTED]},
    }


def _sure(advice: Advice, answers: Sequence[Recommendation]) -> str:
    """How sure the ranking by latency is; the answers of tasks have grades of their own."""
    said = confidence(advice.confidence) if advice.confidence else ""
    return said.replace("Confidence:", "Confidence in the latencies:") if answers else said


def _step(run: Run, one: Step) -> dict[str, str]:
    """Why and what to run; DIRECTORY stands where the run is, which its reader knows."""
    return {"why": one.why, "command": command(run, one, DIRECTORY)}


def _ranking(advice: Advice) -> list[dict[str, str]]:
    """The best size of each reducer, fastest first, all of them alike."""
    best: dict[str, Contender] = {}
    for one in advice.ranking:
        best.setdefault(one.result.series, one)
    return [_rank(one, advice) for one in best.values()]


def _rank(one: Contender, advice: Advice) -> dict[str, str]:
    found = one.result
    return {
        "series": found.series,
        "reducer": reducer(found),
        "lstm_input": f"{found.lstm_input:,}" if found.lstm_input else units.MISSING,
        "variant": found.case.variant_name,
        "latency": units.interval(found.latency),
        "factor": units.factor(one.factor.median) if found.latency else units.MISSING,
        "tied": "tied" if one.tied and advice.timed else "",
        "pick": "pick" if found is advice.pick else "",
        "params": units.count(found.params),
        "flops": f"{'≥ ' if uncounted(found) else ''}{units.flops(found.flops)}",
        "memory": units.size(found.memory),
    }


def _variant(one: VariantGain) -> dict[str, str]:
    """A row of the table of variants; medians over its cases."""
    paid = [gain.pays_after for gain in one.gains if gain.pays_after is not None]
    never = len(one.gains) - len(paid)
    compiled = _median(one, metrics.COMPILE) is not None
    allocators = sorted({" against ".join(gain.allocators) for gain in one.gains if gain.allocators})
    captured = _median(one, metrics.CAPTURED)
    return {
        "variant": one.variant,
        "place": f"{one.scenario}, {one.device}",
        "models": f"{len(one.gains):,}",
        "speedup": units.factor(one.speedup.median),
        "range": f"{units.digits(one.speedup.low, 3)} to {units.digits(one.speedup.high, 3)}",
        "compile": units.seconds(_median(one, metrics.COMPILE)),
        "graphs": units.count(_median(one, metrics.GRAPH_COUNT)),
        "breaks": units.count(_median(one, metrics.GRAPH_BREAKS)),
        "captured": percent(captured) if captured is not None else units.MISSING,
        "pays": (f"{statistics.median(paid):,.0f} calls" if paid else "never") if compiled else units.MISSING,
        "never": f"never for {never}" if compiled and paid and never else "",
        "allocators": ", ".join(allocators),
    }


def _median(one: VariantGain, metric: Metric) -> float | None:
    values = [v for gain in one.gains if (v := typical(gain.result.record, metric)) is not None]
    return statistics.median(values) if values else None


def _failures(found: Sequence[Result], status: str) -> list[dict[str, str]]:
    chosen = [one.record for one in found if one.record.status == status]
    return [{"case": record.case.id, "reason": failure(record.failure)} for record in chosen]


def _findings(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Findings of one kind together, each sentence once with its cases; warnings first, then the most frequent."""
    kinds: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        for finding in one.record.findings:
            kinds[finding.level, finding.code][sentence(finding, one.case.device)].append(one.case.id)
    ordered = sorted(kinds.items(), key=lambda item: (item[0][0] != "warning", -_cases_in(item[1])))
    return [
        {
            "level": level,
            "kind": code.replace("_", " ").replace("lstm", "LSTM"),
            "count": _cases_in(said),
            "listed": len({case for ids in [*said.values()][:SAID] for case in ids}),
            "said": [{"sentence": text, "cases": ids} for text, ids in said.items()],
        }
        for (level, code), said in ordered
    ]


def _cases_in(said: Mapping[str, list[str]]) -> int:
    return len({case for cases in said.values() for case in cases})
