"""Answers within a budget in words: how many models fit, and which to take."""

from __future__ import annotations

from convbench.analysis.choice.by_budget import Affordable
from convbench.analysis.choice.candidates import CostName
from convbench.analysis.choice.recommendation import Recommendation
from convbench.core import scales
from convbench.core.text import counted
from convbench.report.words import advice
from convbench.report.words.abstention import nearest
from convbench.report.words.elsewhere import population
from convbench.report.words.first_lines import ASIDE, UNORDERED, reason
from convbench.report.words.names import model, setup
from convbench.report.words.numbers import costs, untimed


def fitting(answer: Affordable, is_limited: bool = True) -> str:
    """Return ``13 of 27 models fit, 6 of them statistically tied with the fastest: take gap, LSTM input 32 ...``.

    Without limits there is nothing to fit into, and the models are only counted.
    """
    pick, ties = answer.pick, answer.tied
    models = counted(answer.models, "model") + (population(answer.member, answer.leaders) if answer.member else "")
    if not pick:
        return f"None of {models} fits. {nearest(answer.misses)}"
    timing_note = "" if answer.timed else f"; {untimed([pick])}"
    fit = "fits" if answer.number == 1 else "fit"
    if answer.elsewhere:
        head = f"None of {models} fits in {answer.variant}"
        lead, name = f"{head}; in other variants {answer.number:,} of {answer.elsewhere:,} {fit}", setup(pick)
    else:
        lead, name = f"{answer.number:,} of {models} {fit}" if is_limited else models, model(pick)
    if timing_note and pick.params is None:
        return f"{lead}. {UNORDERED}"
    aside = ASIDE if answer.controls_aside else ""
    if len(ties) < 2:
        return f"{lead}. {'Smallest' if timing_note else 'Fastest'}{aside}: {name} ({costs(pick)}){timing_note}."
    return (
        f"{lead}, {len(ties):,} of them statistically tied with the fastest{aside}: take {name}{reason(pick, ties)} "
        f"({costs(pick)})."
    )


def by_task(answer: Recommendation) -> str:
    """Return the recommendation for one task in a sentence or two."""
    if answer.reason == "over-budget":
        return f"{answer.name}: none meets the limits."
    return " ".join(advice.sentences(answer)[: 2 if answer.pick else 1])


def remainder(tasks: int) -> str:
    """Return the note on the tasks that the sliders do not answer."""
    return f"{counted(tasks, 'more task is', 'more tasks are')} answered by convbench advise."


def limit_text(name: CostName, value: float) -> str:
    """Return a limit as the command line reads it: ``5ms``, ``64MiB``."""
    factor, unit = scales.fitting_unit(value, scales.BYTES if name == "memory" else scales.SECONDS)
    return f"{value / factor:.6g}{unit.replace('µ', 'u')}"
