"""What a chart of costs shows: the view that it begins with, and which of its points lie on one curve."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from convbench.analysis.costs.likeness import likeness, one_variant
from convbench.analysis.costs.ranking import answering_group
from convbench.analysis.results import Result
from convbench.core.grouping import grouped
from convbench.core.record import Parts

COLUMNS = ("device", "threads", "clip", "scenario", "variant", "backbone", "rnn", "layer_norm", "head", "environment")


@dataclass(frozen=True)
class InitialView:
    """The first view of a run: one value for each of ``COLUMNS``, so that the reducers drawn together are alike.

    A column without a value filters nothing. A case to which a column does not apply stays in view, such as a user's
    own model, which has no backbone.
    """

    values: Mapping[str, str]

    def __contains__(self, result: Result) -> bool:
        columns = _columns(result)
        return all(columns.get(name, value) == value for name, value in self.values.items())


def initial_view(results: Sequence[Result]) -> InitialView | None:
    """Return the view to begin with, which is what the headline is about; None if nothing was measured.

    If no variant has two models, as in a comparison of runtimes on one model, all variants are in view.
    """
    members = answering_group(results)
    group = one_variant(members)
    if not group:
        return None
    columns = _columns(group[0])
    return InitialView({name: columns[name] for name in columns if name != "variant" or group[1:] or not members[1:]})


def _columns(result: Result) -> dict[str, str]:
    """Return the case's value in each of ``COLUMNS`` that applies to it."""
    axes = {
        **result.case.axes,
        "threads": result.group.threads,
        "environment": result.record.environment or None,  # a merged run may have several
    }
    return {name: str(axes[name]) for name in COLUMNS if axes[name] is not None}


def curves(results: Sequence[Result]) -> list[int | None]:
    """Return for each result the number of its curve over LSTM input sizes, None for a point on no curve.

    A curve is one reducer in one variant on one backbone. If the size follows from the feature map, another size needs
    another backbone, so the points form no curve.
    """
    numbers: list[int | None] = [None] * len(results)
    indices = [i for i, result in enumerate(results) if result.lstm_input]
    groups = [
        members
        for members in grouped(indices, lambda i: _same_model(results[i])).values()
        if len({results[i].lstm_input for i in members}) > 1
    ]
    for number, members in enumerate(groups):
        for i in members:
            numbers[i] = number
    return numbers


def _same_model(result: Result) -> Hashable:
    parts = result.case.architecture
    assert isinstance(parts, Parts)
    return (likeness(result), parts.reducer)
