"""Why there is no pick, in plain words, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from convbench.analysis.choice.recommendation import Reason, Recommendation
from convbench.core.metric import Metric
from convbench.report.words.names import advisable, configuration
from convbench.report.words.numbers import (
    TOO_FEW_SEEDS,
    accuracy,
    amount,
    chance,
    cheapest,
    costs,
    limit_name,
    mean,
    points,
)

ABSTAINS: Mapping[Reason, str] = {
    "not-run": "quality was not run for it",
    "no-sound-run": "no configuration learnt the task: train longer, or try other learning rates",
    "few-seeds": "no configuration has 2 sound seeds: run more seeds",
    "no-cost": "the costs of the trained models were not measured: run the same suite with its costs",
    "over-budget": "nothing meets the budget",
    "no-effect": "nothing is ruled out, as no difference in quality was found",
}

NO_INFERENCE = "answers of tasks weigh the costs of inference, which were not measured of the trained models"


def abstention(answer: Recommendation) -> str:
    """Return why there is no pick, and what to do about it."""
    assert answer.reason
    head = ABSTAINS[answer.reason]
    match answer.reason:
        case "over-budget":
            ask, values = answer.ask, answer.numbers
            return (
                f"{head}. {nearest([(ask.metrics[key], value, ask.constraints[key]) for key, value in values.items()])}"
            )
        case "no-effect":
            return f"{head} (p = {answer.numbers['p']:.2f}). {_cheapest(answer)}"
        case "no-cost" if any(exclusion.why == "no-cost" for exclusion in answer.excluded):
            return f"{NO_INFERENCE}: add inference to the scenarios of the suite."
        case "no-sound-run" if all(exclusion.why == "failed" for exclusion in answer.excluded):
            return "every training failed: the run says why; fix that, and train again in a new folder."
        case "no-sound-run" if chance_text := chance(answer.excluded[0].quality):
            return f"{head}{chance_text}."
    return f"{head}."


def extend(answer: Recommendation) -> str:
    """Suggest how to extend a sweep whose best size is the largest."""
    best, numbers = answer.best, answer.numbers
    assert best
    size, smaller, gain = int(numbers["size"]), int(numbers["smaller"]), points(numbers["gain"])
    return (
        f"{configuration(best.quality)} has {mean(best.quality, bounds=False)}, {gain} more than at {smaller:,}, and "
        f"no larger size was tried: extend lstm_input to {2 * size:,} and beyond."
    )


def nearest(misses: Sequence[tuple[Metric, float, float]]) -> str:
    """Name the limits that the nearest candidate misses, from its metrics, values and limits in base units."""
    texts = [
        f"{limit_name(metric)} {amount(metric, value, limit)} (the limit is {amount(metric, limit, value)})"
        for metric, value, limit in misses
    ]
    return f"Nearest: {'; '.join(texts)}." if texts else "None has a measured value for every limit."


def _cheapest(answer: Recommendation) -> str:
    assert answer.leading
    difference = answer.numbers["detectable"]
    power = f"A difference of {points(difference)} would have been detected in four of five such runs."
    rivals = "of those that learnt it " if answer.excluded else ""
    return (
        f"The {cheapest(answer.ask)} {rivals}is {advisable(answer.leading)} ({accuracy(answer.leading)}; "
        f"{costs(answer.leading.result, answer)}). {power if math.isfinite(difference) else TOO_FEW_SEEDS}"
    )
