"""Which cases of a suite are measured: picked by name and shard, moved to a device and resolved."""

from __future__ import annotations

from collections import defaultdict
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
        """Whether the names pick a case."""
        names = _names(case)
        wanted = not self.only or any(fnmatchcase(name, pattern) for pattern in self.only for name in names)
        unwanted = any(fnmatchcase(name, pattern) for pattern in self.skip for name in names)
        return wanted and not unwanted

    def part(self, cases: Sequence[Case]) -> list[Case]:
        """The shard's cases, which may be none: parts of about the same cost, the same for everybody who asks.

        Variants of one model share a shard, so that they are measured on the same machine.
        """
        index, shards = self.shard
        models: dict[str, list[Case]] = defaultdict(list)
        for case in cases:
            models[case.eager.id].append(case)
        loads = [0.0] * shards
        picked: set[str] = set()
        for name in sorted(models, key=lambda name: (-sum(map(_cost, models[name])), name)):
            lightest = loads.index(min(loads))
            loads[lightest] += sum(map(_cost, models[name]))
            picked |= {name} if lightest == index - 1 else set()
        return [case for case in cases if case.eager.id in picked]


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
        raise SuiteError(
            f"{suite.path}: none of its {len(cases)} cases is selected{_hint(selection)}: --dry-run shows their names"
        )
    return preflight(selection.part(chosen), available_bytes)


def _hint(selection: Selection) -> str:
    """What a pattern may have been meant as."""
    several = next((pattern for pattern in selection.only if "," in pattern), "")
    if several:
        return f" by --only {several}: give --only once for each, as in " + " ".join(
            f"--only {part}" for part in several.split(",") if part
        )
    lone = next((pattern for pattern in selection.only if not set("*?[") & set(pattern)), "")
    return f" by --only {lone}, which has to be a whole part of a name: '*{lone}*' matches anywhere" if lone else ""


def _cost(case: Case) -> float:
    """How long a case takes beside a plain one, roughly: compiling and training take most."""
    return 10.0 if case.trains else 5.0 if any(choice.name == "compile" for choice in case.variant) else 1.0


def selected(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """The selected cases, resolved, each once."""
    return list(dict.fromkeys(resolve(case) for case in cases if selection.keeps(case)))


def _names(case: Case) -> set[str]:
    """The names a case can be selected by: its id as written and as resolved, and the parts of both."""
    ids = {case.id}
    with suppress(ConvbenchError):
        ids.add(resolve(case).id)
    return ids | {part for name in ids for part in name.split("/")}
