"""slurm: workers as a job array of a Slurm cluster, by submitit; ``convbench[slurm]``."""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from convbench.core.errors import ConvbenchError, line_of
from convbench.core.option_types import Count, NonNegative
from convbench.core.record import Case
from convbench.core.registry import declares, executors
from convbench.core.traits import ExecutorTraits
from convbench.runs.cluster.engine import Event, Joined, Limits, Lost, Piece
from convbench.runs.cluster.executor import Cluster
from convbench.runs.cluster.mailbox import SPEC, Mailboxes, serve, wait_for_word
from convbench.runs.cluster.roll import log
from convbench.runs.cluster.worker import Spec, spec

SECONDS_BETWEEN_LOOKS = 10.0
"""How often the scheduler is asked what became of the jobs; what workers say is read at once."""
SECONDS_TO_END = 10.0
"""How long jobs that were asked to end may take, before their run is left to them."""
SECONDS_BETWEEN_TRIES = 60.0
"""Seconds between two requests for replacements that Slurm refused."""
REPLACEMENTS = 3
"""How many workers, over those asked for first, may be asked for in place of ones that a fault ended."""
MAIL = "mail"
"""The folder of a run's own in which the driver and its workers leave each other word."""
ABANDONED = 3600.0
"""Seconds without a sign of its driver after which a run's folder is taken away: its workers ended long before."""
ENDED = (
    "FAILED", "NODE_FAIL", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED", "COMPLETED",
    "REVOKED", "FINISHED", "INTERRUPTED", "NO PROCESS AND NO RESULT",
)  # fmt: skip
REQUEUED = ("PENDING", "REQUEUED")
"""States of a job that Slurm is to run again: the worker that it was is lost."""
FAULTLESS = (*REQUEUED, "TIMEOUT", "PREEMPTED", "CANCELLED", "COMPLETED")
"""Ends of a job whose worker had joined that say nothing against what it did."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the folder says, and not Slurm, where a job's description cannot be written into it."""
NEAR_LIMIT = 180.0
"""So many seconds before its time limit a job may end for it: submitit ends it 90 s before."""


@dataclass(frozen=True)
class _JobOptions:
    """What the jobs are asked for: ``minutes`` is their time limit, ``cores`` and ``gpus`` are 0 for Slurm's own."""

    cluster: str
    workers: int
    cores: int
    gpus: int
    minutes: int
    folder: str
    slurm_options: dict[str, str]
    exclusive: bool


@executors.register("slurm")
@declares(ExecutorTraits(modules=("submitit",), extra="slurm"))
class Slurm(Cluster):
    """A job array of ``workers`` (2), each a host, or one GPU where ``gpus`` is 1; it starts with those that come.

    ``folder`` is on a disk that all hosts share. ``minutes`` is the jobs' time limit; work of a job that ends goes on
    in another. ``cluster`` is ``slurm``, or to try it ``local`` (processes of this machine) or ``debug`` (one worker in
    this very process). ``cores``, ``memory`` (as 16GB), ``partition``, ``account``, ``constraint``, ``qos`` and
    ``exclusive`` are Slurm's, the last as by default but for workers of one GPU; ``setup`` is a line of shell to run
    first, ``start`` the seconds that the first workers may queue, ``silence`` those after which a silent one is lost.
    """

    def __init__(
        self,
        device: str,
        cases: Sequence[Case] = (),
        *,
        cluster: Literal["slurm", "local", "debug"] = "slurm",
        folder: str = ".convbench-slurm",
        workers: Count | None = None,
        cores: NonNegative = 0,
        gpus: NonNegative = 0,
        minutes: Count = 240,
        memory: str = "",
        partition: str = "",
        account: str = "",
        constraint: str = "",
        qos: str = "",
        exclusive: bool | None = None,
        setup: str = "",
        start: float = 3600.0,
        silence: float = 120.0,
    ) -> None:
        slurm_options = {
            "slurm_partition": partition, "slurm_account": account, "slurm_constraint": constraint, "slurm_qos": qos,
            "slurm_mem": memory, "setup": setup,
        }  # fmt: skip
        if cluster != "slurm":
            _warn_unused(cluster, slurm_options | {"exclusive": exclusive})
        if cluster == "debug" and workers not in (None, 1):
            raise ConvbenchError(
                f"--executor slurm: cluster=debug measures in this very process, so that there cannot be {workers} "
                "workers: give workers=1, or cluster=local for several"
            )
        workers = workers or (1 if cluster == "debug" else 2)
        is_exclusive = not gpus if exclusive is None else exclusive
        options = _JobOptions(cluster, workers, cores, gpus, minutes, folder, slurm_options, is_exclusive)
        # A worker has the cores that Slurm gives it; only processes of one machine have to be told theirs.
        worker_spec = spec(
            device, cases, cores if cluster == "local" else 0, workers if cluster == "local" and cores else 1
        )
        super().__init__(_Engine(options, worker_spec), cases, Limits(start=start, silence=silence))


@dataclass
class _Submission:
    """A job, when its worker joined, and whether it was seen to run."""

    job: Any
    join_time: float = math.inf
    has_run: bool = False


@dataclass
class _Engine:
    """Jobs that read and write a shared folder; the scheduler is asked only what became of them."""

    options: _JobOptions
    spec: Spec
    submissions: dict[str, _Submission] = field(default_factory=dict)
    _write_errors: dict[str, str] = field(default_factory=dict)
    _look_time: float = 0.0
    _worker_count: int = 0
    _owed_count: int = 0
    _faultless_count: int = 0
    _refusal_time: float = 0.0

    @property
    def awaits_workers(self) -> bool:
        """Whether a job has yet to give its worker, or is to be asked for in place of another."""
        return self._owed_count > 0 or any(math.isinf(submission.join_time) for submission in self.submissions.values())

    def expect(self, cases: Sequence[Case]) -> None:
        self.spec = self.spec.of(cases)

    def start(self) -> int:
        self.submitit = _library()
        if self.options.cluster == "slurm" and not shutil.which("sbatch"):
            raise ConvbenchError(
                "--executor slurm: there is no sbatch here: run it on a login node of the cluster, or try it with "
                "--executor-options cluster=local"
            )
        self.run_folder = _run_folder(Path(self.options.folder))
        try:
            self.mailboxes = Mailboxes(self.run_folder / MAIL, self.spec)
            self._submit(self.options.workers)
        except OSError as error:
            raise _unwritable(self.run_folder, error) from error
        return len(self.submissions)

    def hand(self, worker: str, piece: Piece) -> None:
        try:
            self.mailboxes.post(worker, piece)
        except OSError as error:
            self._write_errors[worker] = f"its work cannot be written: {line_of(error)}"

    def events(self, seconds: float) -> Iterable[Event]:
        if self.mailboxes.gone:
            raise ConvbenchError(
                f"{self.run_folder}: it is gone, and with it the workers that shared it: what is finished is kept, add "
                "--resume to go on"
            )
        errors, self._write_errors = self._write_errors, {}
        for worker, reason in errors.items():
            self.drop(worker)
            yield Lost(worker, reason, fault=False)
        yield from self._note_joins(wait_for_word(self.mailboxes, seconds))
        if time.monotonic() - self._look_time > (SECONDS_BETWEEN_LOOKS if self.options.cluster == "slurm" else 1.0):
            self._look_time = time.monotonic()
            yield from self._losses()

    def drop(self, worker: str) -> None:
        limit = self.options.workers * (1 + REPLACEMENTS) + self._faultless_count
        self._owed_count += worker in self.submissions and self._worker_count + self._owed_count < limit
        self.leave_out(worker)
        self._replace()

    def leave_out(self, worker: str) -> None:
        submission = self.submissions.pop(worker, None)
        self.mailboxes.stop(worker)
        if submission is not None:
            with suppress(Exception):
                submission.job.cancel(check=False)

    def close(self) -> None:
        if not hasattr(self, "mailboxes"):
            return
        for worker in self.submissions:
            self.mailboxes.stop(worker)
        if self.options.cluster != "slurm":  # processes of this machine end by themselves, with nothing left behind
            self._wait_for_ends()
        for submission in self.submissions.values():
            if self.options.cluster == "slurm" or not _state(submission.job).startswith(ENDED):
                with suppress(Exception):
                    submission.job.cancel(check=False)
        self.mailboxes.close()
        _remove(self.run_folder)

    # --- Jobs ---------------------------------------------------------------------------------------------------------

    def _submit(self, workers: int) -> None:
        """Ask for so many more. Raises ConvbenchError with what Slurm says against it, OSError as the folder does."""
        names = [f"worker-{self._worker_count + number}" for number in range(workers)]
        for name in names:
            self.mailboxes.open(name)
        try:
            executor = self.submitit.AutoExecutor(folder=self.run_folder / "logs", cluster=self.options.cluster)
            executor.update_parameters(**self._parameters())
            with executor.batch():
                jobs = [executor.submit(serve, *self._arguments(name)) for name in names]
        except Exception as error:
            if getattr(error, "errno", None) in NO_ROOM:
                raise
            raise ConvbenchError(f"Slurm refuses the workers: {line_of(error, -1)}") from error
        self._worker_count += workers
        for name, job in zip(names, jobs, strict=True):
            self.submissions[name] = _Submission(job)
            if self.options.cluster == "debug":
                threading.Thread(target=job.exception, daemon=True).start()

    def _replace(self) -> None:
        """Ask for the workers that are owed; those that are left go on meanwhile where Slurm does not want to."""
        if not self._owed_count or time.monotonic() - self._refusal_time < SECONDS_BETWEEN_TRIES:
            return
        try:
            self._submit(self._owed_count)
            self._owed_count = 0
        except (ConvbenchError, OSError) as error:
            self._refusal_time = time.monotonic()
            problem = isinstance(error, OSError) and f"{self.run_folder} cannot be written ({error.strerror})"
            log.warning("convbench: no worker in place of a lost one yet: %s", problem or error)

    def _arguments(self, name: str) -> tuple[str, str, str, int]:
        number = int(name.rpartition("-")[2])
        place = "" if self.options.cluster == "slurm" else name
        return str(self.run_folder / MAIL), name, place, number % self.spec.slots

    def _parameters(self) -> dict[str, Any]:
        options = self.options
        parameters: dict[str, Any] = {"timeout_min": options.minutes, "name": "convbench"}
        parameters |= {"cpus_per_task": options.cores} if options.cores and options.cluster == "slurm" else {}
        parameters |= {"gpus_per_node": options.gpus} if options.gpus else {}
        if options.cluster == "slurm":
            slurm_options = {key: text for key, text in options.slurm_options.items() if text}
            setup = slurm_options.pop("setup", "")
            parameters |= slurm_options | ({"slurm_setup": [setup]} if setup else {})
            parameters |= {"slurm_additional_parameters": {"exclusive": True}} if options.exclusive else {}
        return parameters

    def _losses(self) -> Iterator[Event]:
        """The workers whose job is over, as the scheduler says."""
        self._replace()
        self._refresh()
        for worker, submission in list(self.submissions.items()):
            state = _state(submission.job) if self.options.cluster != "debug" else ""
            is_requeued = submission.has_run and state.startswith(REQUEUED)
            submission.has_run |= state.startswith("RUNNING")
            if state.startswith(ENDED) or is_requeued:
                yield from self._note_joins(self.mailboxes.collect())
                is_faultless = self._faultless_end(submission, state)
                self._faultless_count += is_faultless
                self.drop(worker)
                yield Lost(
                    worker, f"its job ended ({state.lower()}){_last_line(submission.job)}", fault=not is_faultless
                )

    def _refresh(self) -> None:
        """Ask the scheduler now: submitit asks ever less often, also where it knows the jobs."""
        jobs = [submission.job for submission in self.submissions.values() if _state(submission.job) != "UNKNOWN"]
        if jobs and self.options.cluster == "slurm":
            with suppress(Exception):
                jobs[0].watcher.update()

    def _note_joins(self, events: Iterable[Event]) -> Iterator[Event]:
        """What workers say, with note of when they joined."""
        for event in events:
            if isinstance(event, Joined) and event.worker in self.submissions:
                self.submissions[event.worker].join_time = time.monotonic()
            yield event

    def _faultless_end(self, submission: _Submission, state: str) -> bool:
        """Whether a job that had joined ended for its time limit, or for what others want of the cluster."""
        limit, seconds = 60.0 * self.options.minutes, time.monotonic() - submission.join_time
        return seconds > max(limit / 2, limit - NEAR_LIMIT) or (seconds >= 0 and state.startswith(FAULTLESS))

    def _wait_for_ends(self) -> None:
        """Wait a while for processes of this machine."""
        deadline = time.monotonic() + SECONDS_TO_END
        for submission in self.submissions.values():
            while (
                self.options.cluster == "local"
                and not _state(submission.job).startswith(ENDED)
                and time.monotonic() < deadline
            ):
                time.sleep(0.1)


def _warn_unused(cluster: str, slurm_options: Mapping[str, Any]) -> None:
    """A file of options for the cluster is also what it is tried with, so that nothing in it is refused."""
    names = [name.removeprefix("slurm_").replace("mem", "memory") for name, value in slurm_options.items() if value]
    if names:
        log.warning("convbench: not used with cluster=%s: %s", cluster, ", ".join(names))


def _state(job: Any) -> str:
    try:
        return str(job.state)
    except Exception:  # the accounting of a cluster may be broken: then what workers say has to do
        return "UNKNOWN"


def _last_line(job: Any) -> str:
    """The last line that a job wrote before it ended."""
    with suppress(Exception):
        lines = (job.stderr() or "").strip().splitlines()
        return f": {lines[-1][:200]}" if lines else ""
    return ""


def _run_folder(folder: Path) -> Path:
    """A folder of this run's own in the one that the hosts share. Raises ConvbenchError.

    Git ignores what is in it: the run would be said to be of code with changes that were not committed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="run-", dir=folder.absolute()))
        (place / ".gitignore").write_text("*\n")
        _remove_abandoned(folder, place.stat().st_mtime)
        return place
    except OSError as error:
        raise _unwritable(folder, error) from error


def _remove_abandoned(folder: Path, disk_time: float) -> None:
    """Take away what drivers that were killed have left; ``disk_time`` is by the disk's clock, as are all times here.

    Folders of ours alone: one that a user has named so may lie beside them.
    """
    for path in folder.glob(f"run-*/{MAIL}/{SPEC}"):
        with suppress(OSError):
            # A driver that lives renames a file in the mail every few seconds, which dates the folder.
            if disk_time - path.parent.stat().st_mtime > ABANDONED:
                shutil.rmtree(path.parents[1], ignore_errors=True)


def _remove(folder: Path) -> None:
    """Take a folder away, again while it is there: a job that was cancelled writes into it until it ends."""
    deadline = time.monotonic() + SECONDS_TO_END
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> ConvbenchError:
    return ConvbenchError(
        f"{folder}: cannot be written ({error.strerror}): choose a folder that all hosts share with "
        "--executor-options folder=PATH; to go on with a run that had begun, add --resume"
    )


def _library() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConvbenchError("--executor slurm needs submitit: pip install 'convbench[slurm]'") from error
    return submitit
