"""Write files whole or not at all (beside their place, forced to disk, then renamed), and read them up to a limit.

A full disk, a read-only folder or a killed process leaves what stood there before. Lone surrogates, which a file name
can put into a message, are written as their escapes.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.text import cut, value_text

ELSEWHERE = "choose another place"
MOST_BYTES = 2**28
"""Bytes of the largest file that is read whole, unpacked: a trace of a long call has tens of MB."""
ABANDONED = 600.0
"""Age in seconds from which a file that was never renamed is taken for one of a killed writer."""
CHUNK = 2**20
BLOCK = 4096
"""Bytes that are written to try whether a file can be: a full disk still takes an empty file."""
LONGEST = 400
"""Most characters of a path in a message."""
GZIP = b"\x1f\x8b"


def path_of(name: str, path: object) -> Path:
    """Return the path that an option, an argument or a parameter gives.

    Raises ConvbenchError for an empty one, as of a shell variable that is not set: it would mean the working directory;
    and for a URL: it would make a folder ``s3:`` there. A leading ``~`` is the home: a shell leaves it as it is in
    ``--out=~/runs``, and so does Python.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise ConvbenchError(f"{name}: {value_text(path)} is not a path: name a file or a directory")
    if not text.strip():
        raise ConvbenchError(f"{name} is empty: name a file or a directory")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        remedy = "name a file or a directory; `convbench push` copies runs to such a place, `convbench pull` from one"
        raise ConvbenchError(f"{name}: {cut(text, 80)} is a URL: {remedy}")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib takes ./~ for a home, too


def destination(place: Path, name: str) -> Path:
    """Return where a file goes: into ``place`` if that is a directory, or to ``place`` itself if it means a file.

    It means a file if it has the extension of ``name``, or is a device or pipe, such as ``/dev/stdout``.
    """
    return place if means_file(place, Path(name).suffix) or is_special(place) else place / name


def means_file(place: Path, extension: str) -> bool:
    """Whether a place is meant for a file with the extension; a directory may have any name."""
    return place.suffix == extension and not place.is_dir()


def encoded(text: str) -> bytes:
    """Return the text in UTF-8, with lone surrogates as their escapes."""
    return text.encode("utf-8", "backslashreplace")


def write(path: Path, content: str | bytes, remedy: str = ELSEWHERE) -> Path:
    """Write a file at ``path``, with its folder if that is missing: all of the content, or the previous file stays.

    A device or pipe, such as ``/dev/stdout``, is written to directly. Raises StoreError, which ends with ``remedy``.
    """
    data = encoded(content) if isinstance(content, str) else content
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        if is_special(path):
            _write_all(path, data, os.O_WRONLY)
        else:
            with _part(target, data) as part:
                part.replace(target)
    except (OSError, ValueError, RuntimeError) as error:
        raise unwritable(path, error, remedy) from error
    return path


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that are of use only together: all of them, or the previous ones stay. Raises StoreError."""
    for path in contents:
        refuse_unwritable(path)
    try:
        with ExitStack() as stack:
            parts = {}
            for path, data in contents.items():
                parts[path] = stack.enter_context(_part(path.resolve(), data))
            for path, part in parts.items():
                part.replace(path.resolve())
    except OSError as error:
        raise unwritable(path, error) from error


def append(path: Path, content: str | bytes, remedy: str = ELSEWHERE) -> None:
    """Append all of the content to a file, or nothing of it; a missing file is made. Raises StoreError."""
    data = encoded(content) if isinstance(content, str) else content
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        _write_all(path, data, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except (OSError, ValueError, RuntimeError) as error:
        raise unwritable(path, error, remedy) from error


def read(path: Path, limit: int = MOST_BYTES) -> bytes:
    """Return the whole content of a file, unpacked if it is gzipped.

    Raises OSError if it cannot be read, ValueError if it is damaged, cut off, or unpacks to more than ``limit`` bytes.
    """
    content = bytearray()
    try:
        for chunk in chunks(path):
            content += chunk
            if len(content) > limit:
                raise ValueError(f"it holds more than {limit / 2**20:,.0f} MiB")
    except (EOFError, zlib.error) as error:
        raise ValueError(str(error)) from error
    return bytes(content)


def chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in pieces, unpacked if it is gzipped. Raises OSError, EOFError and zlib.error."""
    with path.open("rb") as file:
        is_gzipped = file.peek(len(GZIP)).startswith(GZIP)  # a pipe cannot go back to its beginning
        stream = gzip.GzipFile(fileobj=file) if is_gzipped else file
        while chunk := stream.read(CHUNK):
            yield chunk


def refuse_unwritable(path: Path, remedy: str = ELSEWHERE) -> None:
    """Raise StoreError if no file can be written at a path, before its content is measured."""
    try:
        _try_to_write(path.resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise unwritable(path, error, remedy) from error


def _try_to_write(path: Path) -> None:
    """Write a nameless file where a file would be written. Raises OSError, such as for a read-only or a full disk."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if is_special(path):
        return
    folder = next(folder for folder in path.parents if _exists(folder))
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(BLOCK))
    except OSError:
        if not os.access(path, os.W_OK):  # a file that can be written can be appended to, whatever its folder
            raise


def _exists(path: Path) -> bool:
    """Whether anything is at a path. Raises OSError if nothing can be, such as for a name that is too long."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def unwritable(path: Path, error: Exception, remedy: str = ELSEWHERE) -> StoreError:
    """Return the error for a place that cannot be written: why, and what to do."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    if isinstance(error, RuntimeError):  # from ``resolve``, whose words depend on the version of Python
        reason = os.strerror(errno.ELOOP)
    elif isinstance(error, FileExistsError):  # from ``mkdir``: a file has the name of the folder
        reason = os.strerror(errno.ENOTDIR)
    return StoreError(f"{cut(str(path), LONGEST)}: cannot be written ({reason}): {remedy}")


def is_special(path: Path) -> bool:
    """Whether a path is a device, a pipe or a socket, which a file cannot be renamed over."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _part(path: Path, data: bytes) -> Iterator[Path]:
    """Yield a file beside ``path`` with all of the content, which the block renames; after an error it is removed."""
    part = path.parent / f"{_stem(path)}{os.getpid()}.part"
    try:
        _write_all(part, data, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
        if path.is_file():
            part.chmod(path.stat().st_mode & 0o777)
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)
    _collect(path.parent, _stem(path))


def _stem(path: Path) -> str:
    return f".{zlib.crc32(os.fsencode(path.name)):08x}-"


def _collect(folder: Path, stem: str) -> None:
    """Remove the files that killed writers have left beside the file."""
    for part in folder.glob(f"{stem}*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def sync(folder: Path) -> None:
    """Force the names in a folder to disk, if the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_all(path: Path, data: bytes, flags: int) -> None:
    """Write all of the data, forced to disk, or leave the file as long as before.

    A disk that fills up takes a part of the data, and only reports an error for the next part.
    """
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        size = os.lseek(descriptor, 0, os.SEEK_END) if is_regular else 0
        try:
            _write_rest(descriptor, data)
            if is_regular:
                os.fsync(descriptor)
        except OSError:
            if is_regular:
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _write_rest(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
