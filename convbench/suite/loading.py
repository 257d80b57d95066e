"""Read YAML into a Suite: find, read, parse, override, check everything, multiply out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from convbench.core.errors import SuiteError
from convbench.core.imports import near
from convbench.core.record import Case, Choice, Protocol, Whole
from convbench.core.text import counted, value_text
from convbench.suite import plugs
from convbench.suite.axes import AXES, OF_PARTS, AxesLayout, ClipLayout, PatternLayout, RecurrentLayout
from convbench.suite.axis_values import AxisValues, Plain, as_list, expand
from convbench.suite.layout import KEYS, SuiteLayout, TrainingLayout, sections
from convbench.suite.matrix import Axes, Sweep
from convbench.suite.mistakes import Location, Mistakes, quoted
from convbench.suite.overrides import WITHOUT_QUALITY, apply, asks_only_metrics, bare_axes_of
from convbench.suite.source import find, loader, parse, read
from convbench.suite.trials import trial_cases

PARKED = "x-"
"""Top-level keys with this prefix are the writer's own: a place for anchors."""
_NOTHING_TO_TRY = (
    "quality: there is no architecture to try: it needs one with a reducer (a whole model of your own has no head that "
    "could be exchanged for a task's), and training.only must match it"
)

OF_DATA = "suite"
"""Name of a suite that is made from data, and the place where its mistakes are reported."""


@dataclass(frozen=True, repr=False)
class Suite:
    """What to measure and how. ``text`` is the YAML as read; ``metrics`` names probes, empty for all of them.

    ``left_out`` are the cases of quality that were left out because the overrides ask only for metrics; ``overrides``
    then contain ``quality=none``. ``impossible`` maps the combinations of the matrix that are left out to the
    reason: their variant cannot run in their scenario, or with its options.
    """

    name: str
    path: str
    text: str
    cases: tuple[Case, ...]
    protocol: Protocol
    metrics: tuple[str, ...]
    profile: bool = False
    overrides: tuple[str, ...] = ()
    description: str = ""
    left_out: tuple[Case, ...] = ()
    impossible: Mapping[Case, str] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"Suite({self.name!r}, {counted(len(self.cases), 'case')})"

    @property
    def source(self) -> str | dict[str, Any]:
        """What the suite was read from: its file, relative to the working directory, its name, or the data itself."""
        if self.path == OF_DATA:
            data: dict[str, Any] = loader().load(self.text)
            return data
        return near(self.path) if Path(self.path).suffix else self.path


def load(source: str, overrides: Sequence[str] = ()) -> Suite:
    """Return the suite at a path, or the shipped one of that name, with ``key=value`` overrides applied.

    Raises SuiteError with every mistake, a line each, as ``file:line:column: key: what is wrong``.
    """
    path = find(source)
    mistakes = Mistakes(source)
    return _build(read(path, mistakes), mistakes, path.stem, overrides)


def from_data(data: Mapping[str, Any], overrides: Sequence[str] = ()) -> Suite:
    """Return the suite that plain data describes, as ``load`` reads it from a file; its ``text`` is the data as YAML.

    Raises SuiteError with every mistake, a line each, as ``suite: include[2].reducer: what is wrong``, and for data
    that YAML cannot express.
    """
    text = StringIO()
    try:
        plain_text = json.dumps(data, default=_plain_data, ensure_ascii=False)
        writer = YAML(typ="safe", pure=True)
        writer.allow_unicode = "\x85" not in plain_text  # else it is written bare, and read as a line break
        writer.dump(json.loads(plain_text), text)
    except (TypeError, ValueError, RecursionError) as error:
        raise SuiteError(f"a suite is plain data (text, numbers, lists, mappings): {error}") from error
    return _build(text.getvalue(), Mistakes(OF_DATA, has_lines=False), OF_DATA, overrides)


def _plain_data(value: object) -> Any:
    """Return plain data for a value that ``json`` does not know. Raises TypeError if it is not plain data."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, range):
        return list(value)
    if isinstance(value, PurePath):
        return str(value)
    if callable(to_list := getattr(value, "tolist", None)):  # numbers and arrays of numpy
        return to_list()
    remedy = ": register it, or name it as module:name" if callable(value) else ""
    raise TypeError(f"{value_text(value)} is not plain data{remedy}")


def _build(text: str, mistakes: Mistakes, stem: str, overrides: Sequence[str]) -> Suite:
    data = _data(text, mistakes)
    for override in overrides:
        apply(data, override, mistakes)
    data = {key: value for key, value in data.items() if value is not None or key not in KEYS[""]}
    layout = _layout(data, mistakes)
    axes = {at: _axes(section, at, mistakes) for at, section in sections(data)}
    tasks = _tasks(data, mistakes)
    settings = _model_settings(data, mistakes)
    metrics = _entries(plugs.probe, data.get("metrics", []), ("metrics",), mistakes)
    mistakes.raise_any()
    assert layout is not None
    possible_cases, impossible = _cases(axes, bare_axes_of(overrides), mistakes)
    cases = tuple(_apply_settings(settings, case) for case in possible_cases)
    _refuse_namesakes(cases, mistakes)
    _need_own_model(settings, cases, mistakes)
    trials = trial_cases(cases, layout.quality, layout.training, tasks, mistakes)
    if layout.quality != "none" and not trials:
        mistakes.fail(_NOTHING_TO_TRY)
    names = tuple(dict.fromkeys(metrics))
    left_out = trials if names and asks_only_metrics(overrides) else ()
    return Suite(
        name=layout.name or stem,
        path=mistakes.source,
        text=text,
        cases=cases if left_out else cases + trials,
        protocol=layout.protocol.build(layout.training),
        metrics=names,
        profile=layout.profile,
        overrides=(*overrides, WITHOUT_QUALITY) if left_out else tuple(overrides),
        description=layout.description,
        left_out=left_out,
        impossible={_apply_settings(settings, case): reason for case, reason in impossible.items()},
    )


def _data(text: str, mistakes: Mistakes) -> dict[str, Any]:
    data = parse(text, mistakes)
    if data is None:
        mistakes.raise_any()
        mistakes.fail("is empty: a suite needs a matrix with a reducer")
    if not isinstance(data, dict):
        mistakes.fail(f"{quoted(data)} is not a suite: a suite is a mapping of {', '.join(KEYS[''])}")
    return {key: value for key, value in data.items() if not key.startswith(PARKED)}


def _model_settings(data: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """Return the settings that a suite makes for all its models at once; pydantic reports those of another type."""
    texts = {key: data[key] for key in ("loss", "step") if isinstance(data.get(key), str)}
    paths = {key: plugs.function(texts.get(key), (key,), mistakes) for key in ("loss", "step")}
    flops = data.get("flops")
    is_plain = isinstance(flops, dict) and all(isinstance(path, str) for path in flops.values())
    return {**paths, "flops": plugs.formulas(flops if is_plain else {}, ("flops",), mistakes)}


def _apply_settings(settings: Mapping[str, Any], case: Case) -> Case:
    """Return the case with the suite's settings for a user's model, unless the model has its own."""
    model = case.architecture
    if not isinstance(model, Whole) or not any(settings.values()):
        return case
    paths = {key: getattr(model, key) or settings[key] for key in ("loss", "step")}
    flops = {**dict(settings["flops"]), **dict(model.flops)}
    return replace(case, architecture=replace(model, **paths, flops=tuple(sorted(flops.items()))))


def _refuse_namesakes(cases: Sequence[Case], mistakes: Mistakes) -> None:
    """Raise SuiteError if different cases have one name, by which their results would be joined."""
    name, count = Counter(case.id for case in cases).most_common(1)[0]
    if count > 1:
        mistakes.fail(
            f"{count} different cases are called {name}, such as for 1 and '1': let their values look different"
        )


def _need_own_model(settings: Mapping[str, Any], cases: Sequence[Case], mistakes: Mistakes) -> None:
    """Note a mistake if the suite has settings for models of the user's own, but no such model."""
    if not any(isinstance(case.architecture, Whole) for case in cases):
        for key in (key for key, value in settings.items() if value):
            mistakes.add_key((key,), f"{key} is for the model: of a suite, and this suite has none: leave {key} out")
    mistakes.raise_any()


def _layout(data: dict[str, Any], mistakes: Mistakes) -> SuiteLayout | None:
    try:
        return SuiteLayout.model_validate(data)
    except ValidationError as error:
        mistakes.add_validation(error, KEYS)
        return None


def _axes(section: dict[str, Any], at: Location, mistakes: Mistakes) -> Axes:
    """Return the axes of a section with the values of each; empty if pydantic has already found a mistake in it."""
    entries = {
        axis: _entries(read, section[axis], (*at, axis), mistakes)
        for axis, read in plugs.READERS.items()
        if axis in section
    }
    if "model" in section and (parts := [axis for axis in OF_PARTS if axis in section]):
        mistakes.add_key((*at, "model"), f"model takes the place of {parts[0]}: give one of them an include entry")
    try:
        layout = (PatternLayout if at[0] == "exclude" else AxesLayout).model_validate(section)
    except ValidationError:
        return {}
    names = [axis for axis in AXES if axis in section]
    return {axis: entries[axis] if axis in entries else _values(getattr(layout, axis)) for axis in names}


def _entries(read: Callable[[Any, Location, Mistakes], Any], raw: Any, at: Location, mistakes: Mistakes) -> list[Any]:
    """Return what ``read`` makes of a value, or of each value of a list, without those in which it notes a mistake."""
    entries = [read(item, (*at, i), mistakes) for i, item in enumerate(as_list(raw))]
    return [entry for entry in entries if entry is not None]


def _tasks(data: dict[str, Any], mistakes: Mistakes) -> list[Choice]:
    section = data.get("training")
    raw = section.get("tasks") if isinstance(section, dict) else None
    raw = TrainingLayout().tasks if raw is None else raw
    return expand(_entries(plugs.task, raw, ("training", "tasks"), mistakes))


def _values(items: list[Any]) -> list[AxisValues]:
    """Return clips and recurrent stages with the fields that were given; anything else stands for itself."""
    return [item.shape() if isinstance(item, ClipLayout | RecurrentLayout) else Plain((item,)) for item in items]


def _cases(
    axes: Mapping[Location, Axes], bare_axes: Collection[str], mistakes: Mistakes
) -> tuple[tuple[Case, ...], dict[Case, str]]:
    """Return the cases of the sweep, and why it leaves out impossible combinations."""
    matrix = axes.get(("matrix",), {})
    include = {at: entry for at, entry in axes.items() if at[0] == "include"}
    _need_models(matrix, include, mistakes)
    exclude = {at: entry for at, entry in axes.items() if at[0] == "exclude"}
    later_axes = {axis for entry in include.values() for axis in entry} - set(matrix)
    later_axes |= set() if {"reducer", "model"} & set(matrix) else {"reducer", "model"}
    for at, entry in exclude.items():
        for axis in (axis for axis in entry if axis in later_axes):
            reason = f"the matrix has no {axis}, and include comes after exclude"
            mistakes.add_key((*at, axis), f"{reason}: leave what you do not want out of the include entry")
    mistakes.raise_any()
    sweep = Sweep(matrix, list(exclude.values()), mistakes, bare_axes)
    for at, entry in include.items():
        sweep.include(entry, at)
    cases, impossible = sweep.cases()
    if not cases:
        mistakes.add(("exclude",), "leaves nothing of the sweep")
    mistakes.raise_any()
    return cases, impossible


def _need_models(matrix: Axes, include: Mapping[Location, Axes], mistakes: Mistakes) -> None:
    """Note a mistake for combinations that would have neither a reducer nor a model."""
    kinds = {"reducer", "model"}
    if not include and not kinds & set(matrix):
        mistakes.add(("matrix",), "needs a reducer (or a model)")
    for at, entry in include.items():
        parts_for_model = "model" in matrix and bool(set(OF_PARTS) & set(entry))
        if not kinds & set(entry) and (parts_for_model or not kinds & set(matrix)):
            mistakes.add(at, "needs a reducer (or a model): the matrix gives it none")
    mistakes.raise_any()
