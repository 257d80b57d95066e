"""Plan what a suite measures: its selected cases, moved to a device, resolved, each once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from convbench.core import code, git
from convbench.core.case import Case, Choice, Whole, id_matches
from convbench.core.errors import ConvbenchError, SuiteError
from convbench.core.text import counted
from convbench.measure.machine.cgroup import available_cores
from convbench.measure.preflight import preflight, resolve
from convbench.suite import Suite
from convbench.suite.selection import Plan, Selection, idle

_IDLE = "--only {} matches none of the cases"
DIGIT = "#"
"""Stands for any digit in the ids of a case on hosts to come: no such id is known, but its parts are."""
DEVICES = ("cpu", "cuda", f"cuda:{DIGIT}", f"cuda:{2 * DIGIT}")
CORES = tuple(f"threads={count * DIGIT}" for count in range(1, 5))


def plan(suite: Suite, device: str, available_bytes: int, selection: Selection, host_cores: int = 0) -> Plan:
    """Return the selected cases on a device with ``available_bytes`` of memory for a model, resolved, each once.

    ``all`` threads are as many as the measuring host has cores, by default this machine. Shards are dealt from the
    cases as written, so that they are parts of one suite even if hosts have other devices and cores.

    Raises SuiteError if no case is selected, or none by one of the patterns, Impossible if some cannot be built.
    """
    cores = host_cores or available_cores()
    threads = {"all": None if cores == 1 else cores, 1: None}
    local_cases = {
        case: replace(case, device=device, threads=threads.get(case.threads, case.threads)) for case in suite.cases
    }
    ids = {case: _ids(local_cases[case], selection) for case in suite.cases}
    cases = [case for case in suite.cases if selection.keeps(ids[case])]
    if not cases:
        raise _no_case(suite, selection, ids.values())
    if pattern := idle(selection.only, ids.values()):
        raise _idle(suite, pattern)
    result = preflight([local_cases[case] for case in selection.part(cases)], available_bytes, suite.protocol.training)
    top = git.top(Path())
    elsewhere = code.elsewhere(top, sorted(set(_modules(result.cases)))) if top else None
    return replace(result, idle_skip=idle(selection.skip, ids.values()), elsewhere=elsewhere)


def _modules(cases: Iterable[Case]) -> Iterator[str]:
    """Yield the modules of the user's models, backbones and reducers."""
    for architecture in {case.architecture for case in cases}:
        if isinstance(architecture, Whole):
            choices: tuple[Choice, ...] = (architecture.model,)
        else:
            choices = (architecture.backbone, architecture.reducer)
        yield from (choice.name.partition(":")[0] for choice in choices if ":" in choice.name)


def refuse_idle(suite: Suite, selection: Selection) -> None:
    """Raise SuiteError if a pattern of ``only`` matches no case, whatever device and cores hosts to come may have."""
    ids = [_ids(case, selection) for case in suite.cases]
    if not idle(selection.only, ids):
        return
    names = {name for case in suite.cases for name in _ids_anywhere(case)}
    for pattern in selection.only:
        glob = re.sub(r"(\d)", rf"[\1{DIGIT}]", re.sub(r"\[.[^]]*]", "?", pattern))
        if not any(id_matches(name, [glob]) for name in names):
            is_only = not any(map(selection.keeps, ids))
            raise _no_case(suite, selection, ids) if is_only else _idle(suite, pattern)


def _no_case(suite: Suite, selection: Selection, ids: Collection[Collection[str]]) -> SuiteError:
    reason = f"none of its {counted(len(suite.cases), 'case')} is selected{selection.hint(ids)}"
    return SuiteError(f"{suite.path}: {reason}: `convbench run SUITE --dry-run` shows their names")


def _idle(suite: Suite, pattern: str) -> SuiteError:
    return SuiteError(f"{suite.path}: {_IDLE.format(pattern)}: `convbench run SUITE --dry-run` without it shows them")


def select(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """Return the selected cases, resolved, each once. Raises ConvbenchError for an ``only`` pattern without a case."""
    ids = {case: _ids(case, selection) for case in cases}
    selected_cases = list(dict.fromkeys(resolve(case) for case in cases if selection.keeps(ids[case])))
    if selected_cases and (pattern := idle(selection.only, ids.values())):
        raise ConvbenchError(f"{_IDLE.format(pattern)}: `convbench run SUITE --dry-run` shows their names")
    return selected_cases


def _ids(case: Case, selection: Selection) -> set[str]:
    """The ids by which a case can be selected: as written and, if the selection has patterns, as resolved."""
    ids = {case.id}
    if not (selection.only or selection.skip):
        return ids
    with suppress(ConvbenchError):
        ids.add(resolve(case).id)
    return ids


def _ids_anywhere(case: Case) -> set[str]:
    """Return the ids of a case, as written and as resolved, on every host; ``DIGIT`` is any digit of its numbers."""
    forms = [case]
    with suppress(ConvbenchError):
        forms.append(replace(resolve(replace(case, threads=None)), threads=case.threads))
    if case.threads == "all":
        forms += [replace(form, threads=None) for form in forms]
    ids = {replace(form, device=device).id for form in forms for device in DEVICES}
    return {name.replace("threads=all", cores) for name in ids for cores in CORES}
