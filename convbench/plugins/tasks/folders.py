"""The folders that a user's clips lie in."""

from __future__ import annotations

from pathlib import Path

from convbench.core.errors import ConvbenchError


def folder(path: str, task: str) -> Path:
    """The folder at ``path``. Raises ConvbenchError where there is none."""
    root = Path(path).expanduser()
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise ConvbenchError(f"{task}: {path} {found} (from {Path.cwd()}): set path to the folder with the clips")
    return root


def entries(root: Path) -> list[Path]:
    """What lies in a folder, in order of name, but for hidden files."""
    return sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
