"""Pieces and messages as files of a shared folder, where a job scheduler gives processes and nothing else.

A file is written beside and renamed, so that it is read whole or not at all, and read once. Every file has a number,
so that nothing depends on clocks or on the order in which a network file system shows names. The driver shows that it
lives by a count that goes on; a worker that does not see it change for a while ends, so that nothing outlives the
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

from convbench.runs.cluster.engine import Beat, Event, Piece
from convbench.runs.cluster.worker import SECONDS_A_BEAT, Spec, Worker

SPEC, DRIVER, STOP, SERVED = "spec.pickle", "driver", "stop", "served"
SECONDS_BETWEEN_LOOKS = 0.2
ORPHANED = 120.0
"""Seconds without a sign of the driver after which a worker ends."""
ATTEMPTS = 30
"""How often a file is tried to be written, a second apart: a full disk may have room again."""
UNREAD = (OSError, EOFError, pickle.UnpicklingError)
"""What reading a message raises that is not there, cannot be had now, or was cut when the worker's host went down."""
T = TypeVar("T")


class Mailboxes:
    """The driver's side of a folder: it shows that it lives, posts pieces and collects what the workers say."""

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
        """Whether the folder has been away for so long that every worker has ended."""
        if _is_there(self.folder) is not False:
            self._presence_time = time.monotonic()
        return time.monotonic() - self._presence_time > ORPHANED

    def open(self, worker: str) -> None:
        """Make a worker's mailbox."""
        (self.folder / worker).mkdir(exist_ok=True)
        self._post_counts[worker] = self._read_counts[worker] = 0

    def post(self, worker: str, piece: Piece) -> None:
        """Give a worker its next piece. Raises OSError where the folder cannot be written for long."""
        _write(self.folder / worker / f"in-{self._post_counts[worker]}", piece)
        self._post_counts[worker] += 1

    def collect(self) -> list[Event]:
        """What the workers have said since; what cannot be read now is left for the next look."""
        events: list[Event] = []
        for worker in self._read_counts:
            with suppress(*UNREAD):  # most often there is no further file
                while True:
                    events.append(_take(self.folder / worker / f"out-{self._read_counts[worker]}"))
                    self._read_counts[worker] += 1
        return events

    def stop(self, worker: str) -> None:
        """Ask a worker to end, and read nothing more of it."""
        self._read_counts.pop(worker, None)
        with suppress(OSError):
            (self.folder / worker / STOP).touch()

    def close(self) -> None:
        """Show no longer that the driver lives, so that workers end."""
        self._end.set()
        self._sign.join(SECONDS_A_BEAT)  # it may be in the middle of a file

    def _live(self) -> None:
        count = 0
        while not self._end.wait(SECONDS_A_BEAT):
            count += 1
            with suppress(OSError):
                _replace(self.folder / DRIVER, str(count).encode())


class Mailbox:
    """A worker's side."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.path, self.worker = folder, folder / worker, worker
        self._next_out = self._next_in = 0
        self._count, self._count_time = "", time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether the driver has asked to end, or is gone."""
        if _is_there(self.path / STOP) is True or _is_there(self.path) is False:
            return True
        count = ""
        with suppress(OSError):
            count = (self.folder / DRIVER).read_text()
        if count != self._count:
            self._count, self._count_time = count, time.monotonic()
        return time.monotonic() - self._count_time > ORPHANED

    def say(self, message: Event) -> None:
        """Tell the driver. Raises OSError where the folder cannot be written for long."""
        _write(self.path / f"out-{self._next_out}", message)
        self._next_out += 1

    def pieces(self) -> Iterator[Piece]:
        """The pieces that come, until the driver wants no more."""
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


def serve(folder: str, name: str, place: str, slot: int = 0) -> None:
    """Be a worker, until the driver wants no more or is gone: what a scheduler's job runs.

    A job that the scheduler runs a second time ends at once: what its first worker had read and said is not known.
    """
    try:
        _persist(partial((Path(folder) / name / SERVED).touch, exist_ok=False))
    except FileExistsError:
        return
    spec: Spec = pickle.loads(_persist((Path(folder) / SPEC).read_bytes))
    mailbox, worker = Mailbox(Path(folder), name), Worker(name, place, replace(spec, slot=slot))
    try:
        mailbox.say(worker.describe())
        for piece in mailbox.pieces():
            for message in worker.messages(piece):
                if mailbox.has_ended:
                    return
                mailbox.say(message)
    finally:
        worker.close()


def wait_for_word(mailboxes: Mailboxes, seconds: float) -> Iterable[Event]:
    """What the workers say; waits for the first word, but at most so long."""
    deadline = time.monotonic() + seconds
    while not (events := mailboxes.collect()) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return events


def _is_there(path: Path) -> bool | None:
    """Whether a file is there; None where a network file system cannot tell at the moment."""
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
    """What an action on a file gives, tried for a while. Raises its OSError, at once where that is an answer."""
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
