"""Inspect both sides before anything is timed: which cases both have, their exact facts, and whether outputs agree."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.check import outputs
from convbench.check.answers import Answers, Inspection, fresh_copy, keep_worker, start_workers
from convbench.check.ledger import Ledger
from convbench.check.link import Link
from convbench.check.outcome import OUTPUT, Fact
from convbench.check.pairs import CheckedCase, groups
from convbench.check.settings import Settings
from convbench.check.stock import Stock
from convbench.check.trees import origin
from convbench.check.trees.sides import Side
from convbench.core.errors import CaseFailed, SuiteError, line_of
from convbench.core.record import Scalar
from convbench.core.text import counted, cut, some
from convbench.runs.user_code import explain

LONGEST = 200
"""Greatest number of characters in a reason."""
REMEDY = "`check` and `bisect` time it anyway with --different-outputs"
MEMORY, PREDICTED = "memory", "predicted"
"""The fact whether a side predicts the peak, which otherwise says why not."""
NO_NUMBERS = "no numbers in it, so it was not compared"


@dataclass(frozen=True)
class Request:
    """Which cases of which suite to check, as the command line names them."""

    suite: str
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    same_outputs: bool = True
    instructions: bool = False
    ledger: Ledger = field(default_factory=Ledger)


def inspect(base: Side, head: Side, request: Request, settings: Settings, folder: Path, stock: Stock) -> Inspection:
    """Let head name the cases and both sides build each, and compare their facts and outputs.

    Workers that are still fresh afterwards are put into ``stock``. Raises SuiteError if head's suite cannot be used,
    BuildFailed if a side cannot be imported, Refused if both sides run the same code.
    """
    sides, names = {"head": head, "base": base}, (base.alias or "base", head.alias or "head")
    with ExitStack() as stack:
        workers = start_workers(sides, settings, folder)
        for worker in workers.values():
            keep_worker(stack, worker, (), stock)
        links = {name: fresh_copy(stack, worker, folder) for name, worker in workers.items()}
        inspection = _inspection(links["head"], request, settings)
        inspection.environments = {name: _environment(link, settings) for name, link in links.items()}
        _refuse_only_in_base(links["base"], request, settings, inspection, names[1])
        for name, link in links.items():
            _resolve(link, name, inspection)
    inspector = Answers(sides, inspection.with_limit(settings), folder, inspection, stock)
    for group in groups(inspection.valid):
        answers = inspector.of(group)
        for case in (case for case in group if case.id not in inspection.invalid):
            difference = _compare(case.id, answers[case.id], inspection, names)
            if difference and request.same_outputs:
                reason = inspector.other_weights(case) or difference
                inspection.invalid[case.id] = f"outputs differ: {reason}; {REMEDY}"
    inspection.notes += [
        f"memory is not compared in {some(ids)}: {reason.removeprefix('not predicted: ')}"
        for reason, ids in inspection.without_memory.items()
    ]
    origin.refuse_same_code(base, head, [case.case for case in inspection.valid], inspection.files)
    inspection.notes += origin.notes(base, head, inspection.files)
    return inspection


def read_suite(head: Side, request: Request, settings: Settings, folder: Path) -> None:
    """Let head read the suite, and time nothing. Raises SuiteError if it cannot be used, BuildFailed as ``inspect``."""
    with ExitStack() as stack:
        (worker,) = start_workers({"head": head}, settings, folder).values()
        stack.callback(worker.close)
        _inspection(fresh_copy(stack, worker, folder), request, settings)


def _plan(worker: Link, request: Request, settings: Settings, suite: str) -> dict[str, Any]:
    """Return a side's plan without its trials, which no check times; ``trials`` is how many there are."""
    selected = {"only": list(request.only), "skip": list(request.skip)}
    plan = worker.ask("plan", suite=suite, overrides=list(request.overrides), device=settings.device, **selected)
    cases = [case for case in plan["cases"] if not case["case"].get("trial")]
    return plan | {"cases": cases, "trials": len(plan["cases"]) - len(cases)}


def _inspection(head: Link, request: Request, settings: Settings) -> Inspection:
    try:
        plan = _plan(head, request, settings, request.suite)
    except CaseFailed as error:
        raise SuiteError(explain(error, f"{request.suite}: importing the code that it names")) from error
    protocol, trials = plan["protocol"], plan["trials"]
    if trials and not plan["cases"]:
        reason = "only trainings and read-outs are selected, and a check times calls"
        raise SuiteError(f"{request.suite}: {reason}: select other cases")
    cases = [CheckedCase(case["id"], case["case"], protocol["seed"], is_alone=case["alone"]) for case in plan["cases"]]
    note = f"{counted(trials, 'training or read-out', 'trainings and read-outs')} left out: a check times calls"
    return Inspection(plan["name"], cases, protocol["timeout"], seed=protocol["seed"], notes=[note] if trials else [])


def _environment(worker: Link, settings: Settings) -> Mapping[str, Scalar]:
    try:
        facts: Mapping[str, Scalar] = worker.ask("describe", device=settings.device)["facts"]
    except CaseFailed:
        return {}
    return facts


def _refuse_only_in_base(
    base: Link, request: Request, settings: Settings, inspection: Inspection, head_name: str
) -> None:
    """Mark a case that only base's own suite has as invalid: dropping it must not go unnoticed."""
    base_suite = base.side.suite
    if base_suite is None:
        return
    if not base_suite.is_file():
        inspection.notes.append(f"base has no {base_suite.name}: if head dropped a case, it would not be noticed")
        return
    head_ids = {case.id for case in inspection.cases}
    for only in [[pattern] for pattern in request.only] or [[]]:  # one by one: base may lack cases of some
        try:
            plan = _plan(base, replace(request, only=only), settings, str(base_suite))
        except CaseFailed as error:
            reason = line_of(error).removeprefix(f"{base_suite.parent}{os.sep}")
            inspection.notes.append(f"base's own suite gives no case: {cut(reason, LONGEST)}")
            continue
        for case in plan["cases"]:
            if case["id"] not in head_ids:
                inspection.invalid[case["id"]] = f"missing in {head_name}: its suite no longer has this case"


def _resolve(worker: Link, name: str, inspection: Inspection) -> None:
    for index, case in enumerate(inspection.cases):
        if case.id in inspection.invalid:
            continue
        try:
            variables = worker.ask("resolve", case=case.case, name=case.id)["variables"]
            inspection.cases[index] = replace(case, variables=tuple(sorted(variables.items())))
        except CaseFailed as error:
            inspection.invalid[case.id] = (
                f"missing in {worker.side.alias or name}: {error}{worker.side.hint(str(error))}"
            )


def _compare(case: str, answers: dict[str, dict[str, Any]], inspection: Inspection, names: tuple[str, str]) -> str:
    """Note the differences of a case, and return that of its outputs."""
    base, head = answers["base"], answers["head"]
    files = [Path(answer["path"]) for answer in (base, head)]
    tolerance = max(base["tolerance"], head["tolerance"])
    difference = outputs.difference(files[0], files[1], tolerance, head["by_norm"], names)
    base_facts, head_facts = base["facts"], head["facts"]
    facts = [
        Fact(name, base_facts[name], fact) for name, fact in head_facts.items() if base_facts.get(name, fact) != fact
    ]
    if difference:
        facts.append(Fact(OUTPUT, "as before", difference))
    elif outputs.are_empty(*files):
        facts.append(Fact(OUTPUT, NO_NUMBERS, NO_NUMBERS))
    inspection.facts[case] = tuple(facts)
    if (reason := head_facts.get(MEMORY, PREDICTED)) != PREDICTED and base_facts.get(MEMORY, reason) == reason:
        inspection.without_memory.setdefault(reason, []).append(case)
    for file in files:
        file.unlink()
    return difference
