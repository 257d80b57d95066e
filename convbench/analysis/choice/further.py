"""Plan the further trainings that would settle answers that are not sure: of which models, with how many seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.candidates import LEAST_SEEDS
from convbench.analysis.choice.recommendation import Ask, Recommendation, look_of
from convbench.analysis.quality.lessons import attempts, headless
from convbench.analysis.quality.rates import best_rates
from convbench.core.record import Case, Clip, Parts, Record, Trial

MOST_LOOKS = 8
Seeds = dict[tuple[Parts, Clip, str], int]
"""How many further seeds to train an architecture with, on a clip shape and a task."""


def further_trials(records: Sequence[Record]) -> list[Case]:
    """Return the trainings, with new seeds, that would settle the answers of these records at their next look.

    They use the chosen learning rate, which only the seeds that tried every rate decide. Empty if all answers are sure,
    if no number of seeds would do, or if the answers were looked at often enough.
    """
    look = look_of(records)
    needs = seeds_needed(recommendations(records, Ask().at_look(look))) if look < MOST_LOOKS else {}
    cases: dict[Case, None] = {}
    for case, trial in at_best_rate(records, (record.case for record in records)):
        seeds = needs.get((_architecture(case), case.clip, str(trial.task)), 0)
        if not trial.control:
            cases |= {replace(case, trial=replace(trial, seed=seed)): None for seed in _new_seeds(records, seeds)}
    return list(cases)


def at_best_rate(records: Sequence[Record], cases: Iterable[Case]) -> list[tuple[Case, Trial]]:
    """Return the cases that train a model at the learning rate that did best for it in these records."""
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
    """Return ``count`` seeds that no training had yet, the same for all models, because comparisons pair by seed."""
    start = 1 + max(record.case.trial.seed for record in records if record.case.trial)
    return range(start, start + count)


def seeds_needed(answers: Sequence[Recommendation]) -> Seeds:
    """Return the seeds that would settle the answers that are not sure, for ``run --until-sure``; empty without any.

    A model gets no more seeds than it has, so that the next look comes before much is spent. If a model has too few
    sound seeds for an answer, it gets as many as an answer takes.
    """
    needs: Seeds = {}
    for answer in answers:
        if answer.reason == "few-seeds":
            qualities = [excluded.quality for excluded in answer.excluded if excluded.why == "few-seeds"]
            needs |= {(quality.architecture, quality.clip, quality.task): LEAST_SEEDS for quality in qualities}
        if not answer.settle or not answer.settle.seeds:
            continue
        for candidate in answer.settle.candidates:
            quality = candidate.quality
            limit = max(1, len(quality.by_seed))
            needs[quality.architecture, quality.clip, quality.task] = min(answer.settle.seeds, limit)
    return needs
