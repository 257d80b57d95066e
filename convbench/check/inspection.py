"""Before anything is timed: which cases both sides have, what is exact of them, and whether they compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.check import origin, outputs
from convbench.check.ledger import Ledger
from convbench.check.link import Settings, Worker
from convbench.check.outcome import Fact
from convbench.check.pairs import Planned, groups
from convbench.check.sides import Side
from convbench.core.errors import BuildFailed, CaseFailed, Refused, SuiteError
from convbench.core.record import Scalar


@dataclass(frozen=True)
class Request:
    """Which cases of which suite, as the command line has it."""

    suite: str
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    same_outputs: bool = True
    ledger: Ledger = field(default_factory=Ledger)


@dataclass
class Inspected:
    """What can be timed, what cannot and why, and exact differences by case."""

    suite: str
    planned: list[Planned]
    timeout: float
    invalid: dict[str, str] = field(default_factory=dict)
    facts: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    environments: dict[str, Mapping[str, Scalar]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def valid(self) -> list[Planned]:
        return [case for case in self.planned if case.id not in self.invalid]

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys([*(case.id for case in self.planned), *self.invalid]))


def inspect(base: Side, head: Side, request: Request, settings: Settings, room: Path) -> Inspected:
    """Head says which cases there are; both build each, and their facts and outputs are laid side by side.

    Raises SuiteError for the head's suite, BuildFailed where a side cannot be imported, Refused where base is head.
    """
    with _ready(head, "head", settings, room) as ours, _ready(base, "base", settings, room) as theirs:
        found = _planned(ours, request, settings)
        found.environments = {"head": _environment(ours, settings), "base": _environment(theirs, settings)}
        _refuse_only_in_base(theirs, request, settings, found)
        for worker, name in ((ours, "head"), (theirs, "base")):
            _resolve(worker, name, found)
    for group in groups(found.valid):
        said = _said({"head": head, "base": base}, group, replace(settings, timeout=found.timeout), room, found)
        for case in (case.id for case in group if case.id not in found.invalid):
            _compare(case, said[case], found, request.same_outputs)
    origin.refuse_same_code(base, head, [case.case for case in found.valid], found.files)
    return found


def _ready(side: Side, name: str, settings: Settings, room: Path) -> Worker:
    """A worker that has imported its side."""
    worker = Worker(side, settings, room)
    try:
        worker.greet()
        worker.greeted()
    except CaseFailed as error:
        worker.close()
        raise BuildFailed(f"{name} ({side.label}) cannot be imported: {error}{side.hint}") from error
    except Refused:
        worker.close()
        raise
    return worker


def _plan(worker: Worker, request: Request, settings: Settings, suite: str) -> dict[str, Any]:
    selected = {"only": list(request.only), "skip": list(request.skip)}
    return worker.ask("plan", suite=suite, overrides=list(request.overrides), device=settings.device, **selected)


def _planned(head: Worker, request: Request, settings: Settings) -> Inspected:
    try:
        plan = _plan(head, request, settings, request.suite)
    except CaseFailed as error:
        raise SuiteError(str(error)) from error
    protocol = plan["protocol"]
    cases = [Planned(case["id"], case["case"], protocol["seed"], alone=case["alone"]) for case in plan["cases"]]
    return Inspected(plan["name"], cases, protocol["timeout"])


def _environment(worker: Worker, settings: Settings) -> Mapping[str, Scalar]:
    try:
        facts: Mapping[str, Scalar] = worker.ask("describe", device=settings.device)["facts"]
    except CaseFailed:
        return {}
    return facts


def _refuse_only_in_base(base: Worker, request: Request, settings: Settings, found: Inspected) -> None:
    """A case that only base's own suite still has is invalid: dropping it must not go unnoticed."""
    theirs = base.side.suite
    if theirs is None or not theirs.is_file():
        return
    try:
        plan = _plan(base, request, settings, str(theirs))
    except CaseFailed:
        return
    ours = {case.id for case in found.planned}
    for case in plan["cases"]:
        if case["id"] not in ours:
            found.invalid[case["id"]] = "missing in head: its suite no longer has this case"


def _resolve(worker: Worker, name: str, found: Inspected) -> None:
    for index, case in enumerate(found.planned):
        if case.id in found.invalid:
            continue
        try:
            variables = worker.ask("resolve", case=case.case, name=case.id)["variables"]
            found.planned[index] = replace(case, variables=tuple(sorted(variables.items())))
        except CaseFailed as error:
            found.invalid[case.id] = f"missing in {name}: {error}"


def _said(
    sides: Mapping[str, Side], group: Sequence[Planned], settings: Settings, room: Path, found: Inspected
) -> dict[str, dict[str, dict[str, Any]]]:
    """What each side says of each case of those that may share a process; one that fails is invalid."""
    said: dict[str, dict[str, dict[str, Any]]] = {case.id: {} for case in group}
    for name, side in sides.items():
        waiting = list(group)
        while waiting:
            with _ready_for(side, settings, room, waiting[0]) as worker:
                for case in list(waiting):
                    waiting.remove(case)
                    try:
                        path = str(room / f"{name}-{abs(hash(case.id)):x}.npz")
                        said[case.id][name] = worker.ask("inspect", **case.words, name=case.id, outputs=path) | {
                            "path": path
                        }
                    except CaseFailed as error:
                        found.invalid.setdefault(case.id, f"{error.kind} in {name}: {error}")
                        break
                else:
                    _refuse_leak(worker, name, sides, found)
    return said


def _ready_for(side: Side, settings: Settings, room: Path, case: Planned) -> Worker:
    worker = Worker(side, settings, room, dict(case.variables))
    worker.greet()
    worker.greeted()
    return worker


def _refuse_leak(worker: Worker, name: str, sides: Mapping[str, Side], found: Inspected) -> None:
    """Code of the head's tree in a base worker would be compared with itself, and always pass."""
    base, head = sides["base"], sides["head"]
    files = worker.ask("modules")["files"]
    found.files.setdefault(name, {}).update(files)
    if name != "base" or base.root is None or head.root is None or base.root == head.root:
        return
    for module, file in files.items():
        path = Path(file)
        own = path.is_relative_to(base.root)
        if path.is_relative_to(head.root) and not own and not {"site-packages", ".venv"} & set(path.parts):
            raise Refused(
                f"base imports {module} from the head's tree ({path.relative_to(head.root)}): it would be compared "
                "with itself. Put its folder on PYTHONPATH, or name a wheel as --base"
            )


def _compare(case: str, said: dict[str, dict[str, Any]], found: Inspected, same_outputs: bool) -> None:
    base, head = said["base"], said["head"]
    files = [Path(one["path"]) for one in (base, head)]
    differ = outputs.difference(files[0], files[1], max(base["tolerance"], head["tolerance"]), head["by_norm"])
    if differ and same_outputs:
        found.invalid[case] = f"outputs differ: {differ}"
    ours, theirs = base["facts"], head["facts"]
    names = [name for name in theirs if name in ours and ours[name] != theirs[name]]
    facts = [Fact(name, ours[name], theirs[name]) for name in names]
    found.facts[case] = (*facts, Fact("output", "as before", differ)) if differ else tuple(facts)
    for file in files:
        file.unlink()
