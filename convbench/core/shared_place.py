"""Where runs are shared: a folder, or what fsspec opens (``s3://bucket/perf``); no server of ours.

A run is there whole or not at all: its ``run.json``, without which it is no run, comes last.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from convbench.core import files, lock, store
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.run_folders import runs_below

FILES = (store.RESULTS, store.RUN)
"""What is shared of a run, in the order in which it is written."""
CONFIRMED = "confirmed"
"""The folder of a store that keeps what paired checks confirmed."""
ELSEWHERE = "name another place"
Content = Mapping[str, bytes]
"""The files of a run by name, or under the empty name the file of a confirmation."""
_NAME = r"[^./\\][^/\\]*"
_KEY = re.compile(rf"(?P<confirmed>{CONFIRMED}/{_NAME}\.json)|(?P<run>{_NAME}(?:/{_NAME})*)/{re.escape(store.RUN)}")
"""The files by which confirmations and runs are known, from the place on; anything else there is not ours."""


class SharedPlace(Protocol):
    """Where shared runs lie, each in a folder of its own, with the files that confirm changes beside them.

    Runs that were put there by hand may lie deeper: their names have a slash.
    """

    def exists(self) -> bool: ...

    def is_run(self) -> bool:
        """Whether it is a run itself, and no place of runs."""
        ...

    def names(self) -> set[str]:
        """The runs, and the confirmations as ``confirmed/NAME.json``."""
        ...

    def read(self, name: str) -> Content: ...

    def holds(self, name: str, content: Content) -> bool:
        """Whether what is there under a name may be all of that, or more."""
        ...

    def write(self, name: str, content: Content) -> None:
        """Whole or not at all: the files in their order."""
        ...


def open_place(name: str) -> SharedPlace:
    """The place of that name: a folder, or by a URL what fsspec opens. Raises ConvbenchError of an empty text."""
    scheme, separator, path = name.partition("://")
    if separator and scheme != "file":
        return Remote.at(name)
    return Folder(files.named("PLACE", path if separator else name))


@dataclass(frozen=True)
class Folder:
    """A folder that several may write into at once."""

    root: Path

    def exists(self) -> bool:
        return self.root.is_dir()

    def is_run(self) -> bool:
        return store.exists(self.root)

    def names(self) -> set[str]:
        runs = (directory / store.RUN for directory in runs_below(self.root))
        paths = chain(runs, self.root.glob(f"{CONFIRMED}/*.json"))
        return names_in(path.relative_to(self.root).as_posix() for path in paths)

    def is_measured(self, name: str) -> bool:
        """Whether a run goes on there, in its own directory."""
        return (self.root / name).is_dir() and lock.is_held(self.root / name / store.LOCK)

    def read(self, name: str) -> Content:
        place = self.root / name
        if place.is_file():
            return {"": place.read_bytes()}
        return {file: (place / file).read_bytes() for file in FILES if (place / file).exists()}

    def holds(self, name: str, content: Content) -> bool:
        """By their sizes first: a store on a network drive is not read whole at every push."""
        try:
            is_as_large = all((self.root / name / file).stat().st_size == len(data) for file, data in content.items())
            return is_as_large or not is_part(self.read(name), content)
        except FileNotFoundError:
            return False

    def write(self, name: str, content: Content) -> None:
        for file, data in content.items():
            files.write(self.root / name / file, data, ELSEWHERE)


@dataclass(frozen=True)
class Remote:
    """What fsspec opens. ``sizes`` are those of the files there, by their paths, as they were listed last."""

    system: Any
    root: str
    sizes: dict[str, int] = field(default_factory=dict)

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

    def is_run(self) -> bool:
        return bool(self.system.exists(f"{self.root}/{store.RUN}"))

    def names(self) -> set[str]:
        self.sizes.clear()
        with suppress(FileNotFoundError):
            self.system.invalidate_cache()
            entries = self.system.find(self.root, detail=True)
            self.sizes.update({key[len(self.root) :].strip("/"): entry["size"] for key, entry in entries.items()})
        return names_in(self.sizes)

    def read(self, name: str) -> Content:
        place = f"{self.root}/{name}"
        if name.startswith(f"{CONFIRMED}/"):
            return {"": self.system.cat_file(place)}
        paths = {file: f"{place}/{file}" for file in FILES}
        return {file: self.system.cat_file(path) for file, path in paths.items() if self.system.exists(path)}

    def holds(self, name: str, content: Content) -> bool:
        """By their sizes first, which came with the names: a killed writer leaves a part where objects are no whole."""
        if all(self.sizes.get(f"{name}/{file}".rstrip("/")) == len(data) for file, data in content.items()):
            return True
        try:
            return not is_part(self.read(name), content)
        except FileNotFoundError:
            return False

    def write(self, name: str, content: Content) -> None:
        if self.root.startswith("/"):  # else it begins with a bucket, which has no folders, and might be made by a typo
            folder = CONFIRMED if "" in content else name
            self.system.makedirs(f"{self.root}/{folder}", exist_ok=True)
        for file, data in content.items():
            self.system.pipe_file(f"{self.root}/{name}/{file}".rstrip("/"), data)


def is_part(part: Content, content: Content) -> bool:
    """Whether what is there is only a part of a content, as what synchronises folders leaves behind on its way.

    A run that was gone on with is none: it has more records, or another description.
    """
    return part != content and all(data.startswith(part.get(file, b"")) for file, data in content.items())


def names_in(keys: Iterable[str]) -> set[str]:
    """The runs and confirmations among the files of a place."""
    return {match["confirmed"] or match["run"] for match in map(_KEY.fullmatch, keys) if match}


@contextmanager
def explain(place: str) -> Iterator[None]:
    """Turn whatever a file system raises into a StoreError of one sentence."""
    try:
        yield
    except ConvbenchError:
        raise
    except Exception as error:
        raise StoreError(f"{place}: cannot be used ({type(error).__name__}: {error}): {ELSEWHERE}") from error
