"""Runs side by side in words: the ratio, what of it is the machine's, whether they say the same, what forbids it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convbench.analysis.agreement import agreement
from convbench.analysis.compare import Difference, Match, apart, noise, overall
from convbench.analysis.costs.headlines import withheld
from convbench.analysis.results import Result
from convbench.analysis.stored_runs import machine_slowdown
from convbench.core.statistics import Interval
from convbench.core.text import counted, joined
from convbench.report.words import units
from convbench.report.words.facts import inner_title
from convbench.report.words.numbers import TIE

COUNTS = {"Parameters": "params", "FLOPs": "flops"}
"""What is exact, and where a result has it."""
RATIOS = 6
"""Ratios that are named one by one in a headline."""
TOLERANCE = 0.02
"""By how much the reference workload must differ before it is said."""


def sentence(matches: Sequence[Match], run: int, letter: str) -> str:
    """The median ratio over the first run, how far the cases lie apart, and how many are beyond noise."""
    ratio = overall(matches, run)
    if ratio is None:
        if any(match.elsewhere and match.results[run] for match in matches):
            return f"{letter} has no case that was timed on the same machine and software as in A."
        reason = without_ratio(matches, run)
        return f"{letter} shares no timed case with A{reason and f': {reason}'}.{_counts(matches, run)}"
    number = sum(match.ratios[run] is not None for match in matches)
    cases = "the one shared case" if number == 1 else f"{number:,} shared cases"
    spread = f"; nine in ten at {units.factor(ratio.low)} to {units.factor(ratio.high)}" if number > 1 else ""
    outlier_count = _outlier_count(matches, run)
    verdict = {0: "No case differs", 1: "One case differs"}.get(outlier_count, f"{outlier_count:,} cases differ")
    verdict += f" by more than {TIE} beyond noise{', first below' if outlier_count else ''}."
    return f"{letter} takes {units.factor(ratio.median)} the time of A (median of {cases}{spread}). {verdict}"


def headline(matches: Sequence[Match], letters: str) -> str:
    """What a page opens with: of two runs their ``sentence``; of more each run's ratio, or the ends of many.

    ``B takes 1.01×, C 1.20× and F 0.800× the time of A; D and E have no ratio over it. Cases that differ by more than
    2 % beyond noise: 12 in C and 3 in F.``
    """
    if len(letters) == 2:
        return sentence(matches, 1, letters[1])
    medians = {letter: ratio.median for run, letter in enumerate(letters) if run and (ratio := overall(matches, run))}
    if not medians:
        return "No run has a ratio over A."
    if len(medians) > RATIOS:
        ends = (units.factor(end(medians.values())) for end in (min, max))
        head = f"{len(medians)} runs take {' to '.join(ends)}"
    else:
        (first_letter, factor), *pairs = ((letter, units.factor(median)) for letter, median in medians.items())
        head = joined([f"{first_letter} takes {factor}", *(f"{letter} {factor}" for letter, factor in pairs)])
    missing = [letter for letter in letters[1:] if letter not in medians]
    ending = f"; {joined(missing)} {'have' if missing[1:] else 'has'} no ratio over it" if missing else ""
    return f"{head} the time of A{ending}. {_outliers(matches, {letters.index(letter): letter for letter in medians})}"


def _outlier_count(matches: Sequence[Match], run: int) -> int:
    """How many cases of a run differ from A beyond noise."""
    return sum(apart(match, run) > 0 for match in matches)


def _outliers(matches: Sequence[Match], letters: Mapping[int, str]) -> str:
    """In which of these runs cases differ from A beyond noise, and how many where they are few runs."""
    numbers = {letter: _outlier_count(matches, run) for run, letter in letters.items()}
    counts = [f"{number:,} in {letter}" for letter, number in numbers.items() if number]
    if not counts:
        return f"No case differs by more than {TIE} beyond noise."
    place = f"in {len(counts)} of them" if len(letters) > RATIOS else joined(counts)
    return f"Cases that differ by more than {TIE} beyond noise: {place}."


def _counts(matches: Sequence[Match], run: int) -> str:
    """Whether what is exact is the same in the cases that both runs have counted; empty without any."""
    pairs = [match for match in matches if any(_has_both(match, run, name) for name in COUNTS.values())]
    unequal_count = sum(match.counts_differ for match in pairs)
    if not pairs:
        return ""
    words = joined([word for word, name in COUNTS.items() if any(_has_both(match, run, name) for match in pairs)])
    cases = counted(len(pairs), "shared case")
    if unequal_count:
        return f" {words} differ in {unequal_count:,} of {cases}."
    return f" {words} are the same in {'all ' if pairs[1:] else ''}{cases}."


def _has_both(match: Match, run: int, name: str) -> bool:
    pair = (match.results[0], match.results[run])
    return all(result is not None and getattr(result, name) is not None for result in pair)


def without_ratio(matches: Sequence[Match], run: int) -> str:
    """How many of the cases of both runs one of them never measured undisturbed; empty where there are none."""
    pairs = [[result for at in (0, run) if (result := match.results[at])] for match in matches]
    number = sum(len(pair) > 1 and bool(withheld(pair)) for pair in pairs)
    cases = counted(number, "shared case was", "shared cases were")
    return f"{cases} never measured undisturbed in one of them" if number else ""


def trainings(run_results: Sequence[Sequence[Result]], letters: str) -> list[str]:
    """That what was trained or probed is compared nowhere on the page, where any run has some."""
    numbers = [sum(result.case.trial is not None for result in results) for results in run_results]
    if not any(numbers):
        return []
    counts = joined([f"{number:,} in {letter}" for letter, number in zip(letters, numbers, strict=False) if number])
    return [f"Trainings and linear read-outs ({counts}) are not compared here: each run’s own page has its accuracies."]


def notes(matches: Sequence[Match], run_results: Sequence[Sequence[Result]], run: int, letter: str) -> list[str]:
    """How well a ratio is known, what of it is the machine's, and whether the two runs say the same."""
    margin, ratio = noise(matches, run), overall(matches, run)
    texts = []
    if margin is not None:
        texts.append(
            f"{letter} over A: the ratio of a single case is known to ±{units.percent(margin)} (median of the cases)."
        )
    if ratio and (reason := without_ratio(matches, run)):
        texts.append(f"{letter} over A: {reason}, without a ratio.")
    if ratio:
        texts += _machine(
            [match._replace(results=(match.results[0], match.results[run])) for match in matches], ratio, letter
        )
    case_ids = {result.case.id for match in matches if match.elsewhere for result in match.results if result}
    first, other = ([result for result in run_results[at] if result.case.id not in case_ids] for at in (0, run))
    return [*texts, *_agreement(first, other, letter)]


def _machine(pairs: Sequence[Match], ratio: Interval, letter: str) -> list[str]:
    """What the reference workload says of the machine; latencies from several visits have most of it taken off."""
    slowdown = machine_slowdown(pairs)
    if not slowdown or abs(slowdown - 1) <= TOLERANCE:
        return []
    clause = f"took {units.factor(slowdown)} as long for the reference workload in {letter}"
    if any(all(result and len(result.record.visits) > 1 for result in match.results) for match in pairs):
        return [f"At the speeds that are stated the machine {clause}: as much of the ratio may be the machine’s."]
    net_factor = units.factor(ratio.median / slowdown)
    return [f"The machine itself {clause}; with that taken out {letter} takes {net_factor} the time of A."]


def _agreement(first_results: Sequence[Result], other_results: Sequence[Result], letter: str) -> list[str]:
    """Whether intervals meet, orders turn round and the pick is the same."""
    overlap = agreement(first_results, other_results)
    if not overlap or overlap.cases < 2:
        return []
    turns = f"{overlap.contradicted:,} turn" if overlap.contradicted > 1 else f"{overlap.contradicted or 'none'} turns"
    order_text = f"of {counted(overlap.apart, 'order')} that A is sure of {turns} round in {letter}"
    order_text = order_text if overlap.apart else "A is sure of no order of two of them"
    pick = "the pick of A is tied or first there too" if overlap.same_pick else "the pick is another"
    return [f"{units.percent(overlap.meet)} of the cases have 95 % intervals that meet; {order_text}; {pick}."]


def warnings(matches: Sequence[Match], differences: Sequence[Difference]) -> list[str]:
    """What makes the runs hard to compare, loudly."""
    texts = []
    names = [inner_title(difference.key) for difference in differences if difference.grave]
    if names and any(ratio for match in matches for ratio in match.ratios):
        texts.append(
            f"These runs were not made under the same conditions: {joined(names)} differ{'' if names[1:] else 's'}. "
            "A ratio here compares machines and settings as a whole; it says nothing of a change of code."
        )
    unequal_count = sum(match.counts_differ for match in matches)
    if unequal_count:
        texts.append(
            f"Parameters or FLOPs differ in {counted(unequal_count, 'case')}: "
            "these are exact, so the models are not the same."
        )
    case_ids = [match.case.id for match in matches if match.elsewhere]
    if case_ids:
        texts.append(
            f"{counted(len(case_ids), 'case')} without a ratio, such as {case_ids[0]}: not measured on the same "
            "machine and software in every run."
        )
    device_changes = [match for match in matches if len({result.case.device for result in match.results if result}) > 1]
    if device_changes:
        texts.append("The runs share no device: cases are matched across devices, and memory is not comparable.")
    return texts
