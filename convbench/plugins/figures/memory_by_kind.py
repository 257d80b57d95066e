"""What was alive at the peak of memory, by kind, with the prediction beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.ranking import largest_group
from convbench.analysis.results import Result, measured_results, typical
from convbench.core import metrics
from convbench.core.record import EAGER, Parts
from convbench.core.registry import figures
from convbench.core.scales import percent
from convbench.report.drawing import Drawing
from convbench.report.drawing.bars import Margins, Shares, bars, cut_note
from convbench.report.drawing.style import HUES, short_name
from convbench.report.words import units

ROWS = 16
EXACT = 5e-4
_HUES = {
    "weights": 0, "inputs": 7, "activations": 1, "workspace": 2, "gradients": 3, "optimizer": 4, "temporaries": 5,
}  # fmt: skip
KINDS = {kind: (kind, HUES[number]) for kind, number in _HUES.items()}
"""The label and colour of each kind."""

PEAKS = (metrics.CPU_PEAK, metrics.CUDA_PEAK)


@figures.register("memory-by-kind")
def memory_by_kind(results: Sequence[Result]) -> Iterator[Drawing]:
    """Peak memory by kind, one bar per eager case; one drawing per scenario and device."""
    eager_results = [result for result in measured_results(results) if result.case.variant_name == EAGER]
    for scenario, device in dict.fromkeys((result.case.scenario, result.case.device) for result in eager_results):
        group = [result for result in eager_results if (result.case.scenario, result.case.device) == (scenario, device)]
        cases = largest_group([result for result in group if by_kind(result)])
        shares = {result: by_kind(result) for result in cases}
        if shares:
            yield _draw(_select(shares, headline_of(group).pick), scenario, device)


def _select(shares: Shares, pick: Result | None) -> Shares:
    """Return the headline's case and the largest others, smallest first."""
    results = sorted(shares, key=lambda result: (sum(shares[result].values()), result.case.id))
    other_results = [result for result in results if not pick or result.case.architecture != pick.case.architecture]
    omissions = set(other_results[: max(0, len(results) - ROWS)])
    return {result: shares[result] for result in results if result not in omissions}


def by_kind(result: Result) -> dict[str, float]:
    """Return the bytes at the peak by kind; empty if they were not measured."""
    for peak in PEAKS:
        sizes = {kind: value for kind in KINDS if (value := typical(result.record, peak.part(kind))) is not None}
        if sum(sizes.values()) > 0:
            return sizes
    return {}


def error_of_prediction(result: Result) -> float | None:
    """Return predicted over measured peak, less one; None if one of them is missing."""
    prediction, peak = typical(result.record, metrics.PREDICTED), result.memory
    return prediction / peak - 1 if prediction and peak else None


def _draw(shares: Shares, scenario: str, device: str) -> Drawing:
    ends = [units.size(sum(share.values())) + _words(error_of_prediction(result)) for result, share in shares.items()]
    axes = bars(shares, KINDS, ends, Margins(right=140, legend=-0.7, columns=4), "B")
    return Drawing(
        name=f"memory-by-kind-{scenario}-{device.replace(':', '')}",
        title=f"Peak memory by kind, {', '.join(filter(None, (_backbone(shares), scenario, device)))}",
        caption=(
            "How to read this: what was alive at the moment of the peak of one eager call. Right: the peak and how "
            f"far the prediction from shapes alone is off. Shorter is better.{cut_note(shares)}"
        ),
        figure=axes.figure,
    )


def _backbone(shares: Shares) -> str:
    architecture = next(iter(shares)).case.architecture
    return short_name(str(architecture.backbone)) if isinstance(architecture, Parts) else ""


def _words(error: float | None) -> str:
    if error is None:
        return ""
    return ", as predicted" if abs(error) < EXACT else f", predicted {percent(error, signed=True)}"
