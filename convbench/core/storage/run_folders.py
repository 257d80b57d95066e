"""Find the run directories below a folder, those set aside too, and whether their files have changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from convbench.core.storage import store
from convbench.core.system import files

CLOSED = "closed"
"""The stamp of a folder that may not be read."""


def runs_below(root: Path) -> Iterator[Path]:
    """Yield every run directory at or below a folder, also those set aside."""
    return (Path(folder) for folder, _ in run_stamps(root))


def run_stamps(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the run directories, each with a stamp of its files; as text, since a store may have thousands.

    Folders that may not be read are included: the runs in them are missing.
    """
    errors: list[OSError] = []
    for folder, subfolders, file_names in os.walk(root, onerror=errors.append):
        is_run = store.RUN in file_names
        subfolders[:] = sorted(name for name in subfolders if (name == store.PREVIOUS if is_run else _may_hold(name)))
        if is_run:
            with suppress(OSError):  # it was removed while we looked
                yield folder, _stamp(folder, store.RESULTS in file_names)
    yield from ((os.fsdecode(error.filename), CLOSED) for error in errors if isinstance(error, PermissionError))


def _may_hold(name: str) -> bool:
    """Whether runs may lie in a folder of that name: it is neither hidden nor the file system's own."""
    return not name.startswith(".") and name != "lost+found"


def as_text(text: str) -> str:
    """Return a path, or a text with one, as SQLite can hold it; bytes that are not UTF-8 become their escapes."""
    return files.encoded(text).decode()


def _stamp(folder: str, has_results: bool) -> str:
    """Return times and sizes of the files that a run is read from; a clock that goes back changes the stamp, too."""
    names = (store.RUN, store.RESULTS) if has_results else (store.RUN,)
    stats = [os.stat(f"{folder}{os.sep}{name}") for name in names]  # noqa: PTH116 (a third of the time of a Path)
    return " ".join(f"{stat.st_mtime_ns}:{stat.st_size}" for stat in stats)
