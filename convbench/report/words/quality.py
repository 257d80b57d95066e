"""Quality in plain words: the best of each task, its ties, what to take, how sure that is, and what it rests on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask, Recommendation
from convbench.analysis.quality.controls import LinearProbe, linear_probes
from convbench.analysis.quality.lessons import Budget
from convbench.analysis.quality.qualities import Quality, has_training
from convbench.analysis.quality.standing import standings, visible
from convbench.analysis.results import Group, Result
from convbench.core.text import counted, some_long
from convbench.report.words import advice
from convbench.report.words.names import configuration, parts_name
from convbench.report.words.numbers import TOO_FEW_SEEDS, chance, mean, percent, points

PROBE = (
    "Linear read-outs of untrained features show what can be read from them, not what training would reach: with a "
    "trained backbone the order can change."
)
UNTRAINED = "Quality was probed, not trained, so no optimum is claimed; quality=train trains."

BUDGETS: Mapping[Budget, str] = {
    "steps": "equal steps", "flops": "equal training FLOPs", "seconds": "equal training seconds"
}  # fmt: skip


def recommend(results: Sequence[Result]) -> list[Recommendation]:
    """Return a recommendation per task, without limits and with the usual margin; empty if nothing was trained."""
    return recommendations([result.record for result in results], Ask())


def sentences(results: Sequence[Result], answers: Sequence[Recommendation]) -> list[str]:
    """Return up to two sentences for each task's recommendation and their basis, or what the probes show.

    Empty without quality.
    """
    records = [result.record for result in results if result.case.trial]
    if has_training(records):
        texts = [" ".join(advice.sentences(answer)[:2]) for answer in answers]
        texts += [advice.differences(answers), basis(answers) if any(answer.pool for answer in answers) else ""]
        return [*filter(None, texts)]
    probes = linear_probes(records)
    return [*read_outs(probes), UNTRAINED] if probes else []


def basis(answers: Sequence[Recommendation], budget: Budget = "steps") -> str:
    """Return what the accuracies and costs refer to: the training budget, clips, devices, threads and number types."""
    groups = [answer.pool[0].result.group for answer in answers if answer.pool]
    places = " and ".join(dict.fromkeys(map(_place, groups)))
    numbers = " and ".join(
        dict.fromkeys(candidate.result.group.dtype for answer in answers for candidate in answer.pool)
    )
    cost = f"; costs of a call on a clip {places}, {numbers}" if groups else ""
    return f"Test accuracy after {BUDGETS[budget]} of short training{cost}."


def _place(group: Group) -> str:
    threads = f" with {counted(group.threads, 'thread')}" if isinstance(group.threads, int) else ""
    return f"{group.clip}, {group.device}{threads}"


def task(qualities: Sequence[Quality]) -> list[str]:
    """Return the best of one task, the configurations tied with it, the visible difference, and the exclusions."""
    ranking = standings(qualities)
    if not ranking:
        return ["No run was sound: every one collapsed or failed."]
    best, *others = (standing.quality for standing in ranking)
    tied_names, unsure_names = (
        [configuration(standing.quality) for standing in ranking if standing.place == place]
        for place in ("tied", "few seeds")
    )
    seeds = counted(len(best.by_seed), "seed")
    equals = [configuration(quality) for quality in others if quality.mean == best.mean]
    equal_text = f"; as high: {some_long(equals, advice.NAMES)}" if equals else ""
    texts = [f"Highest mean test accuracy: {configuration(best)}, {mean(best)}, {seeds}{chance(best)}{equal_text}."]
    if tied_names:
        texts.append(f"Statistically tied with it: {some_long(tied_names, advice.NAMES)}.")
    if unsure_names:
        names = some_long(unsure_names, advice.NAMES)
        texts.append(f"Too few seeds to say whether as good or worse: {names}.")
    if others and not tied_names + unsure_names:
        texts.append("Every other configuration can be told from it.")
    return [*texts, *filter(None, [_power(qualities), _exclusions(qualities)])]


def tuning(qualities: Sequence[Quality]) -> str:
    """Return how learning rates were chosen, and the configurations whose best rate is at the edge of the grid."""
    rates = {rate for quality in qualities for rate in quality.by_rate}
    if len(rates) < 2:
        return (
            "Only one learning rate was tried, so the comparison is of how well each is trained at that rate, tuning "
            "included; test clips were only reported on."
        )
    text = "The learning rate was chosen on validation clips; test clips were only reported on."
    edge_qualities = [quality for quality in qualities if quality.rate_edge]
    names = "; ".join(f"{configuration(quality)} ({quality.rate_edge})" for quality in edge_qualities)
    return f"{text} At the edge of the grid, so a better rate may lie beyond: {names}." if edge_qualities else text


def read_outs(probes: Sequence[LinearProbe]) -> list[str]:
    """Return the configurations with the best read-outs of position and class, and what a linear read-out is."""
    if not probes:
        return []
    where_probe = max(probes, key=lambda probe: over_seeds(probe.where))
    what_probe = max(probes, key=lambda probe: over_seeds(probe.what))
    text = (
        f"Read linearly from untrained features: position best from {parts_name(where_probe.architecture)} "
        f"(R² {over_seeds(where_probe.where):.2f}), class best from {parts_name(what_probe.architecture)} "
        f"({percent(over_seeds(what_probe.what))})."
    )
    return [text, PROBE]


def over_seeds(value_by_seed: Mapping[int, float]) -> float:
    """Return the mean over seeds of a linear read-out; negative infinity without a value."""
    return statistics.fmean(value_by_seed.values()) if value_by_seed else -math.inf


def _power(qualities: Sequence[Quality]) -> str:
    difference = visible(qualities)
    if difference is None:
        return TOO_FEW_SEEDS
    numbers = sorted({len(quality.by_seed) for quality in qualities} - {0, 1})
    seeds = f"{numbers[0]} to {numbers[-1]} seeds" if numbers[1:] else counted(numbers[0], "seed")
    return (
        f"With {seeds} a difference of {points(difference)} between two configurations is seen "
        "four times in five; smaller ones are mostly missed."
    )


def _exclusions(qualities: Sequence[Quality]) -> str:
    counts = {
        "collapsed": sum(quality.collapsed for quality in qualities),
        "failed": sum(quality.failed for quality in qualities),
    }
    text = ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)
    count = sum(quality.unconverged for quality in qualities)
    return " ".join(filter(None, [
        f"Not averaged in, at the rates chosen: {text}." if text else "",
        f"Still learning when training ended, and averaged in: {counted(count, 'run')}." if count else "",
    ]))  # fmt: skip
