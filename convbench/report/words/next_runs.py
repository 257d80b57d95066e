"""What to run next, most needed first: why, and the command line that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from convbench.analysis.choice.candidates import Candidate, Excluded
from convbench.analysis.choice.further import seeds_needed
from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.headlines import Headline, undecided_results, withheld_results
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result, costs, is_triable, measured_results
from convbench.core.commands import Command
from convbench.core.findings import PAGE_FAULTS
from convbench.core.metrics import LATENCY
from convbench.core.record import EAGER, RunDescription
from convbench.core.storage import shards
from convbench.core.storage.merging import SHARD
from convbench.core.text import counted, cut, file_stem, joined, one_line
from convbench.report.words import units
from convbench.report.words.findings import KEEPS_MEMORY

TASKS = 3
"""Number of tasks that a reason names."""
LONG = 64


class NextRun(NamedTuple):
    """A command to run next: why, its changes to the run's own command, and whether it resumes the run.

    ``overrides`` are those of a suite, such as ``quality=train``. One that resumes may add cases with them; one that
    does not gets its own directory.
    """

    why: str
    overrides: str = ""
    resume: bool = False
    until_sure: bool = False


AGAIN = NextRun("")
"""Repeat the run in a directory beside it."""
UNDISTURBED = NextRun("some cases have too few undisturbed visits", resume=True, until_sure=True)


def next_runs(
    run: RunDescription, results: Sequence[Result], headline: Headline, answers: Sequence[Recommendation] = ()
) -> list[NextRun]:
    """Return what to run next, most needed first: missing cases, then open questions, then quality."""
    steps = []
    if missing := len(run.open_ids([result.record for result in results])):
        word = "timed" if missing == sum(result.record.is_untimed for result in results) else "run"
        steps.append(
            NextRun(f"{counted(missing, 'planned case was', 'planned cases were')} not {word} yet", resume=True)
        )
    if shard_names := shards.missing_names(run):
        steps.append(NextRun(f"{shard_names} missing", resume=True))
    needy_names = [cut(one_line(answer.name), LONG) for answer in answers if seeds_needed([answer])]
    if needy_names and not missing:
        why = f"more seeds would settle {joined(needy_names[:TASKS])}"
        steps.append(NextRun(why, resume=True, until_sure=True))
    learning_names = [cut(one_line(answer.name), LONG) for answer in answers if _may_learn_more(answer)]
    if learning_names and not missing:
        why = f"longer training may settle {joined(learning_names[:TASKS])}"
        steps.append(NextRun(why, f"training.steps={2 * run.protocol.training.steps}"))
    certainty, withheld_cases = headline.confidence, withheld_results(results)
    open_ties = certainty.open if certainty else 0
    if (certainty and certainty.visits is None) or ((certainty or withheld_cases) and run.protocol.visits == 1):
        steps.append(NextRun("one process a case does not show how much processes differ", "protocol.visits=3"))
    elif open_ties or withheld_cases or (certainty and (certainty.visits or 0) < 2):
        reason = f"{open_ties:,} of those tied may be slower" if open_ties else UNDISTURBED.why
        steps.append(UNDISTURBED._replace(why=reason))
    elif certainty and certainty.level == "low" and undecided_results(results):
        steps.append(
            NextRun(f"the pick is known to ±{units.percent(certainty.half_width)} only", resume=True, until_sure=True)
        )
    if results and not missing and all(result.record.status == "failed" for result in results):
        steps.append(NextRun("every case failed: mend the reasons below, then run it again"))
    steps += [*(runs_for_cost(run, results, answers) if not missing else []), *_remedy(run, results, headline)]
    if headline.has_rivals and len(costs(results)) == len(results) and is_triable(results):
        steps.append(training_run(run, "cost alone does not show the best: train each, then run advise"))
    commands = {step[1:]: step for step in reversed(steps) if not step.resume or _goes_on(run)}
    return [step for step in steps if step in commands.values()]


def training_run(run: RunDescription, why: str = "") -> NextRun:
    """Return the run that trains the run's models; their costs stay if the run can be resumed."""
    return NextRun(why, "quality=train", resume=_goes_on(run))


def runs_for_cost(run: RunDescription, results: Sequence[Result], answers: Sequence[Recommendation]) -> list[NextRun]:
    """Return how to measure the costs that answers of tasks lack: those of inference, or latencies that are withheld.

    Empty if they lack none that a command would measure.
    """
    if any(answer.reason == "no-cost" for answer in answers):
        scenarios = dict.fromkeys(result.case.scenario for result in measured_results(results))
        if scenarios and "inference" not in scenarios:
            why = f"costs were measured only in {joined([*scenarios])}, and answers of tasks weigh those of inference"
            return [NextRun(why, f"scenario=[{','.join([*scenarios, 'inference'])}]", resume=_goes_on(run))]
    return [UNDISTURBED] if _goes_on(run) and any(map(withheld_rivals, answers)) else []


def withheld_rivals(answer: Recommendation) -> list[Quality]:
    """Return the models of which a withheld latency leaves an answer unsure, or without a pick within the budget."""
    ask = answer.ask
    is_latency = ask.per_second is not None or LATENCY.option in (ask.cheapest, *ask.constraints)
    if not is_latency or not ("unknown-cost" in answer.doubts or answer.reason == "over-budget"):
        return []
    models: list[Candidate | Excluded] = [
        *answer.pool,
        *(entry for entry in answer.excluded if entry.why == "unknown-cost"),
    ]
    return [model.quality for model in models if model.result and withheld_results([model.result])]


def _may_learn_more(answer: Recommendation) -> bool:
    """Whether the models of a task were still learning when training ended, or none has learnt it."""
    no_model_learnt = answer.reason == "no-sound-run" and any(model.why != "failed" for model in answer.excluded)
    return "undertrained" in answer.doubts or no_model_learnt


def _remedy(run: RunDescription, results: Sequence[Result], headline: Headline) -> list[NextRun]:
    """Return a run with an allocator that keeps its memory, if page faults take much of the pick's time in eager mode.

    Empty if the run has tried an allocator, or names the cases to measure: the new ones would not be among them.
    """
    findings = headline.pick.record.findings if headline.pick and not headline.pick.case.variant else ()
    faults = [finding.data for finding in findings if finding.code == PAGE_FAULTS]
    share = next((data.get("system_share") for data in faults if data.get("allocator") == "glibc"), None)
    is_tried = any(choice.name == "allocator" for result in results for choice in result.case.variant)
    if not isinstance(share, float) or is_tried or Command.of(run).only:
        return []
    why = f"page faults take {units.percent(share)} of the pick's time, which another allocator may save"
    return [NextRun(why, f"variant=[{EAGER},{KEEPS_MEMORY}]")]


def _goes_on(run: RunDescription) -> bool:
    """Whether one machine can resume the run: not if it was merged from shards of unlike machines."""
    return len(run.environments) < 2 or not any(host.startswith(SHARD) for host in run.hosts)


def command(run: RunDescription, step: NextRun, directory: str) -> str:
    """Return the command line of a next run: one that resumes does so in ``directory``, another runs beside it."""
    suffix = file_stem(step.overrides.rpartition(".")[2].partition("(")[0])
    folder = directory if step.resume else f"{directory}-{suffix or 'again'}"
    run_command, key = Command.of(run), step.overrides.partition("=")[0]
    overrides = run_command.overrides
    if key:  # the budget was meant for what the run measured: it would end the trainings that the next run adds
        other_overrides = (text for text in overrides if text.partition("=")[0] not in (key, "protocol.budget"))
        overrides = (*other_overrides, step.overrides)
    return replace(run_command, overrides=overrides, resume=step.resume, until_sure=step.until_sure).into(folder)
