"""A container's limits: the CPU quota and the memory limit of this process's control groups, versions 1 and 2.

A group is bound by its own limits and those of the groups above it; the tightest holds. Inside a container, the group
that ``/proc`` names may lie outside of the mounted tree; then the mounted root is its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from convbench.core.system.affinity import allowed_cores

ROOT = Path("/")
UNLIMITED = 2**60
"""Byte counts from here on mean no limit: version 1 writes that as the largest multiple of a page."""


class Names(NamedTuple):
    """A version's files for the memory limit and the bytes in use, and the row of memory.stat with droppable cache."""

    limit: str
    usage: str
    cache: str


NAMES = (
    Names("memory.max", "memory.current", "inactive_file"),
    Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_cores() -> int:
    """Cores that this process may run on at once: those of its affinity, at most as many as its quota fills."""
    cores = len(allowed_cores()) or os.cpu_count() or 1
    return min(cores, ceil(cpu_quota() or cores))


def cpu_quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that the groups may use, such as 1.5; None without a limit."""
    quotas = (_quota(group) for group in _groups(root, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def paused_seconds(root: Path = ROOT) -> float:
    """Seconds, summed over processors, for which a group had used up its quota and waited for the next period."""
    return max(map(_paused_seconds, _groups(root, "cpu")), default=0.0)


def memory_limit(root: Path = ROOT) -> int | None:
    """Bytes that the groups may hold; None without a limit."""
    limits = [limit for limit, _ in map(_memory, _groups(root, "memory")) if limit < UNLIMITED]
    return min(limits, default=None)


def memory_free(root: Path = ROOT) -> int | None:
    """Bytes that the groups may still take, where cached files count as free; None without a limit."""
    free_bytes = [limit - usage for limit, usage in map(_memory, _groups(root, "memory")) if limit < UNLIMITED]
    return max(0, min(free_bytes)) if free_bytes else None


def kills_whole_group(root: Path = ROOT) -> bool:
    """Whether the kernel, when a process exceeds the memory, kills all processes of its group (version 2 only)."""
    return any(_text(group / "memory.oom.group") == "1" for group in _groups(root, "memory"))


def _quota(group: Path) -> float | None:
    quota, _, period = (_text(group / "cpu.max") or "").partition(" ")
    if not quota:
        quota = _text(group / "cpu.cfs_quota_us") or ""
        period = _text(group / "cpu.cfs_period_us") or ""
    quota_us, period_us = _number(quota), _number(period)
    return quota_us / period_us if quota_us and period_us else None


def _paused_seconds(group: Path) -> float:
    counters = _rows(group / "cpu.stat")
    return counters.get("throttled_usec", 0) * 1e-6 or counters.get("throttled_time", 0) * 1e-9


def _memory(group: Path) -> tuple[int, int]:
    """The limit of one group, ``UNLIMITED`` if it has none, and the bytes in use that it cannot drop."""
    for names in NAMES:
        if (limit := _number(_text(group / names.limit))) is not None:
            usage = _number(_text(group / names.usage)) or 0
            return min(limit, UNLIMITED), max(0, usage - _rows(group / "memory.stat").get(names.cache, 0))
    return UNLIMITED, 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups for a controller, and their ancestors up to the mount point."""
    mount_root = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = (controllers, controller) if controllers else ("", "unified")
        for mount in {mount_root / name for name in mounts}:
            place = PurePosixPath(path.lstrip("/"))
            yield from (folder for ancestor in (place, *place.parents) if (folder := mount / ancestor).is_dir())


def _rows(path: Path) -> dict[str, int]:
    """The counters of a file with a name and a number in each row; empty if it cannot be read."""
    rows = (line.split() for line in (_text(path) or "").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def _number(text: str | None) -> int | None:
    """Parse a limit; None for ``max`` and -1, which mean no limit."""
    return int(text) if text and text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return None
