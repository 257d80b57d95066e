"""The sweep: the matrix multiplied out, less what ``exclude`` removes, with what ``include`` extends and adds.

The rules are those of a CI matrix:

1. The axes under ``matrix`` multiply. A matrix without a ``reducer`` (or ``model``) is no sweep of its own but a frame:
   each include entry is put into every combination of it.
2. ``exclude`` removes the combinations that agree with *every* key of one of its entries. A value may be a list (any of
   them); options that are not given are free: ``reducer: avg-k`` means any k, ``rnn: {hidden: 64}`` any cell.
3. ``include`` comes after that, its values meaning exactly what they would mean under ``matrix``. An entry *extends*
   every combination of the matrix that has its values on all the axes that the matrix sweeps: its other axes are set
   there, a later entry overwriting an earlier one. An entry that agrees with no combination is one of its own, with the
   matrix's first value (else the default) on each axis that it leaves out, and every value of an axis that the command
   line sets. A list in an entry is an entry for each
   value of an axis that the matrix sweeps; lists on other axes multiply. A ``model`` takes the place of the axes
   backbone to head: an entry with the one never extends a combination with the others.
4. Equal cases are kept once; the variants of one model stand together, in the order in which the models first appear.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convbench.core.record import Case, Choice, Clip, Parts, Recurrent
from convbench.suite.axes import OF_PARTS
from convbench.suite.mistakes import Location, Mistakes
from convbench.suite.values import Axis, expand, picks, size

MAX_CASES = 10_000
Axes = Mapping[str, Axis]
Combination = dict[str, Any]
DEFAULTS: Combination = {
    "backbone": Choice("conv"),
    "lstm_input": None,
    "rnn": Recurrent(),
    "layer_norm": False,
    "head": None,
    "clip": Clip(),
    "scenario": "inference",
    "variant": (),
    "threads": 1,
}


@dataclass
class _Group:
    """A combination of the matrix and what include entries have set on it."""

    swept: Combination
    extensions: list[Combination] = field(default_factory=list)


class Sweep:
    """The combinations of a suite. A step that would exceed 10,000 raises SuiteError before it expands anything.

    ``whole`` are the axes that the command line sets.
    """

    def __init__(self, matrix: Axes, exclude: Sequence[Axes], mistakes: Mistakes, whole: Collection[str] = ()) -> None:
        self.mistakes = mistakes
        self.whole = whole
        self.axes = matrix
        self.frame = not {"reducer", "model"} & set(matrix)
        self._limit(size(matrix), ("matrix",), _formula(matrix))
        combinations = [
            combination
            for combination in _expanded(matrix)
            if not any(_agrees(combination, entry) for entry in exclude)
        ]
        self.groups = [_Group(combination, [] if self.frame else [{}]) for combination in combinations]
        self.added: list[Combination] = []

    def include(self, entry: Axes, at: Location) -> None:
        """Rule 3 for one entry."""
        self._limit(size(entry), at, _formula(entry))
        shared = {axis: values for axis, values in entry.items() if axis in self.axes}
        others = _expanded({axis: values for axis, values in entry.items() if axis not in self.axes})
        alike = self._alike(entry, tuple(shared))
        matches = [(agreed, alike.get(tuple(agreed.values()), [])) for agreed in _expanded(shared)]
        bases = self._bases(entry)
        growth = [self._growth(matched, len(others)) if matched else len(bases) * len(others) for _, matched in matches]
        self._limit(len(self) + sum(growth), at)
        for agreed, matched in matches:
            for group in matched:
                group.extensions = self._extended(group.extensions, others)
            if not matched:
                self.added += [_merged(base, agreed | other) for base in bases for other in others]

    def cases(self) -> tuple[Case, ...]:
        """Every case once, the variants of one model together."""
        extended = [_merged(group.swept, extra) for group in self.groups for extra in group.extensions]
        together: dict[Case, dict[Case, None]] = {}
        for case in map(_case, extended + self.added):
            together.setdefault(case.eager, {})[case] = None
        return tuple(case for variants in together.values() for case in variants)

    def __len__(self) -> int:
        return len(self.added) + sum(len(group.extensions) for group in self.groups)

    def _alike(self, entry: Axes, axes: tuple[str, ...]) -> dict[tuple[Any, ...], list[_Group]]:
        """The groups that an entry could extend, by their values on these axes."""
        alike: dict[tuple[Any, ...], list[_Group]] = {}
        parts_for_model = "model" in self.axes and bool(set(OF_PARTS) & set(entry))
        if parts_for_model or ("model" in entry and "reducer" in self.axes):
            return alike
        for group in self.groups:
            alike.setdefault(tuple(group.swept[axis] for axis in axes), []).append(group)
        return alike

    def _bases(self, entry: Axes) -> list[Combination]:
        """What an entry that agrees with nothing takes over from the matrix."""
        first = {axis: next(iter(values[0])) for axis, values in self.axes.items()}
        swept = {axis: self.axes[axis] for axis in self.axes if axis in self.whole and axis not in entry}
        return [first | picked for picked in _expanded(swept)]

    def _extended(self, old: list[Combination], new: list[Combination]) -> list[Combination]:
        return old + new if self.frame else [before | extra for before in old for extra in new]

    def _growth(self, matched: Sequence[_Group], new: int) -> int:
        if self.frame:
            return new * len(matched)
        return sum(len(group.extensions) for group in matched) * (new - 1)

    def _limit(self, cases: int, at: Location, formula: str = "") -> None:
        if cases > MAX_CASES:
            self.mistakes.add(at, f"{cases:,} cases{formula} are more than {MAX_CASES:,}: split the suite")
            self.mistakes.raise_any()


def _expanded(axes: Axes) -> list[Combination]:
    return list(picks({axis: expand(values) for axis, values in axes.items()}))


def _formula(axes: Axes) -> str:
    sizes = {axis: size({axis: values}) for axis, values in axes.items()}
    return f" ({' x '.join(f'{number:,} {axis}' for axis, number in sizes.items() if number > 1)})"


def _agrees(combination: Combination, entry: Axes) -> bool:
    actual = _merged(DEFAULTS, combination)
    return all(axis in actual and any(value.matches(actual[axis]) for value in entry[axis]) for axis in entry)


def _merged(base: Combination, extra: Combination) -> Combination:
    """``extra`` over ``base``, a model taking the place of the parts and the parts that of a model."""
    replaced = OF_PARTS if "model" in extra else ("model",) if set(OF_PARTS) & set(extra) else ()
    return {axis: value for axis, value in base.items() if axis not in replaced} | extra


def _case(combination: Combination) -> Case:
    full = DEFAULTS | combination
    architecture = full.get("model") or Parts(**{axis: full[axis] for axis in OF_PARTS})
    threads = None if full["threads"] == 1 else full["threads"]
    return Case(architecture, full["clip"], full["variant"], full["scenario"], threads=threads)
