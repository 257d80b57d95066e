"""A run's records answered: one recommendation a task."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.analysis.choice.candidates import gather
from convbench.analysis.choice.choose import Ask, Recommendation, recommend
from convbench.analysis.choice.noninferior import ERROR
from convbench.analysis.choice.settling import at_look, look_of
from convbench.analysis.quality.qualities import Budget, by_task, equal_limits, qualities
from convbench.analysis.results import results
from convbench.core.record import Record


def recommendations(
    records: Sequence[Record], ask: Ask, tasks: Sequence[str] = (), budget: Budget = "steps"
) -> list[Recommendation]:
    """One recommendation for each task and clip shape, of the tasks asked for or of all; in the order of the run.

    Curves are compared at their end, or, where the budget is FLOPs or seconds, at the largest one that every run of the
    task reached. A task that was asked for and not run has the reason ``not-run``. Where seeds were added
    until the answer was sure, the error is that of the last look.
    """
    if (look := look_of(records)) > 1 and ask.error == ERROR:
        ask = at_look(ask, look)
    limit = None if budget == "steps" else equal_limits(records, budget)
    cells = by_task(qualities(records, budget, limit, in_variants=True))
    costs = results(record for record in records if record.case.trial is None) if cells else []
    selection = {key: members for key, members in cells.items() if not tasks or _is_listed(key[0], tasks)}
    missing = [task for task in tasks if not any(_is_listed(key[0], [task]) for key in cells)]
    answers = [recommend(task, clip, *gather(members, costs), ask) for (task, clip), members in selection.items()]
    return answers + [recommend(task, None, (), (), ask) for task in missing]


def _is_listed(task: str, tasks: Sequence[str]) -> bool:
    """A task may be asked for with its options or by its name alone."""
    return task in tasks or task.partition("(")[0] in tasks
