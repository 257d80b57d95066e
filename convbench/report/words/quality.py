"""What was learnt, in plain words: per task the best, who cannot be told from it, what to take, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.choose import Ask, Recommendation
from convbench.analysis.quality.qualities import LinearProbe, Quality, linear_probes, tried
from convbench.analysis.quality.standing import standings, visible
from convbench.analysis.results import Result
from convbench.report.words import advice
from convbench.report.words.names import trained
from convbench.report.words.numbers import mean, percent, points

PROBE = (
    "Linear read-outs of untrained features say what can be read there, not what training would reach: with a trained "
    "backbone the order can change."
)
UNTRAINED = "Quality was probed, not trained, so no optimum is claimed; quality=train trains."


def recommended(found: Sequence[Result]) -> list[Recommendation]:
    """A recommendation a task with no limits and the usual margin; none where nothing was trained."""
    return recommendations([one.record for one in found], Ask())


def sentences(found: Sequence[Result], answers: Sequence[Recommendation]) -> list[str]:
    """One sentence or two a task with the recommendation, then what the probes say; none where quality was not run."""
    records = [one.record for one in found if one.case.trial]
    if tried(records):
        said = [" ".join(advice.sentences(one)[:2]) for one in answers]
        return [*said, *filter(None, [advice.different(answers)])]
    probes = linear_probes(records)
    return [*probed(probes), UNTRAINED] if probes else []


def task(several: Sequence[Quality]) -> list[str]:
    """The best of one task, who cannot be told from it, what these seeds could show, and what was left out."""
    ranked = standings(several)
    if not ranked:
        return ["No run was sound: every one collapsed or failed."]
    best, *rest = (one.quality for one in ranked)
    tied = [trained(one.quality.architecture) for one in ranked[1:] if one.tied]
    said = [f"Highest mean test accuracy: {trained(best.architecture)}, {accuracy(best)}{_chance(best)}."]
    if tied:
        more = f" and {len(tied) - 6} more" if tied[6:] else ""
        said.append(f"Statistically tied with it: {'; '.join(tied[:6])}{more}.")
    elif rest:
        said.append("Every other can be told from it.")
    return [*said, *filter(None, [_seen(several), _left_out(several)])]


def accuracy(one: Quality) -> str:
    """``87.3 % [85.0, 89.6], 3 seeds``"""
    if one.mean is None:
        return "no sound run"
    return f"{mean(one)}, {count(len(one.by_seed), 'seed')}"


def tuned(several: Sequence[Quality]) -> str:
    """How learning rates were chosen, and where a better one may lie outside of those that were tried."""
    rates = {rate for one in several for rate in one.by_rate}
    if len(rates) < 2:
        return (
            "One learning rate was tried, so what is compared is how well each is trained at that rate, tuning "
            "included; test clips were only reported on."
        )
    chosen = "The learning rate was chosen on validation clips; test clips were only reported on."
    edge = [one for one in several if one.rate_edge]
    names = "; ".join(f"{trained(one.architecture)} ({one.rate_edge})" for one in edge)
    return f"{chosen} At the edge of the grid, so that a better rate may lie beyond: {names}." if edge else chosen


def count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def probed(found: Sequence[LinearProbe]) -> list[str]:
    """The best of each question, and what a linear read-out is."""
    if not found:
        return []
    where, what = (max(found, key=partial(_mean, key)) for key in ("where", "what"))
    best = (
        f"Read linearly from untrained features: position best from {trained(where.architecture)} "
        f"(R² {_mean('where', where):.2f}), class best from {trained(what.architecture)} "
        f"({percent(_mean('what', what))})."
    )
    return [best, PROBE]


def _mean(key: str, one: LinearProbe) -> float:
    values = list(getattr(one, key).values())
    return sum(values) / len(values) if values else float("-inf")


def _chance(one: Quality) -> str:
    return f" (chance {percent(one.chance)})" if one.chance else ""


def _seen(several: Sequence[Quality]) -> str:
    seeds = max(len(one.by_seed) for one in several)
    least = visible(several)
    if seeds < 2 or least is None:
        return "With so few seeds in common no two configurations can be told apart."
    return (
        f"With {count(seeds, 'seed')} a difference of {points(least)} between two configurations is seen "
        "four times in five; smaller ones are mostly missed."
    )


def _left_out(several: Sequence[Quality]) -> str:
    counts = {"collapsed": sum(one.collapsed for one in several), "failed": sum(one.failed for one in several)}
    said = ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)
    still = sum(one.unconverged for one in several)
    return " ".join(filter(None, [
        f"Not averaged in, at the rates chosen: {said}." if said else "",
        f"Still learning when training ended, and averaged in: {count(still, 'run')}." if still else "",
    ]))  # fmt: skip
