"""Files that the processes of a run share: one of them makes the content, the others read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch

from convbench.core import lock
from convbench.measure import progress

Content = dict[str, Any]
UNREADABLE = (OSError, RuntimeError)
"""torch's errors for a missing file and for a full disk."""
SHARE_OF_DISK = 0.5
"""Share of the free disk space that a file may take: the rest is for the run's results, and for others."""


def read_or_make(path: Path, make: Callable[[], Content]) -> Content:
    """Return the file's content; the first process that asks makes it with ``make``, and others wait meanwhile.

    Tensors of a file are in memory that its readers share. Content that does not fit on the disk is made by each
    process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.hold(path.with_suffix(".lock"), waiting=_wait):
        with suppress(*UNREADABLE):
            content: Content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return content
        content = make()
        if _bytes(content) < SHARE_OF_DISK * shutil.disk_usage(path.parent).free:
            _write(path, content)
        return content


def _wait(_: str) -> None:
    progress.tell("waiting for another process of the run, which loads or trains the same", [])


def _write(path: Path, content: Content) -> None:
    with NamedTemporaryFile(dir=path.parent, delete=False) as file:
        place = Path(file.name)
        try:
            torch.save(content, file)
            file.flush()
            place.replace(path)
        except UNREADABLE:
            place.unlink(missing_ok=True)


def _bytes(content: Any) -> int:
    if isinstance(content, torch.Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        content = content.values()
    elif not isinstance(content, tuple):
        return 0
    return sum(map(_bytes, content))
