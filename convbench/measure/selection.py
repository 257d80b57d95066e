"""Which cases of a suite are measured: picked by name and shard, moved to a device and resolved."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from convbench.core.errors import ConvbenchError, SuiteError
from convbench.core.record import Case
from convbench.measure.machine.environment import available_cores
from convbench.measure.preflight import Plan, preflight, resolve
from convbench.suite import Suite


@dataclass(frozen=True)
class Selection:
    """Which of a suite's cases: by glob over the id or one of its parts, and by shard (i of n)."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    shard: tuple[int, int] = (1, 1)

    def keeps(self, case: Case) -> bool:
        """Variants of one model share a shard, so that they are measured on the same machine."""
        names = _names(case)
        wanted = not self.only or any(fnmatchcase(name, pattern) for pattern in self.only for name in names)
        unwanted = any(fnmatchcase(name, pattern) for pattern in self.skip for name in names)
        index, shards = self.shard
        return wanted and not unwanted and zlib.crc32(case.eager.id.encode()) % shards == index - 1


def plan(suite: Suite, device: str, available_bytes: int, selection: Selection) -> Plan:
    """The selected cases on a device that a model may take so much memory of, resolved, each once.

    ``all`` threads are as many as this machine has cores.

    Raises SuiteError where none is selected, Impossible where some cannot be built.
    """
    cores = available_cores()
    threads = {"all": None if cores == 1 else cores, 1: None}
    cases = [replace(case, device=device, threads=threads.get(case.threads, case.threads)) for case in suite.cases]
    chosen = [case for case in cases if selection.keeps(case)]
    if not chosen:
        raise SuiteError(f"{suite.path}: none of its {len(cases)} cases is selected: --dry-run shows their names")
    return preflight(chosen, available_bytes)


def selected(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """The selected cases, resolved, each once."""
    return list(dict.fromkeys(resolve(case) for case in cases if selection.keeps(case)))


def _names(case: Case) -> set[str]:
    """The names a case can be selected by: its id as written and as resolved, and the parts of both."""
    ids = {case.id}
    with suppress(ConvbenchError):
        ids.add(resolve(case).id)
    return ids | {part for name in ids for part in name.split("/")}
