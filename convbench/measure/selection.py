"""The selected cases of a suite, moved to a device and resolved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from convbench.core.errors import ConvbenchError, SuiteError
from convbench.core.record import Case
from convbench.core.text import counted
from convbench.measure.machine.cgroup import available_cores
from convbench.measure.preflight import preflight, resolve
from convbench.suite import Suite
from convbench.suite.selection import Plan, Selection

_IDLE = "--only {} matches none of the cases"


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
        reason = f"none of its {counted(len(suite.cases), 'case')} is selected{selection.hint(ids.values())}"
        raise SuiteError(f"{suite.path}: {reason}: `convbench run --dry-run` shows their names")
    if pattern := selection.idle(ids.values()):
        raise SuiteError(f"{suite.path}: {_IDLE.format(pattern)}: `convbench run --dry-run` without it shows them")
    result = preflight([local_cases[case] for case in selection.part(cases)], available_bytes, suite.protocol.training)
    return replace(result, idle_skip=selection.idle_skip(ids.values()))


def select(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """Return the selected cases, resolved, each once. Raises ConvbenchError for an ``only`` pattern without a case."""
    ids = {case: _ids(case, selection) for case in cases}
    selected_cases = list(dict.fromkeys(resolve(case) for case in cases if selection.keeps(ids[case])))
    if selected_cases and (pattern := selection.idle(ids.values())):
        raise ConvbenchError(f"{_IDLE.format(pattern)}: `convbench run --dry-run` shows their names")
    return selected_cases


def _ids(case: Case, selection: Selection) -> set[str]:
    """The ids by which a case can be selected: as written and, if the selection has patterns, as resolved."""
    ids = {case.id}
    if not (selection.only or selection.skip):
        return ids
    with suppress(ConvbenchError):
        ids.add(resolve(case).id)
    return ids
