"""Make a wheel importable without an installer: it is a zip archive of files to put on the path."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from convbench.core.errors import BuildFailed, ConvbenchError

MOST_BYTES = 2**32
"""Largest size of an unpacked wheel, in bytes."""
DATA = (".data/purelib/", ".data/platlib/")


def unpack(wheel: Path, target: Path) -> None:
    """Put the packages of a wheel into a folder.

    Raises ConvbenchError if there is no such wheel, BuildFailed if it cannot be unpacked.
    """
    if not wheel.is_file():
        raise ConvbenchError(f"base {str(wheel)!r}: no such wheel")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise BuildFailed(f"{wheel.name} unpacks to more than {MOST_BYTES / 2**30:g} GiB: this is no package")
            archive.extractall(target)  # no file can leave the folder: ``..`` and leading slashes are dropped
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise BuildFailed(f"{wheel.name} cannot be installed: {error}") from error
    _lift(target)


def _lift(target: Path) -> None:
    """Move the files that a wheel keeps for the site folder to the top of the target."""
    for place in [folder for part in DATA for folder in target.glob(f"*{part}")]:
        for path in sorted(place.rglob("*")):
            if path.is_file():
                destination = target / PurePosixPath(path.relative_to(place))
                destination.parent.mkdir(parents=True, exist_ok=True)
                path.replace(destination)
