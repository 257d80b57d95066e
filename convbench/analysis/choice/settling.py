"""What would settle an answer that is not sure: which configurations, how many further seeds, how long; and, look after
look, at what error.

Looking again after more seeds is a test each time. The look ``n`` (1, 2, ...) has the error 5 % / n(n + 1), which over
all looks, however many there are, sums up to 5 % at most: a pick that ``until sure`` calls sure is wrong at most so
often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtr, stdtrit

from convbench.analysis.choice.candidates import LEAST_SEEDS, Candidate
from convbench.analysis.choice.doubts import SURE_SEEDS
from convbench.analysis.choice.noninferior import ERROR, Pairs, hurdle
from convbench.analysis.choice.recommendation import Ask, Recommendation, Settle
from convbench.analysis.quality.lessons import attempts, headless
from convbench.analysis.quality.rates import best_rates
from convbench.core.record import Case, Clip, Parts, Record, Trial

MOST_SEEDS = 100
MOST_LOOKS = 8
CLOSE = 0.25
"""Of the margin: an estimate nearer to it than that is taken to be so far from it, or no number of seeds would do."""

Further = dict[tuple[Parts, Clip, str], int]
"""How many further seeds an architecture is to be trained with, on clips of a shape and a task."""


LOOK = "look"
"""The condition under which a record says at which look it was added; without it, at none."""


def look_of(records: Iterable[Record]) -> int:
    """How many times the answers of these records were looked at, with seeds added each time but the first."""
    return max((int(record.conditions.get(LOOK) or 1) for record in records), default=1)


def further_trials(records: Sequence[Record]) -> list[Case]:
    """Trainings, from seeds of their own, that would settle the answers of these records at their next look.

    At the learning rate that was chosen: the seeds that every rate was tried from decide which that is. Empty where all
    are sure, no number of seeds would do, or the answers were looked at often enough.
    """
    from convbench.analysis.choice.by_task import recommendations

    look = look_of(records)
    needs = further(recommendations(records, at_look(Ask(), look))) if look < MOST_LOOKS else {}
    cases: dict[Case, None] = {}
    for case, trial in at_best_rate(records, (record.case for record in records)):
        seeds = needs.get((_architecture(case), case.clip, str(trial.task)), 0)
        if not trial.control:
            cases |= {replace(case, trial=replace(trial, seed=seed)): None for seed in _new_seeds(records, seeds)}
    return list(cases)


def at_best_rate(records: Sequence[Record], cases: Iterable[Case]) -> list[tuple[Case, Trial]]:
    """Those of the cases that train a model at the learning rate that did best for it in these records."""
    rates = best_rates(attempts(records))
    return [
        (case, trial)
        for case in cases
        if (trial := case.trial)
        and trial.learning_rate is not None
        and trial.learning_rate == rates.get((_architecture(case), case.clip, str(trial.task), trial.control))
    ]


def _architecture(case: Case) -> Parts:
    assert isinstance(case.architecture, Parts)
    return headless(case.architecture)


def _new_seeds(records: Sequence[Record], count: int) -> range:
    """So many seeds beyond all that any training had: the same ones for all, because seeds are compared in common."""
    start = 1 + max((record.case.trial.seed for record in records if record.case.trial), default=-1)
    return range(start, start + count)


def error_at(look: int) -> float:
    """The error of one look of several, the first being 1; all of them together have at most ``ERROR``."""
    return ERROR / (look * (look + 1))


def at_look(ask: Ask, look: int) -> Ask:
    """The same question, asked at one look of several."""
    return replace(ask, error=error_at(look))


def further(answers: Sequence[Recommendation]) -> Further:
    """The seeds that would settle the answers that are not sure, for ``run --until-sure``; empty where all are sure or
    no number of seeds would do.

    No more than are there already, so that the next look comes before much is spent; where nothing has enough sound
    seeds for an answer, as many as it takes.
    """
    needs: Further = {}
    for answer in answers:
        if answer.reason == "few-seeds":
            few = [excluded.quality for excluded in answer.excluded if excluded.why == "few-seeds"]
            needs |= {(quality.architecture, quality.clip, quality.task): LEAST_SEEDS for quality in few}
        if not answer.settle or not answer.settle.seeds:
            continue
        for candidate in answer.settle.candidates:
            quality = candidate.quality
            most = max(1, len(quality.by_seed))
            needs[quality.architecture, quality.clip, quality.task] = min(answer.settle.seeds, most)
    return needs


def enough_seeds(pick: Candidate) -> Settle:
    """As many further seeds of a pick as a sure one has at least."""
    seeds = SURE_SEEDS - len(pick.quality.by_seed)
    return Settle((pick,), seeds, seeds * pick.quality.seconds)


def settle(pool: Sequence[Candidate], contrasts: Pairs, at: int, margin: float, error: float) -> Settle | None:
    """What keeps the candidate at this place from being shown within the margin, and what would decide it.

    None where nothing does. The number of seeds is that which the pair that needs most needs, by its present estimate.
    """
    gap, spread, df = contrasts.gap[at], contrasts.error[at], contrasts.df[at]
    p = stdtr(df, -(margin - gap) / np.maximum(spread, 1e-12))
    level = hurdle(len(pool), error)
    rivals = [i for i in range(len(pool)) if i != at and level < p[i] < 1 - level]
    if not rivals:
        return None
    chosen = (at, *rivals)
    needed = max(_seeds_needed(contrasts, at, i, margin, level) for i in rivals)
    more = math.ceil(needed - min(contrasts.runs[i] for i in chosen))
    if more > MOST_SEEDS:
        return Settle(tuple(pool[i] for i in chosen), None, 0.0)
    seeds = max(1, more)
    seconds = sum(seeds * pool[i].quality.seconds for i in chosen)
    return Settle(tuple(pool[i] for i in chosen), seeds, seconds)


def _seeds_needed(contrasts: Pairs, at: int, rival: int, margin: float, level: float) -> float:
    """Seeds of both that would tell at this level on which side of the margin the rival is."""
    if not np.isfinite(contrasts.error[at, rival]):
        return 3.0
    distance = max(abs(margin - contrasts.gap[at, rival]), CLOSE * margin)
    runs = min(contrasts.runs[at], contrasts.runs[rival])
    reach = float(stdtrit(max(contrasts.df[at, rival], 4.0), 1 - level)) * float(contrasts.error[at, rival])
    return float(runs * (reach / distance) ** 2)
