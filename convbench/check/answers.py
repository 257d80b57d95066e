"""Ask both sides about a case at once, in processes that the case may spoil: facts and outputs, by case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.check.link import Copy, Link, SideWorker
from convbench.check.outcome import Fact
from convbench.check.pairs import CheckedCase
from convbench.check.settings import Settings
from convbench.check.stock import Stock, Variables
from convbench.check.trees.origin import BUILD
from convbench.check.trees.sides import Side
from convbench.core.errors import BuildFailed, CaseFailed, Refused
from convbench.core.record import Scalar
from convbench.core.text import digest


@dataclass
class Inspection:
    """The cases of a check, those that cannot be timed and why, exact differences by case, and notes on all of them.

    ``without_memory`` holds the cases whose memory neither side predicts, by the reason.
    """

    suite: str
    cases: list[CheckedCase]
    timeout: float
    seed: int | None = None
    invalid: dict[str, str] = field(default_factory=dict)
    facts: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    environments: dict[str, Mapping[str, Scalar]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    without_memory: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def with_limit(self, settings: Settings) -> Settings:
        """Return the settings with the suite's time limit."""
        return replace(settings, timeout=self.timeout)

    @property
    def valid(self) -> list[CheckedCase]:
        return [case for case in self.cases if case.id not in self.invalid]

    @property
    def faults(self) -> str:
        """Why cases cannot be timed, in one line."""
        return "; ".join(f"{case}: {reason}" for case, reason in self.invalid.items())

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys([*(case.id for case in self.cases), *self.invalid]))


def start_workers(
    sides: Mapping[str, Side], settings: Settings, folder: Path, variables: Variables = ()
) -> dict[str, SideWorker]:
    """Start a worker per side; they import at the same time. Raises BuildFailed if a side cannot be imported."""
    workers: dict[str, SideWorker] = {}
    try:
        for name, side in sides.items():
            with _importing(name, side):
                workers[name] = SideWorker(side, settings, folder, dict(variables))
        for worker in workers.values():
            worker.greet()
        for name, worker in workers.items():
            with _importing(name, worker.side):
                worker.await_greeting()
    except BaseException:
        for worker in workers.values():
            worker.close()
        raise
    return workers


@contextmanager
def _importing(name: str, side: Side) -> Iterator[None]:
    try:
        yield
    except CaseFailed as error:
        reason = f"cannot be imported: {error}"
        raise BuildFailed(f"{side.alias or name} ({side.label}) {reason}{side.hint(reason)}") from error


def keep_worker(stack: ExitStack, worker: SideWorker, variables: Variables, stock: Stock) -> None:
    """At the end put a worker into the stock, or close it if it answered itself, without copies."""
    if worker.forks:
        stack.callback(stock.put, worker, variables)
    else:
        stack.callback(worker.close)


def fresh_copy(stack: ExitStack, worker: SideWorker, folder: Path) -> Link:
    """Return a copy of a worker to ask, so that the worker stays fresh; the worker itself if it cannot be copied."""
    return stack.enter_context(Copy(worker, folder)) if worker.forks else worker


@dataclass
class Answers:
    """The answers of both sides about cases that may share a process. A case that fails ends its process."""

    sides: Mapping[str, Side]
    settings: Settings
    folder: Path
    inspection: Inspection
    stock: Stock

    def of(self, group: Sequence[CheckedCase]) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the answers by case and side. A case that fails is marked as invalid."""
        answers: dict[str, dict[str, dict[str, Any]]] = {case.id: {} for case in group}
        with ExitStack() as stack:
            links: dict[str, Link] = {}
            for case in group:
                links |= self._open(stack, [name for name in self.sides if name not in links], case)
                paths = {name: str(self.folder / f"{name}-{digest(case.id)}.npz") for name in links}
                for name, link in links.items():
                    link.send("inspect", **case.arguments, name=case.id, outputs=paths[name])
                for name, link in list(links.items()):
                    try:
                        answers[case.id][name] = link.receive() | {"path": paths[name]}
                        _refuse_leak(link, name, self.sides, self.inspection)  # each time: the next may end the process
                    except CaseFailed as error:
                        hint = self.sides[name].hint(str(error))
                        self.inspection.invalid.setdefault(
                            case.id, f"{error.kind} in {self.sides[name].alias or name}: {error}{hint}"
                        )
                        del links[name]
        return answers

    def other_weights(self, case: CheckedCase) -> str:
        """Return why no outputs of head can be compared: one seed gives different weights. Empty if it does not."""
        with ExitStack() as stack:
            link = self._open(stack, ["head"], case)["head"]
            try:
                return str(link.ask("weights", **case.arguments, name=case.id)["reason"])
            except CaseFailed:  # an older convbench cannot tell
                return ""

    def _open(self, stack: ExitStack, names: Sequence[str], case: CheckedCase) -> dict[str, Link]:
        """Return a process for each of these sides in which nothing has been inspected yet."""
        settings = case.settings(self.settings)
        links: dict[str, Link] = {}
        missing_sides: dict[str, Side] = {}
        for name in names:
            if worker := self.stock.take(self.sides[name], case.variables, settings):
                links[name] = self._link(stack, worker, case)
            else:
                missing_sides[name] = self.sides[name]
        workers = start_workers(missing_sides, settings, self.folder, case.variables)
        return links | {name: self._link(stack, worker, case) for name, worker in workers.items()}

    def _link(self, stack: ExitStack, worker: SideWorker, case: CheckedCase) -> Link:
        keep_worker(stack, worker, case.variables, self.stock)
        return fresh_copy(stack, worker, self.folder)


def _refuse_leak(worker: Link, name: str, sides: Mapping[str, Side], inspection: Inspection) -> None:
    """Raise Refused if a base worker has imported code of head's tree: compared with itself it would always pass."""
    base, head = sides["base"], sides["head"]
    files = worker.ask("modules")["files"]
    inspection.files.setdefault(name, {}).update(files)
    if name != "base" or base.root is None or head.root is None:
        return
    for module, file in files.items():
        path = Path(file)
        is_own = path.is_relative_to(base.root)  # so is all of one tree in two interpreters
        if path.is_relative_to(head.root) and not is_own and not {"site-packages", ".venv"} & set(path.parts):
            names = base.alias or "base", head.alias or "the head"
            raise Refused(
                f"{names[0]} imports {module} from {names[1]}'s tree ({path.relative_to(head.root)}): it would be "
                "compared with itself. Put its folder on PYTHONPATH, or `check` it against a wheel. A package that "
                f"must be built, as by meson-python or scikit-build: --build {BUILD!r}"
            )
