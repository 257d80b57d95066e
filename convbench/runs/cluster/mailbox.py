"""Pieces and messages as files in a shared folder, for a job scheduler that provides processes and nothing else.

A file is written under another name and renamed, so that it is read whole or not at all. It is read once. Files are
numbered, so that nothing depends on clocks or on the order in which a network file system lists names. The driver shows
that it is alive by counting up in a file. A worker that sees no change for a while ends, so that no worker outlives the
driver.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from convbench.runs.cluster.engine import Beat, Event, Lost, Piece
from convbench.runs.cluster.worker import SECONDS_A_BEAT, Spec, Worker

SPEC, DRIVER, STOP, SERVED = "spec.pickle", "driver", "stop", "served"
SECONDS_BETWEEN_LOOKS = 0.2
ORPHANED = 120.0
"""Seconds without a sign of life from the driver after which a worker ends."""
ATTEMPTS = 30
"""How many times an action on a file is tried, a second apart: a full disk may have room again."""
AT_LIMIT = "its job is near its time limit"
UNREAD = (OSError, EOFError, pickle.UnpicklingError)
"""Errors of reading a message that is missing, cannot be read now, or was cut off when the worker's host went down."""
T = TypeVar("T")


class Mailboxes:
    """The driver's side of a folder: shows that the driver is alive, posts pieces and collects workers' messages."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / SPEC, spec)
        self._post_counts: dict[str, int] = {}
        self._read_counts: dict[str, int] = {}
        self._presence_time = time.monotonic()
        self._end = threading.Event()
        self._sign = threading.Thread(target=self._live, daemon=True)
        self._sign.start()

    @property
    def is_gone(self) -> bool:
        """Whether the folder has been missing for so long that every worker has ended."""
        if _is_there(self.folder) is not False:
            self._presence_time = time.monotonic()
        return time.monotonic() - self._presence_time > ORPHANED

    def open(self, worker: str) -> None:
        """Make a worker's mailbox."""
        (self.folder / worker).mkdir(exist_ok=True)
        self._post_counts[worker] = self._read_counts[worker] = 0

    def post(self, worker: str, piece: Piece) -> None:
        """Give a worker its next piece. Raises OSError if the folder cannot be written after ``ATTEMPTS`` attempts."""
        _write(self.folder / worker / f"in-{self._post_counts[worker]}", piece)
        self._post_counts[worker] += 1

    def collect(self) -> list[Event]:
        """Return the workers' messages since the last call; those that cannot be read now are left for the next."""
        events: list[Event] = []
        for worker in self._read_counts:
            _look_again(self.folder / worker)
            with suppress(*UNREAD):  # most often there is no further file
                while True:
                    events.append(_take(self.folder / worker / f"out-{self._read_counts[worker]}"))
                    self._read_counts[worker] += 1
        return events

    def stop(self, worker: str) -> None:
        """Ask a worker to end, and read no more of its messages."""
        self._read_counts.pop(worker, None)
        with suppress(OSError):
            (self.folder / worker / STOP).touch()

    def close(self) -> None:
        """Stop showing that the driver is alive, so that workers end."""
        self._end.set()
        self._sign.join(SECONDS_A_BEAT)  # it may be writing a file

    def _live(self) -> None:
        count = 0
        while not self._end.wait(SECONDS_A_BEAT):
            count += 1
            with suppress(OSError):
                _replace(self.folder / DRIVER, str(count).encode())


class Mailbox:
    """A worker's side of a folder."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.path, self.worker = folder, folder / worker, worker
        self._next_out = self._next_in = 0
        self._count, self._count_time = "", time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether the driver has asked the worker to end, or is gone."""
        _look_again(self.path)
        if _is_there(self.path / STOP) is True or _is_there(self.path) is False:
            return True
        count = ""
        with suppress(OSError):
            count = (self.folder / DRIVER).read_text()
        if count != self._count:
            self._count, self._count_time = count, time.monotonic()
        return time.monotonic() - self._count_time > ORPHANED

    def say(self, message: Event) -> None:
        """Send the driver a message. Raises OSError if the folder cannot be written after ``ATTEMPTS`` attempts."""
        _write(self.path / f"out-{self._next_out}", message)
        self._next_out += 1

    def pieces(self) -> Iterator[Piece]:
        """Yield pieces as they arrive, until the driver asks the worker to end or is gone."""
        last_beat = time.monotonic()
        while not self.has_ended:
            piece = None
            with suppress(OSError):
                piece = _take(self.path / f"in-{self._next_in}")
            if piece is not None:
                self._next_in += 1
                yield piece
            elif time.monotonic() - last_beat > SECONDS_A_BEAT:
                self.say(Beat(self.worker))
                last_beat = time.monotonic()
            time.sleep(SECONDS_BETWEEN_LOOKS)


def serve(folder: str, name: str, place: str, slot: int = 0, limits: tuple[type[Exception], ...] = ()) -> None:
    """Run a worker until the driver asks it to end or is gone. The scheduler's job calls this.

    A job that the scheduler runs a second time ends at once: it cannot know what its first worker had read and sent.
    ``limits`` are the errors that the scheduler raises here shortly before the job's time limit; the driver is told so.
    """
    try:
        _persist(partial((Path(folder) / name / SERVED).touch, exist_ok=False))
    except FileExistsError:
        return
    spec: Spec = pickle.loads(_persist((Path(folder) / SPEC).read_bytes))
    mailbox, worker = Mailbox(Path(folder), name), Worker(name, place, replace(spec, slot=slot))
    try:
        mailbox.say(worker.describe())
        try:
            for piece in mailbox.pieces():
                for message in worker.messages(piece):
                    if mailbox.has_ended:
                        return
                    mailbox.say(message)
        except limits:
            mailbox.say(Lost(name, AT_LIMIT, fault=False))
    finally:
        worker.close()


def wait_for_word(mailboxes: Mailboxes, seconds: float) -> Iterable[Event]:
    """Return the workers' messages. Waits at most ``seconds`` for the first."""
    deadline = time.monotonic() + seconds
    while not (events := mailboxes.collect()) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return events


def _look_again(folder: Path) -> None:
    """Have a network file system ask its server which files a folder has, by opening it.

    NFS remembers for up to a minute that a file was missing: each piece, and each record, would come that much later.
    """
    with suppress(OSError), os.scandir(folder):
        pass


def _is_there(path: Path) -> bool | None:
    """Whether a file is there; None if a network file system cannot tell at the moment."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True


def _write(path: Path, value: Any) -> None:
    _persist(partial(_replace, path, pickle.dumps(value)))


def _persist(action: Callable[[], T]) -> T:
    """Return the result of an action on a file, tried ``ATTEMPTS`` times. Raises the OSError of the last attempt.

    FileNotFoundError and FileExistsError are raised at once, since they are answers.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return action()
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError:
            time.sleep(1)
    return action()


def _replace(path: Path, content: bytes) -> None:
    sibling = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    sibling.write_bytes(content)
    sibling.replace(path)


def _take(path: Path) -> Any:
    value = pickle.loads(path.read_bytes())
    with suppress(OSError):
        path.unlink()
    return value
