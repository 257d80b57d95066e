"""Before anything is timed: which cases both sides have, what is exact of them, and whether they compute the same."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convbench.check import origin, outputs
from convbench.check.answers import Answers, Inspection, fresh_copy, keep_worker, start_workers
from convbench.check.ledger import Ledger
from convbench.check.link import Link
from convbench.check.outcome import OUTPUT, Fact
from convbench.check.pairs import CheckedCase, groups
from convbench.check.settings import Settings
from convbench.check.sides import Side
from convbench.check.stock import Stock
from convbench.core.errors import CaseFailed, SuiteError, line_of
from convbench.core.record import Scalar
from convbench.core.text import counted, cut

LONGEST = 200
"""Characters of a reason."""
REMEDY = "`check` and `bisect` time it all the same with --different-outputs"
NO_NUMBERS = "no numbers in it, so that it was not compared"


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


def inspect(base: Side, head: Side, request: Request, settings: Settings, folder: Path, stock: Stock) -> Inspection:
    """Head says which cases there are; both build each, and their facts and outputs are laid side by side.

    What was imported for it and not used otherwise is put into ``stock``. Raises SuiteError for the head's suite,
    BuildFailed where a side cannot be imported, Refused where base is head.
    """
    sides = {"head": head, "base": base}
    with ExitStack() as stack:
        workers = start_workers(sides, settings, folder)
        for worker in workers.values():
            keep_worker(stack, worker, (), stock)
        links = {name: fresh_copy(stack, worker, folder) for name, worker in workers.items()}
        inspected = _planned(links["head"], request, settings)
        inspected.environments = {name: _environment(link, settings) for name, link in links.items()}
        _refuse_only_in_base(links["base"], request, settings, inspected)
        for name, link in links.items():
            _resolve(link, name, inspected)
    within = inspected.within(settings)
    for group in groups(inspected.valid):
        answers = Answers(sides, within, folder, inspected, stock).of(group)
        for case in (case.id for case in group if case.id not in inspected.invalid):
            _compare(case, answers[case], inspected, request.same_outputs)
    origin.refuse_same_code(base, head, [case.case for case in inspected.valid], inspected.files)
    return inspected


def _plan(worker: Link, request: Request, settings: Settings, suite: str) -> dict[str, Any]:
    """What a side plans, without what no check times: the ``trials``, of which it says how many there are."""
    selected = {"only": list(request.only), "skip": list(request.skip)}
    plan = worker.ask("plan", suite=suite, overrides=list(request.overrides), device=settings.device, **selected)
    timed = [case for case in plan["cases"] if not case["case"].get("trial")]
    return plan | {"cases": timed, "trials": len(plan["cases"]) - len(timed)}


def _planned(head: Link, request: Request, settings: Settings) -> Inspection:
    try:
        plan = _plan(head, request, settings, request.suite)
    except CaseFailed as error:
        raise SuiteError(str(error)) from error
    protocol, trials = plan["protocol"], plan["trials"]
    if trials and not plan["cases"]:
        only = "only trainings and read-outs are selected, and a check times calls"
        raise SuiteError(f"{request.suite}: {only}: select other cases")
    cases = [CheckedCase(case["id"], case["case"], protocol["seed"], alone=case["alone"]) for case in plan["cases"]]
    left_out = f"{counted(trials, 'training or read-out', 'trainings and read-outs')} left out: a check times calls"
    return Inspection(plan["name"], cases, protocol["timeout"], notes=[left_out] if trials else [])


def _environment(worker: Link, settings: Settings) -> Mapping[str, Scalar]:
    try:
        facts: Mapping[str, Scalar] = worker.ask("describe", device=settings.device)["facts"]
    except CaseFailed:
        return {}
    return facts


def _refuse_only_in_base(base: Link, request: Request, settings: Settings, inspected: Inspection) -> None:
    """A case that only base's own suite still has is invalid: dropping it must not go unnoticed."""
    theirs = base.side.suite
    if theirs is None:
        return
    if not theirs.is_file():
        inspected.notes.append(f"base has no {theirs.name}: a case that head has dropped would not be missed")
        return
    ours = {case.id for case in inspected.planned}
    for only in [[pattern] for pattern in request.only] or [[]]:  # of several, base may have no case yet for one
        try:
            plan = _plan(base, replace(request, only=only), settings, str(theirs))
        except CaseFailed as error:
            reason = line_of(error).removeprefix(f"{theirs.parent}{os.sep}")
            inspected.notes.append(f"base's own suite gives no case: {cut(reason, LONGEST)}")
            continue
        for case in plan["cases"]:
            if case["id"] not in ours:
                inspected.invalid[case["id"]] = "missing in head: its suite no longer has this case"


def _resolve(worker: Link, name: str, inspected: Inspection) -> None:
    for index, case in enumerate(inspected.planned):
        if case.id in inspected.invalid:
            continue
        try:
            variables = worker.ask("resolve", case=case.case, name=case.id)["variables"]
            inspected.planned[index] = replace(case, variables=tuple(sorted(variables.items())))
        except CaseFailed as error:
            inspected.invalid[case.id] = f"missing in {name}: {error}{worker.side.hint(str(error))}"


def _compare(case: str, answers: dict[str, dict[str, Any]], inspected: Inspection, same_outputs: bool) -> None:
    base, head = answers["base"], answers["head"]
    files = [Path(answer["path"]) for answer in (base, head)]
    differ = outputs.difference(files[0], files[1], max(base["tolerance"], head["tolerance"]), head["by_norm"])
    if differ and same_outputs:
        inspected.invalid[case] = f"outputs differ: {differ}; {REMEDY}"
    ours, theirs = base["facts"], head["facts"]
    names = [name for name in theirs if name in ours and ours[name] != theirs[name]]
    facts = [Fact(name, ours[name], theirs[name]) for name in names]
    if differ:
        facts.append(Fact(OUTPUT, "as before", differ))
    elif outputs.are_empty(*files):
        facts.append(Fact(OUTPUT, NO_NUMBERS, NO_NUMBERS))
    inspected.facts[case] = tuple(facts)
    for file in files:
        file.unlink()
