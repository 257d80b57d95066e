"""What a run needs before it starts: its executor, and its cases checked against the hosts that will measure them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from convbench.core.errors import ConvbenchError
from convbench.core.option_types import settings
from convbench.core.package import __version__
from convbench.core.record import Case, Record, RunDescription, Scalar, timestamp
from convbench.core.registry import executors
from convbench.core.storage.profiles import PROFILES
from convbench.measure.probes import Probe
from convbench.runs import host_notes, repeats, user_code
from convbench.runs.executor import Executor, Host
from convbench.runs.probe_plan import ProbePlan
from convbench.runs.schedule import Schedule, trials_of
from convbench.suite import Suite
from convbench.suite.selection import Plan, Selection, idle


@dataclass(frozen=True)
class PreparedRun:
    """A suite checked against the hosts that will measure it, with the executor that brings its jobs to them."""

    suite: Suite
    plan: Plan
    probe_plan: ProbePlan
    command: str
    executor: Executor = field(repr=False)

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """The facts of the first host, which stand for the run, without a commit that is not that of the code."""
        facts = self.executor.hosts[0].facts
        of_tree = ("commit", "dirty") if self.plan.elsewhere else ()
        return {name: fact for name, fact in facts.items() if name not in of_tree}

    @property
    def kinds(self) -> dict[str, Mapping[str, Scalar]]:
        """The facts of each kind of host, by the fingerprint in its records."""
        return {host.fingerprint: host.facts for host in self.executor.hosts}

    @property
    def planned_cases(self) -> list[Case]:
        """The cases that are measured in any event, without those that wait for the best learning rate (``later``)."""
        later = {case.id for case in self._at_best_rate}
        return [case for case in self.plan.cases if case.id not in later]

    @property
    def later(self) -> tuple[str, ...]:
        """The ids, without a learning rate, of trainings that follow, each at the best learning rate of its model."""
        return tuple(dict.fromkeys(case.at_any_rate.id for case in self._at_best_rate))

    @cached_property
    def _at_best_rate(self) -> list[Case]:
        """Trainings at every learning rate, of which only those at the best one are made."""
        return trials_of(self.plan.cases, self.suite.protocol.training)[1]

    def schedule(self, records: Sequence[Record] = (), until_sure: bool = False) -> Schedule:
        """Return the schedule of visits to make. Those in ``records`` are made already."""
        start, protocol = time.monotonic(), self.probe_plan.protocol(self.suite.protocol)
        schedule = Schedule(
            self.plan.cases,
            protocol,
            bool(self.probe_plan.exact),
            lambda: time.monotonic() - start,
            until_sure=until_sure,
            hosts=lambda: self.executor.hosts,
            lost=lambda: self.executor.lost,
        )
        for record in records:
            schedule.log.add(record)
        return schedule

    def run(self, visible_slowdown: float | None = None) -> RunDescription:
        """Return the description of a new run that begins now.

        ``visible_slowdown`` is the smallest slowdown that the gate's selftest saw on such a machine.
        """
        hosts = self.executor.hosts
        host = hosts[0]
        description = RunDescription(
            name=self.suite.name,
            command=self.command,
            suite=self.suite.text,
            protocol=self.suite.protocol,
            metrics=self.suite.metrics,
            planned=tuple(case.id for case in self.planned_cases),
            equal=self.plan.equal,
            later=self.later,
            impossible={replace(case, device=host.device).id: reason for case, reason in self.suite.impossible.items()},
            environment=self.facts,
            fingerprint=host.fingerprint,
            convbench=__version__,
            started=timestamp("seconds"),
            visible_slowdown=visible_slowdown,
            intervals_meet=repeats.known_share(host.facts),
        )
        return host_notes.with_hosts(description, hosts) if len(hosts) > 1 else description


def prepare(
    suite: Suite,
    executor: Executor,
    selection: Selection,
    command: str,
    probes: Sequence[Probe] = (),
    host: Host | None = None,
) -> PreparedRun:
    """Ask for the hosts and check every case on ``meta``, without measuring anything.

    A case must fit into the memory of one of the hosts. ``probes`` run after those of the suite. If a ``host`` is
    given, it stands for the executor's hosts, which are then not asked for, so that none is started.

    Raises ConvbenchError for any mistake in the call, the suite or the hosts.
    """
    executor.expect(suite.cases)
    if not host and executor.awaits_hosts:
        _refuse_idle(suite, executor, selection)
    hosts = [host] if host else executor.hosts
    if not hosts:
        raise ConvbenchError("the executor has no host: nothing can be measured")
    free_bytes, cores = max(host.available_bytes for host in hosts), len(hosts[0].cores)
    answer = executor.call(_plan, suite, hosts[0].device, free_bytes, selection, cores)
    if isinstance(answer, ConvbenchError):
        raise answer
    plan, probe_plan = answer
    return PreparedRun(suite, plan, replace(probe_plan, probes=tuple(probes)), command, executor)


def _plan(
    suite: Suite, device: str, free_bytes: int, selection: Selection, cores: int
) -> tuple[Plan, ProbePlan] | ConvbenchError:
    """Return what to measure of a suite, or the error that prevents it, in a process that imports torch anyway."""
    from convbench.measure.planning import plan

    try:
        return plan(suite, device, free_bytes, selection, cores), ProbePlan.of(suite.metrics)
    except ConvbenchError as error:
        return error


def _refuse_idle(suite: Suite, executor: Executor, selection: Selection) -> None:
    """Raise SuiteError for a pattern that matches no case on any host, before hosts are asked for: they may take hours.

    The cases are resolved only if a pattern matches none as they are written.
    """
    is_idle = idle(selection.only, [{case.id} for case in suite.cases])
    if is_idle and (error := executor.call(_idle_error, suite, selection)):
        raise error


def _idle_error(suite: Suite, selection: Selection) -> ConvbenchError | None:
    """Return the error for a pattern that matches no case on any host, in a process that imports torch anyway."""
    from convbench.measure.planning import refuse_idle

    try:
        refuse_idle(suite, selection)
    except ConvbenchError as error:
        return error
    return None


def profiler(suite: Suite, directory: Path) -> list[Probe]:
    """Return the probe that writes traces into the run's directory, if the suite asks for them."""
    if not suite.profile:
        return []
    from convbench.measure.traces.capture import Capture

    return [Capture(directory / PROFILES)]


def executor_of(
    suite: Suite,
    device: str,
    name: str | None = None,
    probes: Sequence[Probe] = (),
    options: Mapping[str, Scalar] | None = None,
) -> Executor:
    """Build the executor of that name for a suite. Without a name, anything that runs a model gets fresh processes.

    ``device`` is ``auto`` (the GPU if there is one), ``cpu`` or ``cuda[:n]``. ``options`` are those of the executor,
    checked already (``executor_options``). Raises ConvbenchError for an unknown name.
    """
    runs_models = probes or any(case.trial for case in suite.cases) or _run_models(suite.metrics)
    in_own_process = runs_models or user_code.names_own_code(suite.cases)
    return named_executor(name or ("isolated" if in_own_process else "in-process"), device, suite.cases, options or {})


def named_executor(name: str, device: str, cases: Sequence[Case], options: Mapping[str, Scalar]) -> Executor:
    """Build the executor of that name. Raises ConvbenchError for an unknown name, or a plug-in that builds none."""
    plugin = executors.get(name)
    with plugin.refuse_errors("executor"):
        executor = plugin.build(device, cases, **settings(plugin.build, options.items()))
    if not isinstance(executor, Executor):
        raise ConvbenchError(f"the executor {name} made {type(executor).__name__}: derive it from convbench.Executor")
    return executor


def _run_models(metrics: Sequence[str]) -> bool:
    """Whether any of these metrics runs the model. The user's own probes count, since they are not imported here."""
    if not metrics or any(":" in name for name in metrics):
        return True
    from convbench.measure import harness

    return harness.needs_isolation(metrics)
