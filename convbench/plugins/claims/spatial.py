"""GAP against FC on tasks in which positions matter, and as positions vary less: differences paired by seed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from convbench.analysis.claims.claim import Curve, Judgement, Lacking, Number, Plot, Point, Verdict, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out, name
from convbench.analysis.claims.paired import (
    MARGIN,
    MOST,
    Difference,
    accuracy,
    by_verdict,
    compare,
    gains,
    pair_difference,
    verdict_of,
    welch,
)
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import typical
from convbench.core.scales import percent
from convbench.core.text import joined
from convbench.report.words.numbers import signed

GAP, FC = "gap 64", "fc 64"
SPATIAL = ("direction", "binding")
DIAL = re.compile(r"identity\(jitter=([\d.]+)\)")


@claim(
    10,
    "FC works well when intricate features must be kept",
    quote="I often find this technique works well when intricate features must be kept.",
    prediction="Where the answer lies in positions (which way a digit moves, which of two is larger), FC learns more "
    "than GAP at the same LSTM input size, in most such tasks, as “often” says.",
    experiment="FC with 64 units and GAP of 64 channels on the same small backbone, trained on direction and binding; "
    "test accuracy, paired by seed. Also: which reducers match FC with fewer parameters.",
)
def intricate_features(evidence: Evidence) -> Judgement:
    cells = {task: evidence.pair(task, FC, GAP) for task in SPATIAL}
    differences, numbers = compare(cells, "FC", "GAP", "FC less GAP")
    matches = {task: _matches(evidence, task, fc) for task, (fc, _) in cells.items()}
    numbers += [
        difference.number(f"{task}: {reducer} less FC")
        for task, group in matches.items()
        for reducer, difference in group.items()
    ]
    cheap_names = sorted(set.intersection(*(set(group) for group in matches.values())))
    numbers += left_out(quality for pair in cells.values() for quality in pair)
    why = f"A gain of FC over GAP is {by_verdict(differences)}."
    if cheap_names:
        why += f" Less will do: with fewer parameters no more than 2 points below it on each are {joined(cheap_names)}."
    verdicts = gains(differences)  # in some, most and all of the tasks
    return Judgement(verdict_of(MOST, verdicts), why, tuple(numbers), None, verdicts)


@claim(
    11,
    "GAP suits data with less spatial variability",
    quote="This approach is very compact, suitable for data with less spatial variability and strong channel-wise "
    "correlations.",
    prediction="GAP gains on FC as positions vary less: GAP's accuracy less FC's is larger with every digit starting "
    "in the centre than with digits starting anywhere.",
    experiment="Identity of a drifting digit with its start within 0, a third or all of the canvas; GAP and FC of 64 "
    "values, test accuracy: their difference, paired by seed, at the least less at the most (Welch).",
)
def variability(evidence: Evidence) -> Judgement:
    dial = _dial(evidence)
    pairs = {jitter: evidence.pair(task, GAP, FC) for jitter, task in sorted(dial.items())}
    lead_by_jitter = {jitter: _lead_by_seed(*pair) for jitter, pair in pairs.items()}
    least_jitter, most_jitter = min(lead_by_jitter), max(lead_by_jitter)
    change = welch("identity", list(lead_by_jitter[least_jitter].values()), list(lead_by_jitter[most_jitter].values()))
    leads = {
        jitter: pair_difference("identity", *(quality.by_seed for quality in pair)) for jitter, pair in pairs.items()
    }
    exclusions = left_out(quality for pair in pairs.values() for quality in pair)
    return judge_variability(change, leads, exclusions, _plot(pairs))


def judge_variability(
    change: Difference, leads: Mapping[float, Difference], exclusions: tuple[Number, ...] = (), plot: Plot | None = None
) -> Judgement:
    """Supported if GAP's lead is shown larger at the least variability, refuted if a gain of MARGIN is excluded."""
    verdict: Verdict = "supported" if change.is_shown else "refuted" if change.high < MARGIN else "undecided"
    first_lead, last_lead = leads[min(leads)], leads[max(leads)]
    first, last = first_lead.mean, last_lead.mean
    head = {
        "supported": "GAP gains on FC as positions vary less",
        "refuted": "GAP does not gain on FC as positions vary less"
        + (", it loses (it helps where positions vary and do not matter)" if change.high < 0 else ""),
        "undecided": "Whether GAP gains on FC as positions vary less is not decided",
    }[verdict]
    is_opposite = (first_lead.low > 0 > last_lead.high) or (first_lead.high < 0 < last_lead.low)
    crossing = "they cross" if is_opposite else "they are not shown to cross"
    why = f"{head}: its lead is {signed(first)} points at the least and {signed(last)} at the most ({crossing})."
    numbers = [
        lead.number(f"GAP less FC, start within {percent(jitter, places=0)} of the canvas")
        for jitter, lead in leads.items()
    ]
    numbers.append(change.number("That lead at the least variability less at the most"))
    return Judgement(verdict, why, (*numbers, *exclusions), plot)


def _matches(evidence: Evidence, task: str, fc: Quality) -> dict[str, Difference]:
    """Return the reducers with fewer parameters than FC that are shown to be less than 2 points below it."""
    params, matches = _params(evidence), {}
    limit = params.get(name(fc.architecture))
    for label, quality in evidence.on(task).items():
        if limit is not None and params.get(label, limit) < limit:
            difference = pair_difference(task, quality.by_seed, fc.by_seed)
            if difference.low > -MARGIN:
                matches[label] = difference
    return matches


def _params(evidence: Evidence) -> dict[str, float]:
    """Return the parameters of the trained configurations, if they were counted."""
    architectures = {quality.architecture for quality in evidence.qualities}
    params = {result.case.architecture: typical(result.record, "params") for result in evidence.costs}
    return {name(parts): params[parts] for parts in architectures if params.get(parts)}  # type: ignore[misc]


def _dial(evidence: Evidence) -> dict[float, str]:
    tasks = {quality.task for quality in evidence.qualities}
    dial = {float(match[1]): task for task in tasks if (match := DIAL.fullmatch(task))}
    dial |= {1.0: "identity"} if "identity" in tasks else {}
    if len(dial) < 2:
        raise Lacking(f"Trainings on identity with two jitters or more are needed: {TRAIN}.")
    return dial


def _lead_by_seed(quality: Quality, other: Quality) -> dict[int, float]:
    return {seed: quality.by_seed[seed] - other.by_seed[seed] for seed in quality.by_seed.keys() & other.by_seed.keys()}


def _plot(pairs: Mapping[float, tuple[Quality, Quality]]) -> Plot:
    curves = [
        Curve(label, tuple(Point.of(jitter, accuracy("", pair[i])) for jitter, pair in pairs.items()))
        for i, label in enumerate(("gap", "fc"))
    ]
    return Plot(
        "Identity by how far positions vary",
        "How to read this: test accuracy, means over seeds with 95 % intervals; at 0 every digit starts in the centre, "
        "at 100 % anywhere.",
        ("Start within this share of the canvas", "share"), ("Test accuracy", "share"), tuple(curves),
    )  # fmt: skip
