"""The sweep: the matrix multiplied out, without what ``exclude`` removes, and with what ``include`` extends and adds.

The rules are those of a CI matrix:

1. The axes under ``matrix`` multiply. A matrix without a ``reducer`` (or ``model``) is no sweep by itself but a frame:
   each include entry is put into every combination of it.
2. ``exclude`` removes the combinations that agree with *every* key of one of its entries. A value may be a list (any of
   its values agrees); options that are not given agree with any: ``reducer: avg-k`` means any k, ``rnn: {hidden: 64}``
   any cell.
3. ``include`` comes after that; its values mean exactly what they would mean under ``matrix``. An entry *extends* every
   combination of the matrix that has its values on all the axes that the matrix sweeps: its other axes are set there,
   and a later entry overwrites an earlier one. An entry that agrees with no combination becomes one of its own, with
   the matrix's first value (else the default) on each axis that it leaves out, and with every value of an axis that the
   command line sets. A list in an entry makes an entry for each value of an axis that the matrix sweeps; lists on other
   axes multiply. A ``model`` takes the place of the axes backbone to head: an entry with a model never extends a
   combination with those axes, nor the reverse.
4. A combination whose variant and scenario are both values of the matrix, which has several of either, is left out if
   that variant cannot run in that scenario, as ONNX Runtime cannot train. So is one of several variants of the matrix
   if its options do not fit each other or the rest of the case. What an entry writes itself is never left out, and
   neither is the only combination: they are mistakes.
5. Equal cases are kept once; the variants of one model stand together, in the order in which the models first appear.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convbench.core import traits
from convbench.core.grouping import grouped
from convbench.core.record import Case, Choice, Clip, Parts, Recurrent
from convbench.suite.axes import OF_PARTS
from convbench.suite.axis_values import Axis, expand, picks, size
from convbench.suite.mistakes import Location, Mistakes

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
    """A combination of the matrix and the extensions that include entries have made of it."""

    combination: Combination
    extensions: list[Combination] = field(default_factory=list)
    is_written: bool = False
    """Whether an entry names both its variant and its scenario."""


class Sweep:
    """The combinations of a suite. A step that would exceed 10,000 raises SuiteError before it expands anything.

    ``bare_axes`` are the axes that the command line sets.
    """

    def __init__(
        self, matrix: Axes, exclude: Sequence[Axes], mistakes: Mistakes, bare_axes: Collection[str] = ()
    ) -> None:
        self.mistakes = mistakes
        self.bare_axes = bare_axes
        self.axes = matrix
        self.frame = not {"reducer", "model"} & set(matrix)
        self._limit(size(matrix), ("matrix",), _formula(matrix))
        combinations = [
            combination
            for combination in _combinations(matrix)
            if not any(_agrees(combination, entry) for entry in exclude)
        ]
        self.groups = [_Group(combination, [] if self.frame else [{}]) for combination in combinations]
        self.additions: list[Combination] = []

    def include(self, entry: Axes, at: Location) -> None:
        """Apply rule 3 to one entry."""
        self._limit(size(entry), at, _formula(entry))
        common_axes = {axis: values for axis, values in entry.items() if axis in self.axes}
        extras = _combinations({axis: values for axis, values in entry.items() if axis not in self.axes})
        groups_by_values = self._extendable_groups(entry, tuple(common_axes))
        matches = [(point, groups_by_values.get(tuple(point.values()), [])) for point in _combinations(common_axes)]
        bases = self._bases(entry)
        growth = [self._growth(groups, len(extras)) if groups else len(bases) * len(extras) for _, groups in matches]
        self._limit(len(self) + sum(growth), at)
        for point, groups in matches:
            for group in groups:
                group.extensions = self._extend(group.extensions, extras)
                group.is_written |= {"variant", "scenario"} <= set(entry)
            if not groups:
                self.additions += [_merge(base, point | extra) for base in bases for extra in extras]

    def cases(self) -> tuple[tuple[Case, ...], dict[Case, str]]:
        """Return every case once, the variants of one model together, and why impossible ones are left out."""
        crossings: list[Case] = []
        impossible_cases: dict[Case, str] = {}
        written_cases = list(map(_case, self.additions))
        for group in self.groups:
            for extra in group.extensions:
                case = _case(_merge(group.combination, extra))
                if reason := "" if group.is_written else self._fault(case, extra):
                    impossible_cases[case] = reason
                else:
                    crossings.append(case)
        if not crossings + written_cases:
            crossings, impossible_cases = list(impossible_cases), {}
        models: dict[Case, dict[Case, None]] = {}
        for case in crossings + written_cases:
            models.setdefault(case.eager, {})[case] = None
        cases = tuple(case for variants in models.values() for case in variants)
        return cases, impossible_cases

    def _fault(self, case: Case, extra: Combination) -> str:
        """Return why rule 4 leaves out a case to which entries added ``extra``; empty if it does not."""
        is_crossed = self._multiplies({"variant", "scenario"}, extra)
        fault = traits.misplaced(case) if is_crossed else ""
        return fault or (traits.unsuited(case) if self._multiplies({"variant"}, extra) else "")

    def _multiplies(self, axes: set[str], extra: Combination) -> bool:
        """Whether the matrix itself has several combinations of these axes, and no entry sets one of them."""
        return axes <= set(self.axes) and not axes & set(extra) and size({axis: self.axes[axis] for axis in axes}) > 1

    def __len__(self) -> int:
        return len(self.additions) + sum(len(group.extensions) for group in self.groups)

    def _extendable_groups(self, entry: Axes, axes: tuple[str, ...]) -> dict[tuple[Any, ...], list[_Group]]:
        """Return the groups that an entry could extend, by their values on these axes."""
        parts_for_model = "model" in self.axes and bool(set(OF_PARTS) & set(entry))
        if parts_for_model or ("model" in entry and "reducer" in self.axes):
            return {}
        return grouped(self.groups, lambda group: tuple(group.combination[axis] for axis in axes))

    def _bases(self, entry: Axes) -> list[Combination]:
        """Return what an entry that agrees with no combination takes over from the matrix."""
        first_values = {axis: next(iter(values[0])) for axis, values in self.axes.items()}
        axes = {axis: self.axes[axis] for axis in self.axes if axis in self.bare_axes and axis not in entry}
        return [first_values | combination for combination in _combinations(axes)]

    def _extend(self, combinations: list[Combination], extras: list[Combination]) -> list[Combination]:
        return combinations + extras if self.frame else [base | extra for base in combinations for extra in extras]

    def _growth(self, groups: Sequence[_Group], count: int) -> int:
        if self.frame:
            return count * len(groups)
        return sum(len(group.extensions) for group in groups) * (count - 1)

    def _limit(self, cases: int, at: Location, formula: str = "") -> None:
        if cases > MAX_CASES:
            self.mistakes.add(at, f"{cases:,} cases{formula} are more than {MAX_CASES:,}: split the suite")
            self.mistakes.raise_any()


def _combinations(axes: Axes) -> list[Combination]:
    return list(picks({axis: expand(values) for axis, values in axes.items()}))


def _formula(axes: Axes) -> str:
    sizes = {axis: size({axis: values}) for axis, values in axes.items()}
    return f" ({' x '.join(f'{number:,} {axis}' for axis, number in sizes.items() if number > 1)})"


def _agrees(combination: Combination, entry: Axes) -> bool:
    values = _merge(DEFAULTS, combination)
    return all(axis in values and any(value.matches(values[axis]) for value in entry[axis]) for axis in entry)


def _merge(base: Combination, extra: Combination) -> Combination:
    """Return ``extra`` over ``base``; a model takes the place of the parts, and parts take the place of a model."""
    replaced_axes = OF_PARTS if "model" in extra else ("model",) if set(OF_PARTS) & set(extra) else ()
    return {axis: value for axis, value in base.items() if axis not in replaced_axes} | extra


def _case(combination: Combination) -> Case:
    values = DEFAULTS | combination
    architecture = values.get("model") or Parts(**{axis: values[axis] for axis in OF_PARTS})
    threads = None if values["threads"] == 1 else values["threads"]
    return Case(architecture, values["clip"], values["variant"], values["scenario"], threads=threads)
