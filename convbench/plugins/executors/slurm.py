"""The executor ``slurm``: workers as a job array of a Slurm cluster, submitted by submitit.

It needs ``convbench[slurm]``.
"""

from __future__ import annotations

import errno
import logging
import math
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from convbench.core.errors import ConvbenchError, line_of
from convbench.core.option_types import NonNegative, Positive
from convbench.core.record import Case
from convbench.core.registry import declares, executors
from convbench.core.text import cut
from convbench.core.traits import ExecutorTraits
from convbench.runs.cluster.engine import Event, Joined, Limits, Lost, Piece
from convbench.runs.cluster.executor import Cluster
from convbench.runs.cluster.mailbox import SPEC, Mailboxes, serve, wait_for_word
from convbench.runs.cluster.roll import log
from convbench.runs.cluster.worker import Spec, spec

SECONDS_BETWEEN_LOOKS = 10.0
"""Seconds between two queries for the states of jobs; messages of workers are read at once."""
PAUSE_AFTER_A_LOOK = 5.0
"""Least pause between two looks, in durations of the last one: while Slurm is slow to answer, workers get no work."""
SECONDS_OF_A_QUERY = 15
"""Seconds that a query for the states of jobs may take: if Slurm's database is down, it hangs for minutes."""
LIMITED = ("sh", "-c", 'exec timeout "$0" "$@" 2>/dev/null')
"""Runs a command that follows the seconds it may take; its errors would fill the terminal while Slurm is down."""
SECONDS_TO_END = 10.0
"""Seconds to wait for jobs that were asked to end."""
SECONDS_BETWEEN_TRIES = 60.0
"""Seconds between two requests for replacements that Slurm refused."""
REPLACEMENTS = 3
"""Maximum number of replacements for workers that a fault ended, per worker asked for at first."""
MAIL = "mail"
"""Name of the folder, within a run's folder, in which the driver and its workers leave messages."""
ABANDONED = 3600.0
"""Seconds without a sign of its driver after which a run's folder is removed: its workers ended long before."""
GONE = "NO LONGER IN THE QUEUE"
"""The state of a job that Slurm's queue has forgotten, on a cluster without accounting."""
ENDED = (
    GONE,
    "FAILED", "NODE_FAIL", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED", "COMPLETED",
    "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL", "FINISHED", "INTERRUPTED", "NO PROCESS AND NO RESULT",
)  # fmt: skip
REQUEUED = ("PENDING", "REQUEUE", "SPECIAL_EXIT")
"""Beginnings of the states of a job that Slurm will run again, or holds for that: its worker so far is lost."""
FAULTLESS = (*REQUEUED, "TIMEOUT", "PREEMPTED", "CANCELLED", "COMPLETED")
"""States of an ended job that do not suggest a fault in its work, if its worker had joined."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of the folder, not of Slurm, that keep a job's description from being written."""
BYPASSED = re.compile(
    r"(?:Call #\d+ - )?Bypassing (?:sacct|state) error:?\s+(.*?)\.?(?:, status may be inaccurate\.)?", re.DOTALL
)
"""Matches submitit's message that a query for the states of jobs has failed, with the reason."""
FAILED_QUERY = re.compile(r"Command '\[.*\]' returned non-zero exit status (\d+)", re.DOTALL)
"""Matches Python's words for a query that failed."""
LOGGED = re.compile(r"submitit [A-Z]+ \(")
"""Matches a line of submitit's own log in a job, such as the one about a signal that it passes over."""
NEAR_LIMIT = 180.0
"""A job that ends within this many seconds of its time limit ended because of it: submitit ends jobs 90 s before."""


@dataclass(frozen=True)
class _JobOptions:
    """Options of the jobs: ``minutes`` is their time limit; ``cores`` and ``gpus`` are 0 for Slurm's defaults."""

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
    """A Slurm job array of ``workers`` (2), each a host, or a GPU if ``gpus`` is 1; work starts when the first join.

    ``folder`` is on a disk that all hosts share. ``minutes`` is the time limit of a job; when it ends, its work goes on
    in another. ``cluster`` is ``slurm``, or for a trial ``local`` (processes of this machine) or ``debug`` (one worker
    in this very process). ``cores``, ``memory`` (such as 16GB), ``partition``, ``account``, ``constraint``, ``qos`` and
    ``exclusive`` are Slurm's options; ``exclusive`` is the default unless ``gpus`` is given. ``setup`` is a line of
    shell to run first. ``start`` is the seconds that the first workers may queue; after ``silence`` seconds a silent
    worker is lost.
    """

    def __init__(
        self,
        device: str,
        cases: Sequence[Case] = (),
        *,
        cluster: Literal["slurm", "local", "debug"] = "slurm",
        folder: str = ".convbench-slurm",
        workers: Positive | None = None,
        cores: NonNegative = 0,
        gpus: NonNegative = 0,
        minutes: Positive = 240,
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
                f"--executor slurm: cluster=debug measures in this very process, so there cannot be {workers} "
                "workers: give workers=1, or cluster=local for several"
            )
        workers = workers or (1 if cluster == "debug" else 2)
        is_exclusive = not gpus if exclusive is None else exclusive
        options = _JobOptions(cluster, workers, cores, gpus, minutes, folder, slurm_options, is_exclusive)
        # Slurm gives each worker its cores; only processes of one machine must be assigned theirs.
        worker_spec = spec(
            device, cases, cores if cluster == "local" else 0, workers if cluster == "local" and cores else 1
        )
        super().__init__(_Engine(options, worker_spec), cases, Limits(start=start, silence=silence))


@dataclass
class _Submission:
    """A job, the time when its worker joined, and whether it was seen running."""

    job: Any
    join_time: float = math.inf
    has_run: bool = False


@dataclass
class _Engine:
    """Submits jobs that read and write a shared folder; the scheduler is only asked for their states."""

    options: _JobOptions
    spec: Spec
    submissions: dict[str, _Submission] = field(default_factory=dict)
    _write_errors: dict[str, str] = field(default_factory=dict)
    _next_look_time: float = 0.0
    _worker_count: int = 0
    _owed_count: int = 0
    _faultless_count: int = 0
    _refusal_time: float = 0.0
    _has_failed_query: bool = False
    _is_accounting_down: bool = False

    @property
    def awaits_workers(self) -> bool:
        """Whether a worker has yet to join, or a replacement has yet to be submitted."""
        return self._owed_count > 0 or any(math.isinf(submission.join_time) for submission in self.submissions.values())

    @property
    def wait_reason(self) -> str:
        """Slurm's reasons, such as JobHeldUser or PartitionTimeLimit: some of them never end by themselves."""
        queue = _queue() or {} if self.options.cluster == "slurm" else {}
        places = (queue.get(submission.job.job_id) for submission in self.submissions.values())
        reasons = sorted({place.reason for place in places if place and place.state == "PENDING"} - {"", "None"})
        return f"Slurm's queue gives the reason {' and '.join(reasons)}." if reasons else ""

    def expect(self, cases: Sequence[Case]) -> None:
        self.spec = self.spec.of(cases)

    def start(self) -> int:
        self.submitit = _library()
        logging.getLogger("submitit").addFilter(self._is_news)
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
        if self.mailboxes.is_gone:
            raise ConvbenchError(
                f"{self.run_folder} is gone, and with it the workers that shared it: finished cases are kept; add "
                "--resume to go on"
            )
        errors, self._write_errors = self._write_errors, {}
        for worker, reason in errors.items():
            self.drop(worker)
            yield Lost(worker, reason, fault=False)
        # First the scheduler, which may take minutes to answer: the messages of that time tell which workers are alive.
        if (start := time.monotonic()) > self._next_look_time:
            yield from self._losses()
            end, pause = time.monotonic(), SECONDS_BETWEEN_LOOKS if self.options.cluster == "slurm" else 1.0
            self._next_look_time = end + max(pause, PAUSE_AFTER_A_LOOK * (end - start))
        yield from self._note(wait_for_word(self.mailboxes, seconds))

    def drop(self, worker: str) -> None:
        limit = self.options.workers * (1 + REPLACEMENTS) + self._faultless_count
        self._owed_count += worker in self.submissions and self._worker_count + self._owed_count < limit
        self.leave_out(worker)
        self._replace()

    def leave_out(self, worker: str) -> None:
        submission = self.submissions.pop(worker, None)
        self.mailboxes.stop(worker)
        if submission is not None:
            self._cancel([submission.job])

    def close(self) -> None:
        logging.getLogger("submitit").removeFilter(self._is_news)
        if not hasattr(self, "mailboxes"):
            if hasattr(self, "run_folder"):  # a full disk took the folder, but no file
                _remove(self.run_folder)
            return
        for worker in self.submissions:
            self.mailboxes.stop(worker)
        if self.options.cluster == "local":  # processes of this machine end by themselves, with nothing left behind
            self._wait_for_ends()
        self._cancel([submission.job for submission in self.submissions.values()])
        self.mailboxes.close()
        _remove(self.run_folder)

    # --- Jobs ---------------------------------------------------------------------------------------------------------

    def _submit(self, workers: int) -> None:
        """Submit more workers. Raises ConvbenchError if Slurm refuses, OSError if the folder cannot be written."""
        names = [f"worker-{self._worker_count + number}" for number in range(workers)]
        for name in names:
            self.mailboxes.open(name)
        try:
            executor = self.submitit.AutoExecutor(folder=self.run_folder / "logs", cluster=self.options.cluster)
            executor.update_parameters(**self._parameters())
            limits = (self.submitit.core.utils.UncompletedJobError,)  # submitit announces the time limit by this error
            with executor.batch():
                jobs = [executor.submit(serve, *self._arguments(name), limits) for name in names]
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
        """Submit the replacements that are owed. If Slurm refuses, the remaining workers go on meanwhile."""
        if not self._owed_count or time.monotonic() - self._refusal_time < SECONDS_BETWEEN_TRIES:
            return
        try:
            self._submit(self._owed_count)
            self._owed_count = 0
        except (ConvbenchError, OSError) as error:
            self._refusal_time = time.monotonic()
            problem = isinstance(error, OSError) and f"{self.run_folder} cannot be written ({error.strerror})"
            log.warning("convbench: a lost worker is not replaced yet: %s", problem or error)

    def _arguments(self, name: str) -> tuple[str, str, str, int]:
        number = int(name.rpartition("-")[2])
        place = "" if self.options.cluster == "slurm" else name
        return str(self.run_folder / MAIL), name, place, number % self.spec.slots

    def _cancel(self, jobs: Sequence[Any]) -> None:
        """Cancel jobs; those of Slurm by one command, and if it hangs, they end without their driver."""
        if self.options.cluster == "slurm" and jobs:
            with suppress(OSError, subprocess.SubprocessError):
                command = ["scancel", *(str(job.job_id) for job in jobs)]
                subprocess.run(command, timeout=SECONDS_OF_A_QUERY, capture_output=True, check=False)
            return
        for job in jobs:
            if not _state(job).startswith(ENDED):
                with suppress(Exception):
                    job.cancel(check=False)

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
        """Yield the workers whose jobs have ended, according to the scheduler."""
        self._replace()
        for worker, (submission, state) in self._states().items():
            is_requeued = submission.has_run and state.startswith(REQUEUED)
            submission.has_run |= state.startswith("RUNNING")
            if state.startswith(ENDED) or is_requeued:
                yield from self._note(self.mailboxes.collect())
                if worker not in self.submissions:  # its last message said why it ended
                    continue
                is_faultless = self._faultless_end(submission, state)
                self._faultless_count += is_faultless
                # Whoever cancels a job wants fewer: in its place another one would start, again and again.
                (self.leave_out if state.startswith("CANCELLED") else self.drop)(worker)
                fate = f"its job {'was requeued' if is_requeued else 'ended'} ({state.lower()})"
                yield Lost(worker, f"{fate}{_last_line(submission.job)}", fault=not is_faultless)

    def _states(self) -> dict[str, tuple[_Submission, str]]:
        """Return each worker's job and its state: by the accounting or, if that does not know it now, by the queue."""
        self._is_accounting_down = False
        self._refresh()
        is_known = self.options.cluster != "debug"
        states = {worker: _state(item.job) if is_known else "" for worker, item in self.submissions.items()}
        unknown_workers = [
            worker
            for worker, state in states.items()
            if state == "UNKNOWN" or (self._is_accounting_down and not state.startswith(ENDED))
        ]
        if self.options.cluster == "slurm" and unknown_workers and (queue := _queue()) is not None:
            jobs = {worker: self.submissions[worker].job.job_id for worker in unknown_workers}
            states |= {worker: queue[job].state if job in queue else GONE for worker, job in jobs.items()}
        return {worker: (self.submissions[worker], state) for worker, state in states.items()}

    def _refresh(self) -> None:
        """Query the scheduler now: submitit queries it less and less often, even about jobs that it knows."""
        jobs = [submission.job for submission in self.submissions.values() if _state(submission.job) != "UNKNOWN"]
        if jobs and self.options.cluster == "slurm":
            with suppress(Exception):
                jobs[0].watcher.update()

    def _is_news(self, message: logging.LogRecord) -> bool:
        """Whether a message of submitit is shown: it repeats a failed query for states, which is told once instead."""
        match = BYPASSED.fullmatch(message.getMessage())
        self._is_accounting_down |= match is not None
        if match and not self._has_failed_query:
            self._has_failed_query = True
            failure = FAILED_QUERY.sub(lambda code: f"sacct: exit code {code[1]}", match[1])
            failure = failure.replace("exit code 124", f"no answer after {SECONDS_OF_A_QUERY} s")  # by ``timeout``
            reason = f"Slurm's accounting does not answer ({cut(failure, 200)})"
            log.warning(
                "convbench: %s: the end of a worker is noticed in the queue, or by its silence, meanwhile", reason
            )
        return not match

    def _note(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events of workers, note when each worker joins, and replace those that end at their time limit."""
        for event in events:
            if isinstance(event, Joined) and event.worker in self.submissions:
                self.submissions[event.worker].join_time = time.monotonic()
            elif isinstance(event, Lost):
                self._faultless_count += 1
                self.drop(event.worker)
            yield event

    def _faultless_end(self, submission: _Submission, state: str) -> bool:
        """Whether a job whose worker had joined ended for its time limit or other demands of the cluster."""
        limit, seconds = 60.0 * self.options.minutes, time.monotonic() - submission.join_time
        return seconds > max(limit / 2, limit - NEAR_LIMIT) or (seconds >= 0 and state.startswith(FAULTLESS))

    def _wait_for_ends(self) -> None:
        deadline, jobs = time.monotonic() + SECONDS_TO_END, [submission.job for submission in self.submissions.values()]
        while not all(_state(job).startswith(ENDED) for job in jobs) and time.monotonic() < deadline:
            time.sleep(0.1)


def _warn_unused(cluster: str, slurm_options: Mapping[str, Any]) -> None:
    """Warn of Slurm's options without Slurm. A trial may use the cluster's file of options, so none is refused."""
    names = [name.removeprefix("slurm_").replace("mem", "memory") for name, value in slurm_options.items() if value]
    if names:
        log.warning("convbench: not used with cluster=%s: %s", cluster, ", ".join(names))


def _state(job: Any) -> str:
    try:
        return str(job.state)
    except Exception:  # a cluster's accounting may be broken: then the workers' messages must do
        return "UNKNOWN"


class _Place(NamedTuple):
    """A job's state in Slurm's queue, and the reason why it has not started."""

    state: str
    reason: str


def _queue() -> dict[str, _Place] | None:
    """Return this user's jobs in Slurm's queue by their numbers; None if it cannot be read.

    ``all`` includes those that have ended in the last minutes, with how: a cancelled job used to be replaced.
    """
    command = ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i %T %r"]
    try:
        output = subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL, timeout=SECONDS_OF_A_QUERY)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    lines = (line.split(maxsplit=2) for line in output.splitlines())
    return {words[0]: _Place(words[1], "".join(words[2:])) for words in lines if len(words) > 1}


def _last_line(job: Any) -> str:
    """Return ``: `` and the last line of a job's standard error, without submitit's log; empty if there is none."""
    with suppress(Exception):
        lines = [line for line in (job.stderr() or "").splitlines() if line.strip() and not LOGGED.match(line)]
        return f": {lines[-1].strip()[:200]}" if lines else ""
    return ""


def _run_folder(folder: Path) -> Path:
    """Make a folder for this run in the shared folder. Raises ConvbenchError if it cannot be written.

    Git ignores its content; otherwise the run would be recorded as one of code with uncommitted changes.
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
    """Remove the folders of killed drivers; ``disk_time`` is by the disk's clock, like all times here.

    It removes only folders with our files: a user's folder of a similar name may lie beside them.
    """
    for path in folder.glob(f"run-*/{MAIL}/{SPEC}"):
        with suppress(OSError):
            # A live driver renames a file in this folder every few seconds, which updates the time of the folder.
            if disk_time - path.parent.stat().st_mtime > ABANDONED:
                shutil.rmtree(path.parents[1], ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder, again and again while it is there: a cancelled job writes into it until it ends."""
    deadline = time.monotonic() + SECONDS_TO_END
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> ConvbenchError:
    return ConvbenchError(
        f"{folder}: cannot be written ({error.strerror}): choose a folder that all hosts share with "
        "--executor-options folder=PATH; to go on with a run that has begun, add --resume"
    )


def _library() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ConvbenchError("--executor slurm needs submitit: pip install 'convbench[slurm]'") from error
    _limit_queries(submitit.SlurmJob.watcher)
    return submitit


def _limit_queries(watcher: Any) -> None:
    """End each query of a watcher after ``SECONDS_OF_A_QUERY``, without its errors, and make none without ``sacct``.

    Submitit has no limit, and ignores the errors.
    """

    def limited_command() -> list[str] | None:
        command = type(watcher)._make_command(watcher)
        return command and shutil.which(command[0]) and [*LIMITED, str(SECONDS_OF_A_QUERY), *command]

    watcher._make_command = limited_command
