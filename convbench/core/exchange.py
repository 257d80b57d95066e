"""Runs between a store and a shared place, a folder or what fsspec opens (``s3://bucket/perf``): no server of ours.

A run is shared under a name that its content decides, so that nobody overwrites another's and a run that is there
already is passed over. It is there whole or not at all: its ``run.json``, without which it is no run, comes last. What
a killed writer has left is made whole by the next who shares the run. What is derived (pages, tables, profiles) stays
where it is.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from convbench.core import files, lock, store
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.run_folders import runs_below

FILES = (store.RESULTS, store.RUN)
"""What is shared of a run, in the order in which it is written."""
CONFIRMED = "confirmed"
"""The folder of a store that keeps what paired checks confirmed."""
ELSEWHERE = "name another place"
Content = Mapping[str, bytes]
_KEY = re.compile(rf"(?P<confirmed>{CONFIRMED}/[^./\\][^/\\]*\.json)|(?P<run>[^./\\][^/\\]*)/{re.escape(store.RUN)}")
"""The files by which confirmations and runs are known, from the place on; anything else there is not ours."""
_OF_CONTENT = re.compile(rf"{CONFIRMED}/.*|(\d{{1,14}}|undated)-[0-9a-f]{{16}}", re.ASCII)
"""Names that content decides; others were given by hand."""


class Moved(NamedTuple):
    """How many runs and confirmations were copied, how many were there already, and which runs were passed over."""

    runs: int
    confirmations: int
    present: int
    passed_over: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether what was asked for holds runs, and none of them could be had."""
        return bool(self.passed_over) and not (self.runs or self.confirmations or self.present)


class Place(Protocol):
    """Where shared runs lie, each in a folder of its own, with the files that confirm changes beside them."""

    def exists(self) -> bool: ...

    def names(self) -> set[str]:
        """The runs, and the confirmations as ``confirmed/NAME.json``."""
        ...

    def read(self, name: str) -> Content: ...

    def holds(self, name: str, content: Content) -> bool:
        """Whether what is there under a name may be all of that."""
        ...

    def write(self, name: str, content: Content) -> None:
        """Whole or not at all: the files in their order."""
        ...


def push(source: Path, target: str) -> Moved:
    """Copy a run, or all runs below a folder, to a shared place.

    Raises StoreError where either cannot be used, or the folder has nothing to share.
    """
    if not source.is_dir():
        raise StoreError(f"{source}: there is no such folder: name a run directory, or a folder that holds runs")
    with _explained(target):
        place = open_place(target)
        present = place.names()
        runs, passed_over = _push_runs(source, place, present)
        confirmations = {name: source / name for name in Folder(source).names() if name.startswith(f"{CONFIRMED}/")}
        if not (runs or passed_over or confirmations):
            raise StoreError(f"{source}: there is no run: `convbench run` writes one")
        new = confirmations.keys() - present
        for name in sorted(new):
            place.write(name, {"": confirmations[name].read_bytes()})
    copied = sum(runs.values())
    return Moved(copied, len(new), len(runs) - copied + len(confirmations) - len(new), passed_over)


def _push_runs(source: Path, place: Place, present: set[str]) -> tuple[dict[str, bool], tuple[str, ...]]:
    """The runs by name, each with whether it was copied; and those passed over, with the reason."""
    runs: dict[str, bool] = {}
    passed_over = []
    for directory in runs_below(source):
        content = _content(directory)
        if isinstance(content, str):
            passed_over.append(f"{directory}: {content}")
        elif (name := _name(content)) not in runs:
            runs[name] = name not in present or not place.holds(name, content)
            if runs[name]:
                place.write(name, content)
    return runs, tuple(passed_over)


def pull(source: str, target: Path) -> Moved:
    """Copy what a shared place has and a store lacks. Raises StoreError where either cannot be used."""
    folder, new, passed_over = Folder(target), set[str](), []
    with _explained(source):
        place = open_place(source)
        remote = place.names()
        if not remote and not place.exists():
            raise StoreError(f"{source}: there is no such place: name one that runs were pushed to")
        if isinstance(place, Folder) and store.exists(place.root):
            raise StoreError(f"{source}: it is a run itself: name the folder that it lies in")
        present = {name for name in folder.names() if _OF_CONTENT.fullmatch(name)}
        if remote - present:
            present |= set(_names_of_own(target))
        for name in sorted(remote - present):
            content = _read(place, name)
            if isinstance(content, str):
                passed_over.append(f"{name}: {content}")
                continue
            own = name if "" in content else _name(content)
            if own not in present | new:
                folder.write(own, content)
                new.add(own)
    confirmations = sum(name.startswith(f"{CONFIRMED}/") for name in new)
    there = len(remote) - len(new) - len(passed_over)
    return Moved(len(new) - confirmations, confirmations, there, tuple(passed_over))


def _read(place: Place, name: str) -> Content | str:
    """What a place has under a name, or why it is not to be had now: others may write, change and remove it there."""
    try:
        if isinstance(place, Folder) and place.is_measured(name):
            return "it is being measured: pull it again when that has ended"
        content = place.read(name)
    except (FileNotFoundError, PermissionError, StoreError) as error:
        return f"it cannot be read ({error})"
    if "" not in content and store.RUN not in content:
        return "it has gone"
    own = name if "" in content else _name(content)
    if own != name and (_OF_CONTENT.fullmatch(name) or store.RESULTS not in content):
        return "it is not there whole yet, or was changed since it was pushed"
    return content


def _names_of_own(target: Path) -> Iterator[str]:
    """The shared names of the runs below a folder, whatever their folders are called."""
    for directory in runs_below(target):
        content = _content(directory)
        if not isinstance(content, str):
            yield _name(content)


def open_place(where: str) -> Place:
    """The place of that name: a folder, or by a URL what fsspec opens. Raises ConvbenchError where it has no name."""
    if not where.strip():
        raise ConvbenchError("the place is an empty text: is a variable of the shell not set?")
    scheme, separator, path = where.partition("://")
    if not separator:
        return Folder(Path(where))
    return Folder(Path(path)) if scheme == "file" else Remote.at(where)


@dataclass(frozen=True)
class Folder:
    """A folder that several may write into at once."""

    root: Path

    def exists(self) -> bool:
        return self.root.is_dir()

    def names(self) -> set[str]:
        paths = chain(self.root.glob(f"*/{store.RUN}"), self.root.glob(f"{CONFIRMED}/*.json"))
        return _names(path.relative_to(self.root).as_posix() for path in paths)

    def is_measured(self, name: str) -> bool:
        """Whether a run goes on there, in its own directory."""
        return (self.root / name).is_dir() and lock.is_held(self.root / name / store.LOCK)

    def read(self, name: str) -> Content:
        place = self.root / name
        if place.is_file():
            return {"": place.read_bytes()}
        return {file: (place / file).read_bytes() for file in FILES if (place / file).exists()}

    def holds(self, name: str, content: Content) -> bool:
        """By their sizes: what synchronises folders may have brought the files in another order, or a part of one."""
        try:
            return all((self.root / name / file).stat().st_size == len(data) for file, data in content.items())
        except FileNotFoundError:
            return False

    def write(self, name: str, content: Content) -> None:
        for file, data in content.items():
            files.write(self.root / name / file, data, ELSEWHERE)


@dataclass(frozen=True)
class Remote:
    """What fsspec opens; an object is there whole or not at all."""

    system: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Remote:
        """Raises ConvbenchError where the package for it is missing, or there is no such kind of place."""
        try:
            system, root = importlib.import_module("fsspec.core").url_to_fs(url)
        except ImportError as error:
            raise ConvbenchError(f"{url}: it needs the extra convbench[remote] ({error})") from error
        except ValueError as error:
            raise ConvbenchError(f"{url}: no place that fsspec knows ({error})") from error
        return cls(system, root.rstrip("/"))

    def exists(self) -> bool:
        return bool(self.system.exists(self.root))

    def names(self) -> set[str]:
        with suppress(FileNotFoundError):
            self.system.invalidate_cache()
            return _names(key[len(self.root) :].strip("/") for key in self.system.find(self.root))
        return set()

    def read(self, name: str) -> Content:
        place = f"{self.root}/{name}"
        if name.startswith(f"{CONFIRMED}/"):
            return {"": self.system.cat_file(place)}
        paths = {file: f"{place}/{file}" for file in FILES}
        return {file: self.system.cat_file(path) for file, path in paths.items() if self.system.exists(path)}

    def holds(self, name: str, content: Content) -> bool:  # noqa: ARG002
        return True

    def write(self, name: str, content: Content) -> None:
        if self.root.startswith("/"):  # else it begins with a bucket, which has no folders, and might be made by a typo
            folder = CONFIRMED if "" in content else name
            self.system.makedirs(f"{self.root}/{folder}", exist_ok=True)
        for file, data in content.items():
            self.system.pipe_file(f"{self.root}/{name}/{file}".rstrip("/"), data)


def _names(keys: Iterable[str]) -> set[str]:
    """The runs and confirmations among the files of a place."""
    return {match["confirmed"] or match["run"] for match in map(_KEY.fullmatch, keys) if match}


def _content(directory: Path) -> Content | str:
    """The files of a run that are shared, or why it is not shared now."""
    try:
        if lock.is_held(directory / store.LOCK):
            return "it is being measured: push it again when that has ended"
        run = store.read_run(directory)
        content = Folder(directory.parent).read(directory.name)
    except (OSError, StoreError) as error:
        return str(error)
    if not content.get(store.RESULTS) and run.planned:
        return "it has no results yet"
    return content


def _name(content: Content) -> str:
    """What a run is called wherever it is shared: when it began, and what it holds."""
    digest = hashlib.sha256(b"\0".join(content.get(name, b"") for name in FILES)).hexdigest()[:16]
    started = re.search(rb'"started": ?"([^"]*)"', content[store.RUN])
    date = re.sub(r"[^0-9]", "", started[1].decode(errors="replace"))[:14] if started else ""
    return f"{date or 'undated'}-{digest}"


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn whatever a file system raises into a StoreError of one sentence."""
    try:
        yield
    except ConvbenchError:
        raise
    except Exception as error:
        raise StoreError(f"{place}: cannot be used ({type(error).__name__}: {error}): {ELSEWHERE}") from error
