"""Answer for a run's records: one recommendation per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import compress

from convbench.analysis.choice.candidates import Candidate, TaskCandidates, gather, rank
from convbench.analysis.choice.choose import recommend
from convbench.analysis.choice.doubts import flag_fallible
from convbench.analysis.choice.recommendation import Ask, Recommendation, look_of
from convbench.analysis.costs.ranking import is_control
from convbench.analysis.inference.noninferior import ERROR
from convbench.analysis.quality.lessons import Budget, equal_limits
from convbench.analysis.quality.qualities import by_task, qualities
from convbench.analysis.results import results
from convbench.core.record import Record


def recommendations(
    records: Sequence[Record], ask: Ask, tasks: Sequence[str] = (), budget: Budget = "steps"
) -> list[Recommendation]:
    """Return one recommendation per task and clip shape, of the requested tasks or of all, in the order of the run.

    Curves are compared at their end, or, if the budget is FLOPs or seconds, at the largest one that every run of the
    task reached. A requested task that was not run has the reason ``not-run``. If seeds were added until the answer was
    sure, the error is that of the last look.
    """
    ask = at_last_look(records, ask)
    questions = questions_of(records, budget)
    selection = [question for question in questions if not tasks or _is_listed(question.task, tasks)]
    missing_tasks = [task for task in tasks if not any(_is_listed(question.task, [task]) for question in questions)]
    return [recommend(question, ask) for question in (*selection, *map(TaskCandidates, missing_tasks))]


def common_pick(answers: Sequence[Recommendation]) -> Candidate | None:
    """Return the cheapest candidate that all of these answers show to be within the margin; None without any.

    A candidate that collapses more often than the others of an answer does not count, nor does a control.
    """
    tables = [
        {(candidate.quality.architecture, candidate.result.case.variant_name): candidate for candidate in shown}
        for shown in map(_shown_candidates, answers)
    ]
    shared_keys = set.intersection(*(set(table) for table in tables)) if tables else set()
    candidates = [candidate for key, candidate in tables[0].items() if key in shared_keys] if shared_keys else []
    return min(candidates, key=lambda candidate: rank(candidate, answers[0].ask.cheapest), default=None)


def _shown_candidates(answer: Recommendation) -> list[Candidate]:
    pick = [answer.pick] if answer.pick and "not-shown" not in answer.doubts else []
    ids = {id(candidate) for candidate in (*pick, *(r.candidate for r in answer.runners if r.is_shown))}
    fails = flag_fallible(answer.pool)
    is_reliable = [not (bad or is_control(member.result)) for bad, member in zip(fails, answer.pool, strict=True)]
    return [candidate for candidate in compress(answer.pool, is_reliable) if id(candidate) in ids]


def questions_of(records: Sequence[Record], budget: Budget = "steps") -> list[TaskCandidates]:
    """Return the candidates for each task and clip shape, including variants that were evaluated themselves.

    A task whose trainings were all skipped has no candidates. If that is so of all tasks, there are no questions.
    """
    limit = None if budget == "steps" else equal_limits(records, budget)
    cells = by_task(qualities(records, budget, limit, in_variants=True))
    if not cells:
        return []
    costs = results(record for record in records if record.case.trial is None)
    tasks = dict.fromkeys(
        (str(trial.task), record.case.clip)
        for record in records
        if (trial := record.case.trial) and trial.trains and not trial.control
    )
    clips = Counter(task for task, _ in tasks)
    return [
        TaskCandidates(task, clip, *gather(cells.get((task, clip), ()), costs), clips[task] > 1) for task, clip in tasks
    ]


def at_last_look(records: Sequence[Record], ask: Ask) -> Ask:
    """Return the question with the error of the last look, if seeds were added until the answer was sure."""
    look = look_of(records)
    return ask.at_look(look) if look > 1 and ask.error == ERROR else ask


def _is_listed(task: str, tasks: Sequence[str]) -> bool:
    """Whether a task was requested, with its options or by its name alone."""
    return task in tasks or task.partition("(")[0] in tasks
