"""Make the trials of a suite: every architecture of the sweep is tried on every task, once, however it is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

from convbench.core.case import Case, Choice, Parts, Trial, id_matches
from convbench.core.traits import own_numbers
from convbench.suite.layout import TrainingLayout
from convbench.suite.matrix import MAX_CASES
from convbench.suite.mistakes import Mistakes, quoted

PLACED_DIGIT = Choice("placed-digit")


def trial_cases(
    cases: Sequence[Case],
    quality: Literal["none", "probe", "train"],
    training: TrainingLayout,
    tasks: Sequence[Choice],
    mistakes: Mistakes,
) -> tuple[Case, ...]:
    """Return the cases to add for ``quality``, seed by seed, so that an interrupted run has whole seeds.

    Variants that compute with other numbers than eager PyTorch (int8, another runtime) have trials of their own: the
    model is trained in eager, once, and evaluated in each of them; a probe reads the features as each computes them.

    A user's own whole model is not tried: it has no head that could be exchanged for a task's.
    """
    if quality == "none":
        return ()
    for index, pattern in enumerate(training.only or ()):
        if not any(id_matches(case.id, [pattern]) for case in cases):
            ids = f"ids are matched as they are written, before sizes and devices are known, such as {cases[0].id}"
            mistakes.add(("training", "only", index), f"{quoted(pattern)} matches no case: {ids}")
    mistakes.raise_any()
    tried_cases = (case for case in cases if not training.only or id_matches(case.id, training.only))
    parts = [case for case in tried_cases if isinstance(case.architecture, Parts)]
    trial_cases = [_trial_case(case, training.batch) for case in parts]
    pairs = zip(trial_cases, parts, strict=True)
    variants = [replace(trial_case, variant=case.variant) for trial_case, case in pairs if own_numbers(case)]
    # Variants follow all trained models: right after its model, a variant would wait for the training.
    models = list(dict.fromkeys(trial_cases + variants))
    match quality:
        case "probe":
            trials = [Trial(PLACED_DIGIT)]
        case "train":
            _limit(models, training, len(tasks), mistakes)
            trials = list(_trials(training, tasks))
    cases_to_add = (
        replace(model, scenario=trial.scenario, trial=trial)
        for trial in trials
        for model in models
        if not (model.variant and trial.control)
    )
    return tuple(dict.fromkeys(cases_to_add))


def _trial_case(case: Case, batch: int) -> Case:
    assert isinstance(case.architecture, Parts)
    parts = replace(case.architecture, head=None)
    return Case(parts, replace(case.clip, batch=batch), device=case.device)


def _limit(models: Sequence[Case], training: TrainingLayout, tasks: int, mistakes: Mistakes) -> None:
    """Raise SuiteError for more trainings than a sweep may have cases, before any is listed."""
    variant_count, controls = sum(bool(model.variant) for model in models), len(training.controls or ())
    model_count = len(models) - variant_count
    rates, seeds = len(training.learning_rates), training.seeds
    count = (model_count * (1 + controls) + variant_count) * tasks * rates * seeds
    if count > MAX_CASES:
        factors = f"{model_count:,} models x {1 + controls} controls"
        factors = f"({factors} + {variant_count:,} evaluated in variants)" if variant_count else factors
        factors += f" x {tasks:,} tasks x {rates:,} rates x {seeds:,} seeds"
        mistakes.add(("training",), f"{count:,} trainings ({factors}) are more than {MAX_CASES:,}: split the suite")
        mistakes.raise_any()


def _trials(training: TrainingLayout, tasks: Sequence[Choice]) -> Iterable[Trial]:
    controls = (None, *(training.controls or ()))
    for seed, task, control, rate in product(range(training.seeds), tasks, controls, training.learning_rates):
        yield Trial(task, seed, rate, control)
