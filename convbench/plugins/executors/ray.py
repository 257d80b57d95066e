"""The executor ``ray``: workers on every host of a Ray cluster, which runs already or starts here.

It needs ``convbench[ray]``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from convbench.core.errors import ConvbenchError, line_of
from convbench.core.option_types import NonNegative, Positive
from convbench.core.record import Case
from convbench.core.registry import declares, executors
from convbench.core.text import cut
from convbench.core.traits import ExecutorTraits
from convbench.runs.cluster.engine import Absent, Done, Event, Limits, Lost, Piece
from convbench.runs.cluster.executor import Cluster
from convbench.runs.cluster.worker import Spec, Worker, is_last, message_of, spec

SECONDS_BETWEEN_LOOKS = 5.0
"""Seconds between two looks for new hosts of the cluster."""
RESTARTS = 20
"""How many times a lost worker of a host is replaced."""
FALSE_STARTS = 3
"""A host gets no more workers if this many in a row end before their first message, as without an image."""
SECONDS_TO_START = 60.0
"""A worker that has not started after this many seconds is reported missing; it is still used when it comes."""
VARIABLE = "RAY_ADDRESS"
"""The environment variable in which Ray looks for a cluster if none is named."""
AUTHENTICATION = "RAY_AUTH_MODE"
"""The variable that has Ray send its token to an address; ``ray start`` asks for one if ``~/.ray`` has it."""
REACHABLE = 5.0
"""Seconds to wait for the cluster's port."""
PATIENCE = 30.0
"""Seconds without the cluster's head after which the run ends. After 60, Ray itself ends this process, with code 1."""
LEAVE = 5.0
"""Seconds that workers have to end by themselves."""
EXIT_DETAIL = "Worker exit detail: "
"""Ray's words before its explanation of why a process ended."""
CAUSE_LENGTH = 320
"""Characters of this explanation that are kept: enough for all the causes that it lists."""
MISMATCH = "Version mismatch"
"""How Ray's error begins, on several lines, if this process has another Python or Ray than the cluster."""
AS_ANY_PROCESS = {"env_vars": {"RAY_worker_niceness": "0"}}
"""Ray gives its workers niceness 15, with which anything else on a host would run before the measured models."""


@executors.register("ray")
@declares(ExecutorTraits(modules=("ray",), extra="ray"))
class Ray(Cluster):
    """The hosts of a Ray cluster: the one at ``address`` (``auto``, ``host:port``), one that runs here, or a new one.

    Every host gets ``workers`` workers, each with ``cores`` cores (0: an equal share of the host's), and with a GPU if
    the device is one. ``start`` is the seconds that workers may take to start; after ``silence`` seconds a silent
    worker is lost.
    ``working_dir`` is a folder that Ray copies to the hosts, ``image`` a container image in which it starts workers.
    """

    def __init__(
        self,
        device: str,
        cases: Sequence[Case] = (),
        *,
        address: str = "",
        workers: Positive = 1,
        cores: NonNegative = 0,
        start: float = 120.0,
        silence: float = 60.0,
        working_dir: str = "",
        image: str = "",
    ) -> None:
        environment = {key: value for key, value in (("working_dir", working_dir), ("image_uri", image)) if value}
        engine = _Engine(spec(device, cases, cores, workers), address, environment)
        super().__init__(engine, cases, Limits(start=start, silence=silence))


@dataclass
class _Remote:
    """A worker, the host that it is bound to, and the parts of its message so far."""

    name: str
    node: str
    slot: int
    actor: Any
    request_time: float
    reference: Any
    piece: int = -1
    parts: list[bytes] = field(default_factory=list)
    is_reported: bool = False


class _Engine:
    """Starts workers as actors, each bound to its host; their messages come as a stream that ends with the piece."""

    def __init__(self, spec: Spec, address: str, environment: dict[str, str]) -> None:
        self.spec, self.address, self.environment = spec, address, environment
        self.remotes: dict[str, _Remote] = {}
        self.ray: Any = None
        self._owns_session = False
        self._starts: dict[tuple[str, int], int] = {}
        self._false_starts: Counter[tuple[str, int]] = Counter()
        self._absences: list[Absent] = []
        self._look_time = 0.0
        self._head_time = 0.0

    @property
    def awaits_workers(self) -> bool:
        """Always: a host may join the cluster at any time."""
        return True

    @property
    def wait_reason(self) -> str:
        return ""

    def expect(self, cases: Sequence[Case]) -> None:
        self.spec = self.spec.of(cases)

    def start(self) -> int:
        self.ray = _library()
        self._connect()
        self._head_time = time.monotonic()
        self._look()
        if not self.remotes and self._absences:
            raise ConvbenchError(f"no host of the Ray cluster can be used: {self._absences[0].reason}")
        return len(self.remotes) + len(self._absences)

    def hand(self, worker: str, piece: Piece) -> None:
        remote = self.remotes[worker]
        remote.parts, remote.piece = [], piece.number
        remote.reference = remote.actor.chunks.options(num_returns="streaming").remote(piece)

    def events(self, seconds: float) -> Iterable[Event]:
        if time.monotonic() - self._look_time > SECONDS_BETWEEN_LOOKS:
            self._look()
        events: list[Event] = list(self._absences)
        self._absences = []
        remotes = {remote.reference: remote for remote in self.remotes.values() if remote.reference is not None}
        if not remotes:
            time.sleep(0 if events else min(seconds, 0.2))
            return events
        ready, _ = self.ray.wait(list(remotes), num_returns=1, timeout=0 if events else seconds, fetch_local=False)
        if ready:
            ready, _ = self.ray.wait(list(remotes), num_returns=len(remotes), timeout=0, fetch_local=False)
        for reference in ready:
            events += self._next_events(remotes[reference])
        return [*events, *self._late_workers()]

    def drop(self, worker: str) -> None:
        remote = self.remotes.pop(worker, None)
        if remote is not None:
            with contextlib.suppress(Exception):
                self.ray.kill(remote.actor, no_restart=True)
            self._look_time = 0.0

    def leave_out(self, worker: str) -> None:
        remote = self.remotes[worker]
        self._starts[remote.node, remote.slot] = RESTARTS + 1
        self.drop(worker)

    def close(self) -> None:
        if self.ray is None or not self.ray.is_initialized():
            return
        idle_remotes = [remote for remote in self.remotes.values() if remote.reference is None]
        with contextlib.suppress(Exception):
            references = [remote.actor.close.remote() for remote in idle_remotes]
            self.ray.wait(references, num_returns=len(references), timeout=LEAVE) if references else None
        for worker in list(self.remotes):
            self.drop(worker)
        if self._owns_session:
            self.ray.shutdown()
            self._print_messages(True)

    # --- The cluster --------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Join the cluster, or start one, without Ray's own signal handlers and its lines on standard error."""
        if self.ray.is_initialized():
            if not self._owns_session and (self.address or self.environment):
                raise ConvbenchError(
                    "this process already has a Ray session, which address, working_dir and image cannot change: leave "
                    "them out to use it, or end it first with ray.shutdown()"
                )
            return
        _refuse_unreachable(self.address)
        if self.address in ("", "auto"):
            _refuse_unreachable(os.environ.get(VARIABLE, ""), f"unset {VARIABLE}, which names it")
        options = {"address": self.address} if self.address else {}
        try:
            with _keep_handlers():
                self.ray.init(
                    **options, include_dashboard=None if options else False, log_to_driver=False, logging_level="ERROR",
                    runtime_env=self.environment or None,
                )  # fmt: skip
            self._owns_session = True
            self._print_messages(False)
        except Exception as error:
            raise ConvbenchError(self._refusal(error)) from error

    def _refusal(self, error: Exception) -> str:
        """Return why no session was opened, and what to do."""
        reason = cut(" ".join(str(error).split()) or line_of(error), CAUSE_LENGTH)
        if reason.startswith(MISMATCH):
            remedy = "install the same Python and Ray, to the last digit, on this machine and on every host"
            return f"the Ray cluster cannot be joined: {reason}; {remedy}"
        if self.environment and not isinstance(error, ConnectionError):
            return f"the Ray cluster cannot use {' and '.join(self.environment.values())}: {reason}"
        place = f"at {self.address}" if self.address else "that could be joined or started here"
        remedy = "start one with 'ray start --head', or name one with --executor-options address=HOST:6379"
        if self.address not in ("", "auto") and AUTHENTICATION not in os.environ:
            remedy += f"; if one runs there, it may ask for a token: set {AUTHENTICATION}=token"
        return f"no Ray cluster {place}: {reason}; {remedy}"

    def _print_messages(self, is_enabled: bool) -> None:
        """Set whether Ray prints reports on lost workers: pages of text on standard output, among our results.

        No option of ``ray.init`` stops them, so this does what Ray's own debugger does.
        """
        self.ray._private.worker._worker_logs_enabled = is_enabled

    def _look(self) -> None:
        """Start the workers that are missing on live hosts."""
        self._look_time = time.monotonic()
        if not self._has_head():
            return
        keys = {(remote.node, remote.slot) for remote in self.remotes.values()}
        for node in self.ray.nodes():
            if not node["Alive"]:
                continue
            for slot in range(self.spec.slots):
                key = (node["NodeID"], slot)
                if key not in keys and self._starts.get(key, 0) <= RESTARTS:
                    self._start_on(node, slot)

    def _has_head(self) -> bool:
        """Whether the cluster's head answers; every question to it blocks if it does not.

        Raises ConvbenchError if it has not answered for ``PATIENCE`` seconds.
        """
        error = _connection_error(str(self.ray.get_runtime_context().gcs_address))
        if error is None:
            self._head_time = time.monotonic()
        elif time.monotonic() - self._head_time > PATIENCE:
            raise ConvbenchError(
                f"the head of the Ray cluster is gone ({error.strerror or error}), and with it all workers: finished "
                "cases are kept; start the cluster again and add --resume to go on"
            )
        return error is None

    def _start_on(self, node: dict[str, Any], slot: int) -> None:
        key = (node["NodeID"], slot)
        share, lack = self._share(node["Resources"])
        if lack:
            if key not in self._starts and node["Resources"].get("CPU"):  # a head node without CPUs does no work
                self._absences.append(Absent(node.get("NodeName") or node["NodeID"][:8], lack))
            self._starts[key] = RESTARTS + 1
            return
        self._starts[key] = self._starts.get(key, 0) + 1
        name = f"{node['NodeID'][:12]}/{slot}/{self._starts[key]}"
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        kind = self.ray.remote(Worker).options(
            scheduling_strategy=strategy, max_restarts=0, runtime_env=AS_ANY_PROCESS, **share
        )
        actor = kind.remote(name, node["NodeID"], replace(self.spec, slot=slot))
        self.remotes[name] = _Remote(name, node["NodeID"], slot, actor, time.monotonic(), actor.describe.remote())

    def _share(self, resources: dict[str, float]) -> tuple[dict[str, float], str]:
        """Return the resources of a host that a worker reserves, and what the host lacks for it, or an empty text."""
        cpus, gpus, slots = resources.get("CPU", 0.0), resources.get("GPU", 0.0), self.spec.slots
        if self.spec.device.startswith("cuda") and gpus < slots:
            return {}, f"it has {gpus:g} GPUs and needs {slots}"
        if cpus < max(1, self.spec.cores * slots):
            return {}, f"it has {cpus:g} CPUs for Ray and needs {max(1, self.spec.cores * slots)}"
        share = self.spec.cores or (int(cpus // slots) or cpus / slots)
        wants_gpu = self.spec.device.startswith("cuda") or (self.spec.device == "auto" and gpus >= slots)
        return {"num_cpus": share, **({"num_gpus": 1} if wants_gpu else {})}, ""

    # --- What workers say ---------------------------------------------------------------------------------------------

    def _next_events(self, remote: _Remote) -> list[Event]:
        """Return a worker's next message, or the event of its end."""
        try:
            if remote.piece < 0:
                description = self.ray.get(remote.reference)
                remote.reference = None
                self._false_starts.pop((remote.node, remote.slot), None)
                return [description]
            return self._message(remote, self.ray.get(next(remote.reference)))
        except StopIteration:
            return self._give_up(remote, "it ended without a message")
        except self.ray.exceptions.RayTaskError as error:
            return self._give_up(remote, line_of(error.cause or error))
        except Exception as error:
            if getattr(error, "actor_init_failed", False):
                return self._give_up(remote, line_of(error, -1))
            if self._another_false_start(remote):
                return self._give_up(remote, _cause(error))
            remote.reference = None
            self.drop(remote.name)
            return [Lost(remote.name, _cause(error))]

    def _another_false_start(self, remote: _Remote) -> bool:
        """Count a worker that ended before its first message; return whether its host has had too many in a row."""
        self._false_starts[remote.node, remote.slot] += remote.piece < 0
        return remote.piece < 0 and self._false_starts[remote.node, remote.slot] >= FALSE_STARTS

    def _message(self, remote: _Remote, part: bytes) -> list[Event]:
        remote.parts.append(part)
        if not is_last(part):
            return []
        message: Any = message_of(remote.parts)
        remote.parts = []
        if isinstance(message, Done):
            remote.reference = None
        return [message]

    def _give_up(self, remote: _Remote, reason: str) -> list[Event]:
        """Return ``Done`` for the piece of a failed worker; if it never started, leave it out and return ``Absent``."""
        remote.reference = None
        if remote.piece >= 0:
            return [Done(remote.name, remote.piece, reason)]
        self.leave_out(remote.name)
        return [Absent(remote.node[:8], reason)]

    def _late_workers(self) -> Iterator[Event]:
        """Yield each late worker once. Ray does not tell whether it waits for resources or is slow to start."""
        for remote in self.remotes.values():
            is_late = remote.piece < 0 and remote.reference is not None
            if is_late and not remote.is_reported and time.monotonic() - remote.request_time > SECONDS_TO_START:
                remote.is_reported = True
                yield Lost(
                    remote.name,
                    "it has not started: other work of the cluster has its CPUs or GPUs, or the host is too busy (the "
                    "option start sets how long to wait)",
                )


@contextlib.contextmanager
def _keep_handlers() -> Iterator[None]:
    """Restore the earlier signal handlers; if Ray's own turned SIGTERM into an exit, call the earlier one too."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as error:
        handler = handlers[signal.SIGTERM]
        if error.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        with contextlib.suppress(ValueError):  # outside the main thread
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _cause(error: Exception) -> str:
    """Return why a worker was lost: the first line of Ray's text after its fixed first line and indented facts."""
    _, *lines = str(error).splitlines() or [""]
    causes = [line for line in lines if line.strip() and not line[0].isspace()]
    return cut(causes[0].rpartition(EXIT_DETAIL)[2], CAUSE_LENGTH) if causes else line_of(error)


def _library() -> Any:
    # Else Ray sends usage statistics to its makers, and hides GPUs from workers that reserve none.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise ConvbenchError(
            "--executor ray needs Ray, here and on every host: pip install 'convbench[ray]'"
        ) from error
    return ray


def _refuse_unreachable(address: str, remedy: str = "leave the address out to start one here") -> None:
    """Raise ConvbenchError if nothing listens at an address: Ray itself would try for minutes."""
    is_client = address.startswith("ray://")
    if error := _connection_error(address):
        option, port = "--ray-client-server-port" if is_client else "--port", address.rpartition(":")[2]
        raise ConvbenchError(
            f"no Ray cluster at {address}: {error.strerror or error}; start one with 'ray start --head {option} {port}'"
            f", or {remedy}"
        ) from error


def _connection_error(address: str) -> OSError | None:
    """Return why nothing listens at an address; None if something does, or if the address names no port."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host, int(port)), REACHABLE).close()
    except OSError as error:
        return error
    return None
