"""Store runs as JSON lines: a run is a directory that is appended to and resumed, and its files are the only truth.

A line is one visit to a case; it is on disk, whole or not at all, before the next visit starts. A line that a killed
process left unfinished is dropped, and a copied line counts once; any other damage is reported with its place. Files of
an earlier run in the directory are set aside, never overwritten.
"""

from __future__ import annotations

import os
import re
import shlex
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from pydantic import ValidationError

from convbench.core import visits
from convbench.core.default_folders import REPORTS
from convbench.core.errors import NewerFormat, StoreError
from convbench.core.record import SCHEMA_VERSION, Record, RunDescription
from convbench.core.storage.json_form import (
    description_text,
    is_record,
    parse_description,
    parse_record,
    reason,
    record_line,
    version_of,
)
from convbench.core.system import files, lock

RUN, RESULTS, CSV, LOCK = "run.json", "results.jsonl", "results.csv", ".lock"
PREVIOUS = "previous"
"""The folder below a run with the runs that were in its directory before."""
OF_RUN = (RUN, RESULTS, CSV, "index.html", "claims.html", "claims.json", "compare.html", "figures", "profiles")
"""The files and folders that the verbs write into a run's directory unless told otherwise."""
REMEDY = "choose another place with --out"
Stored = tuple[RunDescription, list[Record]]


def exists(directory: Path) -> bool:
    """Whether a run was begun there: it has a description that is not empty."""
    return _has_content(directory / RUN)


def has_results(directory: Path) -> bool:
    """Whether there are records, even if the run's description is lost."""
    return _has_content(directory / RESULTS)


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except (OSError, ValueError):
        return False


def is_measured(path: Path) -> bool:
    """Whether a living process is known to measure into a run, named by its directory or any file in it."""
    with suppress(OSError):  # a folder that may not be entered
        directory = directory_of(path)
        return directory.is_dir() and lock.is_held(directory / LOCK)
    return False


def report_elsewhere(directory: Path) -> str:
    """Return what to do if nothing more can be written beside a run."""
    return f"all results are stored: convbench report {shlex.quote(str(directory))} --out ELSEWHERE"


def start(directory: Path, run: RunDescription, records: Iterable[Record] = ()) -> None:
    """Write a new run, with the records that it already has.

    The files of an earlier run in the directory are set aside below ``previous/``, never overwritten. Raises StoreError
    if the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _set_aside(directory)
    except (OSError, ValueError) as error:
        raise files.unwritable(directory, error, REMEDY) from error
    lines = b"".join(map(record_line, records))
    files.write(directory / RESULTS, lines, REMEDY)
    describe(directory, run)


def describe(directory: Path, run: RunDescription) -> None:
    """Write the description of a run, in place of any earlier one, whole or not at all. Raises StoreError."""
    files.write(directory / RUN, description_text(run), REMEDY)


def append(directory: Path, record: Record) -> None:
    """Append one line, forced to disk, whole or not at all. Raises StoreError, also if the run was moved or removed."""
    if not (directory / RUN).exists():  # without its description a run could not be read
        raise StoreError(
            f"{directory}: the run was moved or removed while it was measured; if it was moved, "
            "resume it in its new place, with --out and --resume"
        )
    files.append(directory / RESULTS, record_line(record), "all earlier results are stored: continue with --resume")


def leave_out(directory: Path, cases: Collection[str]) -> list[Record]:
    """Remove the records of these cases from a run, after setting a copy aside; return the records that stay."""
    lines = [line for line, record in _read_lines(directory) if record.case.id not in cases]
    place = _free_place(directory)
    for name in (RESULTS, RUN):
        files.write(place / name, (directory / name).read_bytes(), REMEDY)
    files.write(directory / RESULTS, b"".join(lines), REMEDY)
    return load(directory)[1]


def load(path: Path) -> Stored:
    """Return a run from its directory or any file in it, with one Record per case, in the order planned.

    Raises StoreError naming the file and line that cannot be read.
    """
    try:
        directory = directory_of(path)
        is_run, path_exists = (directory / RUN).exists(), path.exists()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not is_run and not path_exists:
        raise StoreError(f"{path}: there is no such run: name a run directory, or a file in it{_meant(path)}")
    if not is_run:
        has_runs = next(directory.glob(f"*/{RUN}"), None) is not None
        hint = f": `convbench runs {directory}` lists the runs in it" if has_runs else ""
        raise StoreError(f"{path}: not a run: there is no {RUN} in {directory}{hint}")
    if not path_exists:
        raise StoreError(f"{path}: no such file: {directory} is a run and has none of that name")
    run = read_description(directory)
    if not (directory / RESULTS).exists():  # every run that began has this file, even if empty
        raise StoreError(
            f"{directory}: there is no {RESULTS}, which holds all measurements: copy the whole run, or measure it "
            "anew without --resume"
        )
    records = visits.join_visits(record for _, record in _read_lines(directory))
    place = {case: number for number, case in enumerate(run.planned)}
    return run, sorted(records, key=lambda record: place.get(record.case.id, len(place)))


def _meant(path: Path) -> str:
    """Return the run that a suite's name stands for, ``did you mean reports/smoke?``; empty if it was not measured."""
    return f"; did you mean {REPORTS / path}?" if (REPORTS / path / RUN).exists() else ""


def read_description(directory: Path) -> RunDescription:
    """Return ``run.json`` of a run. Raises StoreError if it cannot be read, is not ours, or is of a newer convbench."""
    text = b""
    try:
        text = (directory / RUN).read_bytes().removeprefix(BOM_UTF8)
        run = parse_description(text)
    except OSError as error:
        raise StoreError(f"{directory / RUN}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        _refuse_newer(directory / RUN, text)
        remedy = "restore it from a copy of the run, or measure anew, which sets the damaged run aside"
        damage = f"not written by convbench, or damaged: {reason(error)}"
        raise StoreError(f"{directory / RUN}: {damage}: {remedy}") from error
    if run.schema_version > SCHEMA_VERSION:
        raise NewerFormat(directory / RUN, run.schema_version)
    return run


def _refuse_newer(place: Path | str, text: bytes) -> None:
    """Raise NewerFormat if a text that cannot be read is of a newer convbench: it is not damaged."""
    if (version := version_of(text)) > SCHEMA_VERSION:
        raise NewerFormat(place, version)


def finish_last_line(directory: Path) -> bool:
    """End the last line, before lines are appended, or cut it off if it is not whole; return whether it was cut off.

    A killed process leaves a line unfinished, an editor may take the end of the last one away. Raises StoreError.
    """
    results = directory / RESULTS
    try:
        content = results.read_bytes() if results.exists() else b""
        end = content.rfind(b"\n") + 1
        if end == len(content):
            return False
        if is_record(content[end:]):
            files.append(results, b"\n", REMEDY)
            return False
        os.truncate(results, end)
    except OSError as error:
        raise files.unwritable(results, error, REMEDY) from error
    return True


@contextmanager
def hold_directory(directory: Path) -> Iterator[None]:
    """Lock the run directory for this process, and make it if it is missing.

    Raises StoreError if it cannot be written, or if another process measures into it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise files.unwritable(directory, error, REMEDY) from error

    def refuse(_: str) -> None:
        raise StoreError(f"{directory}: another convbench is measuring into it: wait, or choose --out")

    with lock.hold(directory / LOCK, refuse):
        yield


def _read_lines(directory: Path) -> Iterator[tuple[bytes, Record]]:
    """Yield every whole line with its record, without a last line that a killed process left unfinished.

    A line that is there twice is yielded once: copying files onto each other, or merging them in git, measures nothing.
    """
    path = directory / RESULTS
    try:
        *lines, end = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")  # some editors add a byte order mark
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    numbers: dict[bytes, int] = {}
    for number, line in enumerate([*lines, end] if is_record(end) else lines, start=1):
        numbers.setdefault(line.rstrip(b"\r"), number)
    for line, number in numbers.items():
        try:
            record = parse_record(line)
        except ValidationError as error:
            _refuse_newer(f"{path}:{number}", line)
            remedy = "without this line all others can be read"
            raise StoreError(f"{path}:{number}: not a record: {reason(error)}: {remedy}") from error
        if record.schema_version > SCHEMA_VERSION:
            raise NewerFormat(f"{path}:{number}", record.schema_version)
        yield line + b"\n", record


def directory_of(path: Path) -> Path:
    """Return the directory of a run, which any file in it also names."""
    return path if path.is_dir() else path.parent


def _set_aside(directory: Path) -> None:
    """Move an earlier run into a folder of its own; a run is recognised by any of its files, whole or damaged."""
    names = [name for name in OF_RUN if (directory / name).exists()]
    if not {RUN, RESULTS} & set(names):
        return
    place = _free_place(directory)
    place.mkdir(parents=True)
    for name in names:
        (directory / name).replace(place / name)


def _free_place(directory: Path) -> Path:
    """Return a new folder's path below ``previous/``, named by when the run began; a number tells equal times apart."""
    name = ""
    with suppress(StoreError):
        name = re.sub(r"[^0-9TZ-]", "", read_description(directory).started.replace("+00:00", "Z"))[:40]
    name = name or "unknown"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(place for place in map((directory / PREVIOUS).joinpath, names) if not place.exists())
