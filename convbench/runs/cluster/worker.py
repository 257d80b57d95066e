"""The worker on a host: measures pieces as one machine would, each visit in a fresh process, and reports every job.

A worker keeps to its share of the host: its cores or its GPU. A timed job holds the locks of that share, so that no
worker of another cluster times anything on it meanwhile. Runs without a cluster take no such locks.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from convbench.core import installed
from convbench.core.package import build
from convbench.core.record import Case
from convbench.core.registry import executors
from convbench.core.system import lock
from convbench.core.system.affinity import allowed_cores
from convbench.runs.cluster.engine import Beat, Began, Done, Ended, Joined, Message, Piece
from convbench.runs.executor import Executor, Host, Job
from convbench.runs.process.script import UserImports, user_imports
from convbench.runs.schedule import cores_of

SECONDS_A_BEAT = 3.0
CHUNK = 60_000
"""Bytes of a message that are sent at once: fewer than Ray puts into its object store, which may be full."""
SET_BY_ENGINES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that engines set for their workers. They are reset, or workers would measure other numbers than a shell."""


@dataclass(frozen=True)
class Spec:
    """What a worker must know to measure as the driver would: cases, import paths, variables, its share of the host.

    ``modules`` are those from which the driver imported plug-ins, besides the ones that installed packages and the
    environment name: a host that lacks one is of no use. A worker is number ``slot``, from 0, of ``slots`` on its
    machine. It takes ``cores`` cores of it; 0 means an equal share of them all.
    """

    device: str
    cases: tuple[Case, ...]
    paths: tuple[str, ...] = ()
    folder: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    slot: int = 0
    slots: int = 1
    cores: int = 0
    modules: tuple[str, ...] = ()

    def of(self, cases: Sequence[Case]) -> Spec:
        """Return the same spec for these cases. Raises ConvbenchError if they need what no host can import."""
        return replace(self, cases=tuple(cases), modules=modules_of(cases))


def spec(device: str, cases: Sequence[Case], cores: int, slots: int) -> Spec:
    """Return the spec that workers of this process measure by."""
    names = (*SET_BY_ENGINES, installed.VARIABLE)
    variables = {name: os.environ[name] for name in names if name in os.environ}
    paths = tuple(os.path.abspath(entry or ".") for entry in sys.path)  # noqa: PTH100
    share = Spec(device, (), paths, os.getcwd(), variables, slots=slots, cores=cores)  # noqa: PTH109
    return share.of(cases)


def modules_of(cases: Sequence[Case]) -> tuple[str, ...]:
    """The modules of plug-ins that hosts do not find by themselves. Raises ConvbenchError, as ``user_imports`` does."""
    modules = installed.of_environment()
    return tuple(name for name in user_imports(cases).modules if name not in modules and installed.origin(name) == name)


class Worker:
    """A worker for a host, or for one of its GPUs or sets of cores. ``close`` ends the processes that it started.

    ``place`` tells machines apart that have the same host name.
    """

    def __init__(self, name: str, place: str, spec: Spec) -> None:
        _become(spec)
        self.name, self.spec = name, spec
        self.executor: Executor = executors.get("isolated").build(spec.device, spec.cases)
        host = self.executor.hosts[0]
        self.gpu = self.executor.call(_gpu, host.device) if host.device != "cpu" else ""
        self.host: Host = replace(host, name=_host_name(spec, place, self.gpu))

    def describe(self) -> Joined:
        """Describe the host, with the time on its clock."""
        return Joined(self.name, self.host, time.time(), build())

    def messages(self, piece: Piece) -> Iterator[Message]:
        """Measure a piece and yield its messages as they come; a ``Beat`` after ``SECONDS_A_BEAT`` without one."""
        queue: SimpleQueue[Message] = SimpleQueue()
        Thread(target=self._measure, args=(piece, queue.put), daemon=True).start()
        while True:
            try:
                message = queue.get(timeout=SECONDS_A_BEAT)
            except Empty:
                message = Beat(self.name)
            yield message
            if isinstance(message, Done):
                return

    def chunks(self, piece: Piece) -> Iterator[bytes]:
        """Measure a piece and yield its messages in parts small enough for any engine (``split``)."""
        for message in self.messages(piece):
            yield from split(message)

    def close(self) -> None:
        self.executor.close()

    def _measure(self, piece: Piece, say: Callable[[Message], None]) -> None:
        tickets = {(job.case.id, job.visit): ticket for ticket, job in piece.jobs}
        failure = ""
        try:
            for job, record in self.executor.run(self._pinned_jobs(piece, say)):
                say(Ended(self.name, tickets[job.case.id, job.visit], job, record))
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        say(Done(self.name, piece.number, failure))

    def _pinned_jobs(self, piece: Piece, say: Callable[[Message], None]) -> Iterator[Job]:
        """Yield the jobs, pinned to cores of this host. A timed job holds the locks until its record is there."""
        for ticket, job in piece.jobs:
            cores = cores_of(job.case, max(0, job.visit), self.host.cores) if job.cores else ()
            with ExitStack() as locks:
                if job.takes_times and not job.case.trial:
                    for path in self._locks():
                        locks.enter_context(lock.hold(path, remedy=lock.OTHER_FOLDER))
                say(Began(self.name, ticket))
                yield replace(job, cores=cores)

    def _locks(self) -> list[Path]:
        """The lock files of the GPU, or of each core, always in the same order."""
        folder = lock.shared_folder()
        if self.host.device != "cpu":
            return [folder / f"convbench-gpu-{zlib.crc32(self.gpu.encode()):08x}.lock"]
        return [folder / f"convbench-core-{core}.lock" for core in sorted(self.host.cores)]


def split(message: Message | Joined) -> Iterator[bytes]:
    """Yield a message in parts of at most ``CHUNK`` bytes, each after a byte that says whether the message goes on."""
    data = zlib.compress(pickle.dumps(message), 1)
    for start in range(0, len(data), CHUNK):
        part = data[start : start + CHUNK]
        yield (b"\1" if start + CHUNK < len(data) else b"\0") + part


def is_last(part: bytes) -> bool:
    """Whether a part ends its message."""
    return part[:1] == b"\0"


def message_of(parts: Sequence[bytes]) -> Message | Joined:
    """Put a message together from its parts."""
    message: Message | Joined = pickle.loads(zlib.decompress(b"".join(part[1:] for part in parts)))
    return message


def _become(spec: Spec) -> None:
    """Take on the driver's folder, paths, variables and plug-ins, and keep to the worker's cores."""
    for name in SET_BY_ENGINES:
        os.environ.pop(name, None)
    os.environ.update(spec.variables)
    if spec.folder and Path(spec.folder).is_dir():
        os.chdir(spec.folder)
    sys.path += [path for path in spec.paths if path not in sys.path]
    share = _share(spec)
    if share:
        os.sched_setaffinity(0, share)
    UserImports(spec.modules).load()


def _host_name(spec: Spec, place: str, gpu: str) -> str:
    """Return a name that reveals nothing about the host: one for each machine, or each GPU or set of cores in use.

    Workers that a scheduler starts on one machine know nothing of each other. Those of one call are numbered.
    """
    part = "" if spec.slots > 1 else gpu or _part()
    machine = zlib.crc32(f"{socket.gethostname()} {place}{part}".encode())
    slot = f"-{spec.slot + 1}" if spec.slots > 1 else ""
    return f"host-{machine:08x}{slot}"


def _part() -> str:
    """The cores that this process is restricted to; empty if it has all cores of the machine."""
    cores = [*allowed_cores()]
    return "" if len(cores) in (0, os.cpu_count()) else str(cores)


def _gpu(device: str) -> str:
    """Return the UUID of a GPU; if torch does not report it, its number, which a scheduler may give to several GPUs."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(torch.device(device)), "uuid", None)
    return str(uuid or os.environ.get("CUDA_VISIBLE_DEVICES", device))


def _share(spec: Spec) -> set[int]:
    """The cores of this worker; empty for all cores of the host."""
    available = allowed_cores()
    count = spec.cores or (len(available) // spec.slots if spec.slots > 1 else 0)
    if not (available and count):
        return set()
    start = spec.slot * count % len(available)
    return set((*available, *available)[start : start + min(count, len(available))])
