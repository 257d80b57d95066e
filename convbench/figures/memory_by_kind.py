"""What stood at the peak of memory, by kind, and the prediction beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.results import Result, measured, typical
from convbench.figures import Drawing, scales
from convbench.figures.style import HUES, MUTED, PAPER, TEXT, canvas, short
from convbench.registry import figures

ROWS = 16
EXACT = 5e-4
KINDS = {
    "weights": 0, "inputs": 7, "activations": 1, "workspace": 2, "gradients": 3, "optimizer": 4, "temporaries": 5,
}  # fmt: skip
"""Each kind and the number of its hue."""

STEMS = ("cpu_peak_tensor_bytes", "cuda_peak_allocated_bytes")


@figures.register("memory-by-kind")
def memory_by_kind(found: Sequence[Result]) -> Iterator[Drawing]:
    """The peak by kind, a bar per case of the eager models; one drawing a scenario and device."""
    eager = [one for one in measured(found) if one.case.variant_name == "eager"]
    for scenario, device in dict.fromkeys((one.case.scenario, one.case.device) for one in eager):
        rows = [one for one in eager if (one.case.scenario, one.case.device) == (scenario, device)]
        shares = {one: share for one in rows if (share := by_kind(one))}
        largest = dict(sorted(shares.items(), key=lambda row: (sum(row[1].values()), row[0].case.id))[-ROWS:])
        if largest:
            yield _draw(largest, scenario, device)


def by_kind(one: Result) -> dict[str, float]:
    """Bytes at the peak by kind, empty where they were not measured."""
    for stem in STEMS:
        found = {kind: value for kind in KINDS if (value := typical(one.record, f"{stem}_{kind}")) is not None}
        if sum(found.values()) > 0:
            return found
    return {}


def error_of_prediction(one: Result) -> float | None:
    """Predicted over measured peak, less one; None where one of them is missing."""
    predicted, peak = typical(one.record, "predicted_peak_bytes"), one.memory
    return predicted / peak - 1 if predicted and peak else None


def _draw(shares: Mapping[Result, Mapping[str, float]], scenario: str, device: str) -> Drawing:
    axes = canvas(height=66 + 21 * len(shares), left=128, right=150, top=44, bottom=22)
    _bars(axes, shares)
    for row, (one, share) in enumerate(shares.items()):
        error = error_of_prediction(one)
        said = scales.label(sum(share.values()), "B", 3) + _words(error)
        axes.text(1.015, row, said, va="center", fontsize=9, color=TEXT)
    axes.set_yticks(range(len(shares)), [_name(one) for one in shares], fontsize=9)
    axes.set_ylim(len(shares) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.5, 1), ("0 %", "50 %", "100 %"), fontsize=9)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.4, 1.0), ncols=4, frameon=False, fontsize=9, labelcolor=TEXT,
        borderpad=0.2, handlelength=0.9, handleheight=0.9, columnspacing=1.1, handletextpad=0.4,
    )  # fmt: skip
    return Drawing(
        name=f"memory-by-kind-{scenario}-{device.replace(':', '')}",
        title=f"Peak memory by kind, {scenario}, {device}",
        caption=(
            "How to read this: what was alive at the moment of the peak of one eager call, as shares of it. Right: "
            "the peak and how far the prediction from shapes alone is off. Shorter is not better: bars are shares."
        ),
        figure=axes.figure,  # type: ignore[arg-type]
    )


def _words(error: float | None) -> str:
    if error is None:
        return ""
    return ", as predicted" if abs(error) < EXACT else f", predicted {100 * error:+.1f} %"


def _bars(axes: MplAxes, shares: Mapping[Result, Mapping[str, float]]) -> None:
    present = [kind for kind in KINDS if any(share.get(kind) for share in shares.values())]
    ends = [0.0] * len(shares)
    for kind in present:
        widths = [share.get(kind, 0.0) / sum(share.values()) for share in shares.values()]
        axes.barh(range(len(shares)), widths, left=ends, height=0.68, color=HUES[KINDS[kind]], edgecolor=PAPER,
                  linewidth=0.6, label=kind)  # fmt: skip
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.axvline(0, color=MUTED, linewidth=0.8)


def _name(one: Result) -> str:
    return short(f"{one.series} {one.lstm_input:,}" if one.lstm_input else one.series, 24)
