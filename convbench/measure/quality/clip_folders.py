"""The folders that a user's clips lie in."""

from __future__ import annotations

from pathlib import Path

from convbench.core import imports
from convbench.core.errors import ConvbenchError


def folder(path: str, task: str, or_file: str = "") -> Path:
    """The folder at ``path``, or the file of that suffix. Raises ConvbenchError where there is none."""
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
    """What lies in a folder, in order of name, but for hidden files."""
    return sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
