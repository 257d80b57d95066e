"""Before anything is timed: which cases both sides have, what is exact of them, and whether they compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.check import origin, outputs
from convbench.check.ledger import Ledger
from convbench.check.link import Copy, Link, Settings, Stock, Variables, Worker
from convbench.check.outcome import INSTRUCTIONS, Fact
from convbench.check.pairs import Planned, groups
from convbench.check.sides import Side
from convbench.core.errors import BuildFailed, CaseFailed, Refused, SuiteError
from convbench.core.record import Scalar

COUNTING_TIMEOUT = 1800.0
"""Valgrind takes minutes for what takes seconds."""
SIDES = ("base", "head")


@dataclass(frozen=True)
class Request:
    """Which cases of which suite, as the command line has it."""

    suite: str
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    same_outputs: bool = True
    instructions: bool = False
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


def inspect(base: Side, head: Side, request: Request, settings: Settings, room: Path, stock: Stock) -> Inspected:
    """Head says which cases there are; both build each, and their facts and outputs are laid side by side.

    What was imported for it and not used otherwise is put into ``stock``. Raises SuiteError for the head's suite,
    BuildFailed where a side cannot be imported, Refused where base is head.
    """
    sides = {"head": head, "base": base}
    with ExitStack() as stack:
        ready = _ready(sides, settings, room)
        for each in ready.values():
            _keep(stack, each, (), stock)
        asked = {name: _clean(stack, each, room) for name, each in ready.items()}
        inspected = _planned(asked["head"], request, settings)
        inspected.environments = {name: _environment(worker, settings) for name, worker in asked.items()}
        _refuse_only_in_base(asked["base"], request, settings, inspected)
        for name, worker in asked.items():
            _resolve(worker, name, inspected)
    within = replace(settings, timeout=inspected.timeout)
    for group in groups(inspected.valid):
        answers = Answers(sides, within, room, inspected, stock).of(group)
        for case in (case.id for case in group if case.id not in inspected.invalid):
            _compare(case, answers[case], inspected, request.same_outputs)
    origin.refuse_same_code(base, head, [case.case for case in inspected.valid], inspected.files)
    if request.instructions:
        _count_instructions(sides, within, room, inspected)
    return inspected


def _ready(sides: Mapping[str, Side], settings: Settings, room: Path) -> dict[str, Worker]:
    """A worker a side, which import their sides at the same time."""
    workers = {name: Worker(side, settings, room) for name, side in sides.items()}
    try:
        for worker in workers.values():
            worker.greet()
        for name, worker in workers.items():
            _greeted(name, worker)
    except BaseException:
        for worker in workers.values():
            worker.close()
        raise
    return workers


def _start(name: str, worker: Worker) -> None:
    try:
        worker.greet()
        _greeted(name, worker)
    except BaseException:
        worker.close()
        raise


def _greeted(name: str, worker: Worker) -> None:
    try:
        worker.greeted()
    except CaseFailed as error:
        side = worker.side
        raise BuildFailed(f"{name} ({side.label}) cannot be imported: {error}{side.hint}") from error


def _keep(stack: ExitStack, worker: Worker, variables: Variables, stock: Stock) -> None:
    """At the end put a worker into the stock, or end it where what it was asked was asked of itself."""
    if worker.forks:
        stack.callback(stock.put, worker, variables)
    else:
        stack.callback(worker.close)


def _clean(stack: ExitStack, worker: Worker, room: Path) -> Link:
    """A copy of a worker to ask, so that the worker itself stays as it was started; itself where it has no copies."""
    return stack.enter_context(Copy(worker, room)) if worker.forks else worker


def _plan(worker: Link, request: Request, settings: Settings, suite: str) -> dict[str, Any]:
    selected = {"only": list(request.only), "skip": list(request.skip)}
    return worker.ask("plan", suite=suite, overrides=list(request.overrides), device=settings.device, **selected)


def _planned(head: Link, request: Request, settings: Settings) -> Inspected:
    try:
        plan = _plan(head, request, settings, request.suite)
    except CaseFailed as error:
        raise SuiteError(str(error)) from error
    protocol = plan["protocol"]
    cases = [Planned(case["id"], case["case"], protocol["seed"], alone=case["alone"]) for case in plan["cases"]]
    return Inspected(plan["name"], cases, protocol["timeout"])


def _environment(worker: Link, settings: Settings) -> Mapping[str, Scalar]:
    try:
        facts: Mapping[str, Scalar] = worker.ask("describe", device=settings.device)["facts"]
    except CaseFailed:
        return {}
    return facts


def _refuse_only_in_base(base: Link, request: Request, settings: Settings, found: Inspected) -> None:
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


def _resolve(worker: Link, name: str, found: Inspected) -> None:
    for index, case in enumerate(found.planned):
        if case.id in found.invalid:
            continue
        try:
            variables = worker.ask("resolve", case=case.case, name=case.id)["variables"]
            found.planned[index] = replace(case, variables=tuple(sorted(variables.items())))
        except CaseFailed as error:
            found.invalid[case.id] = f"missing in {name}: {error}"


def _count_instructions(sides: Mapping[str, Side], settings: Settings, room: Path, inspected: Inspected) -> None:
    """Lay the instructions of a call side by side, case by case; both sides count at the same time."""
    for case in inspected.valid:
        variables = dict(case.variables)
        with ExitStack() as stack:
            asked = {name: stack.enter_context(Worker(side, settings, room, variables)) for name, side in sides.items()}
            for worker in asked.values():
                worker.greet()
            for worker in asked.values():
                worker.greeted()
                worker.send("instructions", **case.words)
            try:
                counts = {name: worker.receive(COUNTING_TIMEOUT) for name, worker in asked.items()}
            except CaseFailed as error:
                fact = Fact(INSTRUCTIONS, f"not counted ({error})", f"not counted ({error})")
            else:
                fact = Fact(f"{INSTRUCTIONS}, by {counts['head']['by']}", *(counts[name]["count"] for name in SIDES))
        inspected.facts[case.id] = (*inspected.facts.get(case.id, ()), fact)


@dataclass
class Answers:
    """What each side says of cases that may share a process; a case that fails takes its process along."""

    sides: Mapping[str, Side]
    settings: Settings
    room: Path
    inspected: Inspected
    stock: Stock

    def of(self, group: Sequence[Planned]) -> dict[str, dict[str, dict[str, Any]]]:
        """By case and side. One that fails is invalid."""
        answers: dict[str, dict[str, dict[str, Any]]] = {case.id: {} for case in group}
        with ExitStack() as stack:
            asked: dict[str, Link] = {}
            for case in group:
                for name in self.sides.keys() - asked.keys():
                    asked[name] = self._open(stack, name, case)
                paths = {name: str(self.room / f"{name}-{abs(hash(case.id)):x}.npz") for name in asked}
                for name, worker in asked.items():
                    worker.send("inspect", **case.words, name=case.id, outputs=paths[name])
                for name, worker in list(asked.items()):
                    try:
                        answers[case.id][name] = worker.receive() | {"path": paths[name]}
                    except CaseFailed as error:
                        self.inspected.invalid.setdefault(case.id, f"{error.kind} in {name}: {error}")
                        del asked[name]
            for name, worker in asked.items():
                _refuse_leak(worker, name, self.sides, self.inspected)
        return answers

    def _open(self, stack: ExitStack, name: str, case: Planned) -> Link:
        """A process of a side in which nothing was inspected yet."""
        worker = self.stock.take(self.sides[name], case.variables)
        if worker is None:
            worker = Worker(self.sides[name], self.settings, self.room, dict(case.variables))
            _start(name, worker)
        _keep(stack, worker, case.variables, self.stock)
        return _clean(stack, worker, self.room)


def _refuse_leak(worker: Link, name: str, sides: Mapping[str, Side], found: Inspected) -> None:
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
