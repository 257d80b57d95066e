"""Check the working tree against a base: prepare both for import, measure them and judge the outcome."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from convbench.check import floor, gate, words
from convbench.check.inspection import Request, read_suite
from convbench.check.outcome import Outcome
from convbench.check.settings import Rule, Settings
from convbench.check.trees import sides
from convbench.check.verdict import CaseVerdict, exit_code, verdicts
from convbench.core import imports, showing
from convbench.core.errors import Refused


@dataclass(frozen=True, slots=True, repr=False)
class Check:
    """The gate's result for head against base. ``outcome`` holds the raw timings, from which the rest is derived."""

    outcome: Outcome

    @property
    def verdicts(self) -> list[CaseVerdict]:
        """A verdict for each case: its word (ok, regression, inconclusive, invalid), its ratio and why it is not ok."""
        return verdicts(self.outcome)

    @property
    def exit_code(self) -> int:
        """The command's exit code: 0 fine, 1 a confirmed regression, 3 inconclusive, 5 a case without a verdict."""
        return exit_code(self.outcome)

    def __repr__(self) -> str:
        return f"Check({words.headline(self.outcome)})"

    def _repr_html_(self) -> str:
        return showing.table(repr(self), [(verdict.case.id, verdict.word) for verdict in self.verdicts])


def refuse_mistakes(request: Request, settings: Settings, base: sides.Base | None = None) -> None:
    """Raise at once what ``check`` would raise for head's suite and the name of base, for a check that has to wait.

    It times nothing, so the caller need not hold the machine's lock.
    """
    working_tree = sides.WorkingTree.at(imports.require_working_directory(), request.suite)
    if base:
        sides.refuse_unknown(base.name, working_tree, base.build)
    with sides.scratch_folder() as folder, sides.materialise(".", working_tree, folder) as head:
        read_suite(head, request, settings, folder)


def check(
    request: Request,
    base: sides.Base,
    settings: Settings,
    rule: Rule,
    budget: float | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Check:
    """Check the working tree against a base. The caller holds the machine's lock.

    After ``budget`` seconds nothing more is timed; preparations, such as a build, count towards them.

    Raises ConvbenchError if the budget is not a positive number, Refused if base is the working tree itself.
    """
    deadline = gate.deadline_of(budget)
    working_tree = sides.WorkingTree.at(
        imports.require_working_directory(), request.suite, request.ledger.written_files
    )
    with ExitStack() as stack:
        folder = stack.enter_context(sides.scratch_folder())
        head = stack.enter_context(sides.materialise(".", working_tree, folder))
        if sides.is_working_tree(base.name, working_tree) and not base.python:
            raise Refused(f"base {base.name!r} is the working tree, like head: name a commit, a wheel or another tree")
        base_side = stack.enter_context(sides.materialise(base.name, working_tree, folder, base.build))
        base_side = sides.with_python(base_side, base.python, folder) if base.python else base_side
        outcome = gate.check(base_side, head, request, gate.Method(settings, rule, folder, announce, deadline), budget)
    return Check(replace(outcome, floor=floor.seen_slowdown(outcome.head.environment, settings, rule)))
