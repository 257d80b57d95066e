"""Copy runs between a store and a shared place (``shared_place``).

A run is shared under a name that its content decides, so that no run overwrites another and a run that is already there
is passed over. If a killed writer or a folder synchroniser has left a part of a run, the next to share that run
completes it. Derived files (pages, tables, profiles) are not copied.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from convbench.core.errors import StoreError
from convbench.core.storage import store
from convbench.core.storage.run_folders import runs_below
from convbench.core.storage.shared_place import (
    CONFIRMED,
    FILES,
    Content,
    Folder,
    SharedPlace,
    explain,
    is_part,
    open_place,
)

_OF_CONTENT = re.compile(rf"{CONFIRMED}/.*|(\d{{1,14}}|undated)-[0-9a-f]{{16}}", re.ASCII)
"""Names that are derived from the content; others were given by hand."""
NOT_WHOLE = "it is not complete yet, or was changed since it was pushed"


class Transfer(NamedTuple):
    """How many runs and confirmations were copied, how many were already there, and which runs were passed over."""

    runs: int
    confirmations: int
    present_count: int
    passed_over: tuple[str, ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether there were runs but none could be copied."""
        return bool(self.passed_over) and not (self.runs or self.confirmations or self.present_count)


def push(source: Path, target: str) -> Transfer:
    """Copy a run, or all runs below a folder, to a shared place.

    Raises StoreError if either cannot be used, or if the folder has nothing to share.
    """
    if not source.is_dir():
        raise StoreError(f"{source}: there is no such folder: name a run directory, or a folder that holds runs")
    with explain(target):
        place = open_place(target)
        remote_names = place.names()
        copied, omissions = dict[str, bool](), []
        for name, content in chain(_runs(source), _confirmations(source)):
            if isinstance(content, str):
                omissions.append(f"{name}: {content}")
            elif name not in copied:
                copied[name] = name not in remote_names or not place.holds(name, content)
                if copied[name]:
                    place.write(name, content)
        if not (copied or omissions):
            raise StoreError(f"{source}: there is no run: `convbench run` writes one")
    return _transfer([name for name, is_new in copied.items() if is_new], len(copied), omissions)


def pull(source: str, target: Path) -> Transfer:
    """Copy what a shared place has and a store lacks. Raises StoreError if either cannot be used."""
    folder, new_names, omissions = Folder(target), set[str](), []
    with explain(source):
        place = open_place(source)
        remote_names = place.names()
        if not remote_names and not place.exists():
            raise StoreError(f"{source}: there is no such place: name one that runs were pushed to")
        if place.is_run():
            raise StoreError(f"{source}: it is a run itself: name the folder that it lies in")
        local_names = {name for name in folder.names() if _OF_CONTENT.fullmatch(name) and _is_whole(folder, name)}
        if remote_names - local_names:
            local_names |= {name for name, content in _runs(target) if not isinstance(content, str)}
        for name in sorted(remote_names - local_names):
            content = _read(place, name)
            if isinstance(content, str):
                omissions.append(f"{name}: {content}")
                continue
            own_name = name if "" in content else _name(content)
            if own_name not in local_names | new_names and _lacks(target / own_name, content):
                folder.write(own_name, content)
                new_names.add(own_name)
    return _transfer(new_names, len(remote_names) - len(omissions), omissions)


def _transfer(new_names: Collection[str], count: int, omissions: Sequence[str]) -> Transfer:
    """Return the transfer of the new ones of ``count`` runs and confirmations; the others were there already."""
    confirmations = sum(map(_is_confirmation, new_names))
    return Transfer(len(new_names) - confirmations, confirmations, count - len(new_names), tuple(omissions))


def _read(place: SharedPlace, name: str) -> Content | str:
    """Return the content under a name, or why it is not available: others may write, change and remove it there."""
    try:
        if isinstance(place, Folder) and place.is_measured(name):
            return "it is being measured: pull it again when it has finished"
        content = place.read(name)
    except (FileNotFoundError, PermissionError, StoreError) as error:
        return f"it cannot be read ({error})"
    if "" not in content and store.RUN not in content:
        return "it is gone"
    if "" in content:
        return content if _is_json(content) else NOT_WHOLE
    folder = name.rpartition("/")[2]
    if _name(content) != folder and (_OF_CONTENT.fullmatch(folder) or store.RESULTS not in content):
        return NOT_WHOLE
    return content


def _is_confirmation(name: str) -> bool:
    return name.startswith(f"{CONFIRMED}/")


def _is_json(confirmation: Content) -> bool:
    try:
        json.loads(confirmation[""])
    except ValueError:
        return False
    return True


def _is_whole(folder: Folder, name: str) -> bool:
    """Whether a store has all of the content under a name: a folder synchroniser may have brought only a part."""
    try:
        content = folder.read(name)
    except PermissionError:  # it is another user's: nothing could complete it anyway
        return True
    return _is_json(content) if "" in content else _name(content) == name


def _lacks(directory: Path, content: Content) -> bool:
    """Whether a store has nothing of a run, or only a part; a run that was resumed since stays as it is."""
    if not directory.is_dir():
        return True
    return not store.is_measured(directory) and is_part(Folder(directory.parent).read(directory.name), content)


def _runs(source: Path) -> Iterator[tuple[str, Content | str]]:
    """Yield the runs below a folder by their shared names; one that is not shared now by its path, with the reason."""
    for directory in runs_below(source):
        content = _content(directory)
        yield str(directory) if isinstance(content, str) else _name(content), content


def _confirmations(source: Path) -> Iterator[tuple[str, Content | str]]:
    """Yield a folder's confirmations by their names; one that cannot be shared by its path, with the reason."""
    folder = Folder(source)
    for name in sorted(filter(_is_confirmation, folder.names())):
        content = _read(folder, name)
        yield str(source / name) if isinstance(content, str) else name, content


def _content(directory: Path) -> Content | str:
    """Return the files of a run that are shared, or why it is not shared now."""
    try:
        if store.is_measured(directory):
            return "it is being measured: push it again when it has finished"
        run = store.read_description(directory)
        content = Folder(directory.parent).read(directory.name)
    except (OSError, StoreError) as error:
        return str(error)
    if not content.get(store.RESULTS) and run.planned:
        return "it has no results yet"
    return content


def _name(content: Content) -> str:
    """Return a run's name wherever it is shared: the time when it began, and a hash of its content."""
    digest = hashlib.sha256(b"\0".join(content.get(name, b"") for name in FILES)).hexdigest()[:16]
    match = re.search(rb'"started": ?"([^"]*)"', content.get(store.RUN, b""))
    date = re.sub(r"[^0-9]", "", match[1].decode(errors="replace"))[:14] if match else ""
    return f"{date or 'undated'}-{digest}"
