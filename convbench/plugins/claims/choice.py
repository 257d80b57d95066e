"""Whether one configuration, or one LSTM input size, suffices on all tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask, Recommendation
from convbench.analysis.claims.claim import Judgement, Lacking, Number, Verdict, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out, name
from convbench.analysis.claims.standings import Standings, collapse_list, collapses, qualities_on, standings
from convbench.core.record import Clip, Parts
from convbench.core.text import joined
from convbench.report.words.names import around


@claim(
    15,
    "There is no magic number",
    quote='In summary, there\'s no magic number. The "optimal" input dimension to an LSTM within a Conv2D-LSTM '
    "architecture is highly specific to your data, task, and computational budget.",
    prediction="Every configuration is shown to fall short on some task: more than 2 points below the best, or "
    "more than one seed in ten that collapses.",
    experiment="All reducers and sizes on one small backbone, trained on each task, paired by seed, allowing for the "
    "best's having been selected by the same seeds; and the recommendation for each task (cheapest in latency within "
    "2 points of the best).",
)
def no_magic(evidence: Evidence) -> Judgement:
    tasks = standings(evidence)
    if len(tasks) < 2:
        raise Lacking(f"Trainings on two tasks or more are needed: {TRAIN}.")
    advice = {}
    ground = {(quality.architecture, quality.clip) for quality in evidence.qualities}
    for answer in recommendations(evidence.records, Ask(), list(tasks)):
        if answer.task in tasks and any(answer.clip == clip for _, clip in ground):
            advice[answer.task] = _advice(answer, ground)
    qualities = qualities_on(evidence, tasks)
    collapsing = frozenset(name(q.architecture) for q in qualities if collapses(q.collapsed, q.ended))
    return judge(tasks, advice, left_out(qualities), collapsing)


def _advice(answer: Recommendation, ground: Collection[tuple[Parts, Clip]]) -> str:
    """Return the pick and its grade, with its setting if that is not among the judged ones."""
    if not answer.pick:
        return f"none ({answer.reason})"
    quality = answer.pick.quality
    place = "" if (quality.architecture, quality.clip) in ground else around(quality)
    return f"{name(quality.architecture)}{place} ({answer.grade})"


def judge(
    tasks: Standings,
    advice: Mapping[str, str],
    exclusions: tuple[Number, ...] = (),
    collapsing: frozenset[str] = frozenset(),
) -> Judgement:
    """Refuted if one configuration suffices on all tasks, supported if each falls short on some, else undecided.

    One that was not tried on a task, and falls short on no other, is not excluded. ``collapsing`` are those that
    collapse too often on a task; they may have no standing there. Raises Lacking if no configuration was trained on all
    tasks.
    """
    standing_by_name = [{standing.name: standing for standing in group} for group in tasks.values()]
    shared_names, names = set.intersection(*map(set, standing_by_name)), collapsing.union(*standing_by_name)
    if not shared_names:
        raise Lacking(f"Trainings of the same configuration on all tasks are needed: {TRAIN}.")
    winners = sorted(name for name in shared_names if all(group[name].suffices for group in standing_by_name))
    short_names = {name for group in standing_by_name for name, standing in group.items() if standing.falls_short}
    open_names = names - short_names - collapsing
    sizes = set.intersection(*({standing.size for standing in group if standing.suffices} for group in tasks.values()))
    verdict: Verdict = "refuted" if winners else "undecided" if open_names else "supported"
    if winners:
        why = f"{joined(winners)} is within 2 points of the best on every task."
    elif open_names:
        why = f"No configuration is shown to suffice on every task; not excluded is {joined(sorted(open_names))}."
    else:
        why = "Every configuration is shown to fall short on some task."
    if sizes and not winners:
        sizes_text = joined([f"{size:,}" for size in sorted(sizes)])
        why += f" Yet an LSTM input of {sizes_text} suffices on all, with a reducer for each task."
    if collapses := collapse_list(tasks):
        why += f" Collapsing too often: {collapses}."
    if advice:
        why += f" Advised: {joined([f'{pick} on {task}' for task, pick in advice.items()])}."
    best = {task: min(group, key=lambda standing: (standing.short, standing.size)) for task, group in tasks.items()}
    numbers = [
        Number(f"{task}: LSTM input of the best, {standing.name}", standing.size) for task, standing in best.items()
    ]
    numbers.append(Number("Configurations tried", len(names)))
    numbers.append(Number("of which with two sound runs or more on every task", len(shared_names)))
    numbers.append(Number("of which shown to fall short on some task", len(names) - len(open_names)))
    numbers.append(Number("of which shown to suffice on every task", len(winners)))
    return Judgement(verdict, why, (*numbers, *exclusions))
