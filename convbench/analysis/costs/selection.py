"""What a reader is shown first, and which points of a cost curve belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from convbench.analysis.costs.headlines import widest
from convbench.analysis.results import Result, measured
from convbench.core.record import Parts

FEW = 150
"""Up to this many points all variants are shown at first, above it only the variant that most cases have."""


@dataclass(frozen=True)
class Opening:
    """The first view of a run: one device, clip and scenario; ``variant`` is None for all of them."""

    device: str
    clip: str
    scenario: str
    variant: str | None

    def __contains__(self, one: Result) -> bool:
        case = one.case
        return (case.device, str(case.clip), case.scenario) == (self.device, self.clip, self.scenario) and (
            self.variant in (None, case.variant_name)
        )


def opening(found: Sequence[Result]) -> Opening | None:
    """Where to begin; None where nothing was measured."""
    group = widest(measured(found))
    if not group:
        return None
    case = group[0].case
    everything = Opening(case.device, str(case.clip), case.scenario, None)
    variants = Counter(one.case.variant_name for one in measured(found) if one in everything)
    if variants.total() <= FEW:
        return everything
    return Opening(case.device, str(case.clip), case.scenario, variants.most_common(1)[0][0])


def curves(found: Sequence[Result]) -> list[int | None]:
    """For each result the number of the curve over LSTM input sizes it lies on, None for a point of its own.

    A curve is one reducer in one variant on one backbone where the size is free; where the size follows from the
    feature map, the backbone's and reducer's options may vary along it.
    """
    numbers: list[int | None] = [None] * len(found)
    count = 0
    for key in (_same_model, _same_family):
        left = [i for i, one in enumerate(found) if numbers[i] is None and one.lstm_input]
        for members in _gather(found, left, key):
            if len({found[i].lstm_input for i in members}) > 1:
                for i in members:
                    numbers[i] = count
                count += 1
    return numbers


def _gather(found: Sequence[Result], left: Sequence[int], key: Callable[[Result], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i in left:
        groups[key(found[i])].append(i)
    return list(groups.values())


def _same_model(one: Result) -> Hashable:
    parts = one.case.architecture
    assert isinstance(parts, Parts)
    return (one.group, one.case.variant_name, parts.backbone, parts.reducer, parts.rnn, parts.layer_norm, parts.head)


def _same_family(one: Result) -> Hashable:
    parts = one.case.architecture
    assert isinstance(parts, Parts)
    names = (parts.backbone.name, parts.reducer.name)
    return (one.group, one.case.variant_name, names, parts.rnn, parts.layer_norm, parts.head)
