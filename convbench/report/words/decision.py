"""The page's first lines: the decision in one sentence, how sure it is, and the commands to run next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from convbench.analysis.choice.candidates import Candidate, Excluded
from convbench.analysis.choice.further import seeds_needed
from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.headlines import Headline, undecided_results, withheld_results
from convbench.analysis.costs.ranking import as_light, exclude_controls
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result, costs, is_triable, measured_results
from convbench.core.commands import Command
from convbench.core.findings import PAGE_FAULTS
from convbench.core.metrics import LATENCY
from convbench.core.record import EAGER, Parts, RunDescription
from convbench.core.storage import shards
from convbench.core.storage.merging import SHARD
from convbench.core.text import counted, cut, cut_name, file_stem, joined, one_line
from convbench.report.words import units
from convbench.report.words.elsewhere import whereabouts
from convbench.report.words.findings import KEEPS_MEMORY
from convbench.report.words.names import after_norm, around, cell, kind, reducer
from convbench.report.words.numbers import untimed

TASKS = 3
"""Number of tasks that the sentence names; it only counts the others."""
LONG = 64
UNORDERED = "Neither latency nor parameters were measured, so nothing is ranked."
ASIDE = " (frozen controls aside)"
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


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


def decision(headline: Headline, answers: Sequence[Recommendation]) -> str:
    """Return the decision: by task if quality was run, else by cost, with the variant that makes the pick fastest.

    Empty without a measurement.
    """
    if answers:
        return _by_task(answers)
    pick = headline.pick
    if not pick:
        return ""
    if not headline.is_ordered:
        return UNORDERED
    is_alone = len(headline.ranking) < 2
    place = f"{whereabouts(pick, headline.leaders, beside_name=is_alone)}{_in_variant(pick)}"
    if not pick.latency:
        equal_count = len(as_light(pick, [contender.result for contender in headline.ranking])) - 1
        equals = f" ({counted(equal_count, 'other is', 'others are')} as small)" if equal_count else ""
        why = untimed(contender.result for contender in headline.ranking)
        if is_alone:
            return f"{_name(pick, headline)}{place}: {units.quantity(pick.params, 'parameter')}; {why}."
        return f"Smallest of {len(headline.ranking)}{place}: {_name(pick, headline)}{equals}; {why}."
    ties = headline.tied
    if len(ties) < 2:
        latency, name = units.median(pick.latency), _name(pick, headline)
        aside = ASIDE if headline.controls_aside else ""
        head = f"{name}{place}: " if is_alone else f"Fastest{place}{aside}: {name}, "
        text = f"{head}{latency} a call{_position(headline, '; take ')}."
    else:
        text = f"{_tie(ties, place)}; take {_name(pick, headline)}{reason(pick, ties)}{_position(headline, ', or ')}."
    return f"{text}{_quickest(headline)}"


def reason(pick: Result, ties: Sequence[Result]) -> str:
    """Return why the pick is taken of those tied: `` for the fewest parameters`` or ``, the fastest of equal size``.

    Empty if no parameters were counted.
    """
    if pick.params is None:
        return ""
    text = merit(pick, ties)
    return f", {text}" if text.startswith("the fastest") else f" for {text}"


def merit(pick: Result, ties: Sequence[Result]) -> str:
    """Return what distinguishes the pick from the models tied with it, such as ``the fewest parameters``."""
    learners, lightest = exclude_controls(ties), as_light(pick, ties)
    if pick.params is None:
        text = "the fastest"
    elif len(lightest) < 2:
        text = "the fewest parameters"
    elif len(lightest) == len(learners):
        text = "the fastest of equal size"
    else:
        text = f"the fastest of the {_number(len(lightest))} with the fewest parameters"
    return f"{text}{ASIDE}" if len(learners) < len(ties) else text


def _quickest(headline: Headline) -> str:
    """Return `` In onnxruntime, gap takes 2.21 ms.``, or for another model `` Faster in compile: fc at .., 2 ms.``"""
    quickest = headline.quickest
    if not quickest or not quickest.result.latency:
        return ""
    result, latency = quickest.result, units.median(quickest.result.latency)
    variant = _short(result.case.variant_name)
    if quickest.is_own:
        name = result.series if isinstance(result.case.architecture, Parts) else reducer(result)
        return f" In {variant}, {_short(name)} takes {latency}."
    return f" Faster in {variant}: {_name(result, headline)}, {latency}."


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


def _by_task(answers: Sequence[Recommendation]) -> str:
    """Return ``direction: take spatial-softmax/64 (sure); identity: open``, with a shared place named once."""
    candidates = [candidate for answer in answers[:TASKS] if (candidate := answer.pick or answer.leading)]
    places = {around(candidate.quality) for candidate in candidates}
    common = places.pop() if len(candidates) > 1 and len(places) == 1 else ""
    texts = [f"{cut(one_line(answer.name), LONG)}: {_answer(answer, common)}" for answer in answers[:TASKS]]
    texts += [f"all{one_line(common)}"] if common else []
    count = len(answers) - TASKS
    texts += [f"{counted(count, 'more task')} below"] if count > 0 else []
    text = "; ".join(texts)
    return f"{text[:1].upper()}{text[1:]}."


def _answer(answer: Recommendation, common: str) -> str:
    if answer.pick:
        latency = answer.pick.result.latency
        cost = f", {units.median(latency)} a call" if latency else ""
        return f"take {_candidate(answer.pick, common)}{_in_variant(answer.pick.result)}{cost} ({answer.grade})"
    return f"open{f', {_candidate(answer.leading, common)} leads' if answer.leading else ', no pick'}"


def _candidate(candidate: Candidate, common: str) -> str:
    """Return the reducer at its size, and its surroundings unless they end with ``common``."""
    return f"{_with_size(candidate.result)}{one_line(around(candidate.quality).removesuffix(common))}"


def _in_variant(result: Result) -> str:
    """Return `` in int8+onnxruntime``; empty for eager PyTorch."""
    return f" in {_short(result.case.variant_name)}" if result.case.variant else ""


def _tie(ties: Sequence[Result], place: str) -> str:
    """Return ``Six reducers tie on conv at 5.60 to 6.10 ms``."""
    names, sizes = {result.row for result in ties}, {result.lstm_input for result in ties}
    members = "sizes" if len(sizes) == len(ties) else "configurations"  # such as fc with an activation and without
    name = _short(ties[0].series)
    count, noun = (len(names), f"{kind(ties)}s") if len(names) > 1 else (len(ties), f"{members} of {name}")
    latencies = [result.latency for result in ties if result.latency]
    low, high = units.median(min(latencies)), units.median(max(latencies))
    span = low if low == high else units.extent(low, high)
    return f"{_number(count).capitalize()} {noun} tie{place} at {span}"


def _position(headline: Headline, conjunction: str) -> str:
    return (
        f"{conjunction}{_name(headline.position_pick, headline)} if position matters" if headline.position_pick else ""
    )


def _name(result: Result, headline: Headline) -> str:
    """Return the reducer at its size, or a user's model, with its options if contenders of that name differ in them."""
    names = {reducer(contender.result) for contender in headline.ranking if contender.result.series == result.series}
    return _with_size(result, reducer(result) if len(names) > 1 else result.series)


def _with_size(result: Result, name: str = "") -> str:
    """Return the reducer at its size; with its options unless another name is given."""
    size = f" at {cell(result.case.architecture)} input {result.lstm_input:,}" if result.lstm_input else ""
    return f"{_short(name or reducer(result))}{size}{after_norm(result.case.architecture)}"


def _short(name: str) -> str:
    return cut_name(one_line(name), LONG)


def _number(count: int) -> str:
    return WORDS[count] if count < len(WORDS) else f"{count:,}"
