"""The folders with a user's clips."""

from __future__ import annotations

from pathlib import Path

from convbench.core import imports
from convbench.core.errors import ConvbenchError


def folder(path: str, task: str, or_file: str = "") -> Path:
    """Return the folder at ``path``, or the file with that suffix. Raises ConvbenchError if there is none."""
    try:
        root = Path(path).expanduser()
        if or_file and root.suffix == or_file and root.is_file():
            return root
        fault = "" if root.is_dir() else "is a file" if root.exists() else "does not exist"
    except (OSError, ValueError, RuntimeError) as error:
        fault = f"cannot be a folder ({getattr(error, 'strerror', None) or error})"
    if fault:
        place = imports.working_directory() or "a folder that was deleted"
        raise ConvbenchError(f"{task}: {path} {fault} (from {place}): set path to the folder with the clips")
    return root


def entries(root: Path) -> list[Path]:
    """The entries of a folder in the order of their names, without hidden files."""
    return sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
