"""Limits of a container: synthetic trees of control groups, of both versions, in the kernel's format."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from convbench.core.comparability import fingerprint
from convbench.core.errors import ConvbenchError
from convbench.measure.machine import cgroup, doctor, environment

GIB = 2**30
V1_NONE = "9223372036854771712"
"""Version 1's value for no limit."""


def tree(root: Path, groups: str, **files: str) -> Path:
    """Create a root with ``/proc/self/cgroup`` and files below ``/sys/fs/cgroup``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


def v1(root: Path, cpu: str = "cpu,cpuacct", **files: str) -> Path:
    groups = f"12:pids:/\n5:{cpu}:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n"
    return tree(
        root, groups, **{f"{cpu if name.startswith('cpu') else 'memory'}/{name}": t for name, t in files.items()}
    )


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"slice/cpu.max": "400000 100000", "cpu.max": "max 100000", "slice/pod/cpu.max": "max 100000"}, 4.0),
        ({"slice/cpu.max": "100000 100000", "slice/pod/cpu.max": "300000 100000"}, 1.0),
        ({"slice/pod/cpu.max": ""}, None),
        ({}, None),
    ],
    ids=["own root", "none", "above", "tightest", "empty", "no files"],
)
def test_the_cgroup_v2_quota_is_the_tightest_of_all_groups(tmp_path, files, quota):
    assert cgroup.cpu_quota(tree(tmp_path, "0::/slice/pod\n", **files)) == quota


@pytest.mark.parametrize("cpu", ["cpu,cpuacct", "cpu"])
@pytest.mark.parametrize(("written", "quota"), [("250000", 2.5), ("-1", None)])
def test_the_cgroup_v1_quota_is_read(tmp_path, cpu, written, quota):
    files = {"cpu.cfs_quota_us": written, "cpu.cfs_period_us": "100000"}
    assert cgroup.cpu_quota(v1(tmp_path, cpu, **files)) == quota


def test_the_time_for_which_a_quota_paused_its_group_is_read(tmp_path):
    stat = "nr_periods 9\nnr_throttled 7\n"
    newer = tree(tmp_path / "2", "0::/slice/pod\n", **{"slice/cpu.stat": f"{stat}throttled_usec 1500000"})
    older = v1(tmp_path / "1", **{"cpu.stat": f"{stat}throttled_time 2500000000"})
    assert (cgroup.paused_seconds(newer), cgroup.paused_seconds(older)) == (1.5, 2.5)
    assert cgroup.paused_seconds(tree(tmp_path / "0", "0::/\n")) == 0.0


def test_cgroup_v2_memory_counts_inactive_file_cache_as_free(tmp_path):
    stat = f"anon {GIB}\ninactive_file {GIB}\nactive_file 5"
    files = {"memory.max": str(4 * GIB), "memory.current": str(3 * GIB), "memory.stat": stat}
    root = tree(tmp_path, "0::/\n", **files)
    assert cgroup.memory_limit(root) == 4 * GIB
    assert cgroup.memory_free(root) == 2 * GIB


def test_a_parent_groups_memory_limit_also_binds(tmp_path):
    outer = {"a/memory.max": str(3 * GIB), "a/memory.current": str(2 * GIB)}
    inner = {"a/b/memory.max": str(8 * GIB), "a/b/memory.current": str(GIB)}
    root = tree(tmp_path, "0::/a/b\n", **outer, **inner)
    assert (cgroup.memory_limit(root), cgroup.memory_free(root)) == (3 * GIB, GIB)


@pytest.mark.parametrize(("limit", "bound"), [(str(2 * GIB), 2 * GIB), (V1_NONE, None)])
def test_the_cgroup_v1_memory_limit_is_read(tmp_path, limit, bound):
    files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": "100", "memory.stat": "total_inactive_file 40"}
    root = v1(tmp_path, **files)
    assert cgroup.memory_limit(root) == bound
    assert cgroup.memory_free(root) == (bound and bound - 60)


def test_a_full_group_has_no_free_memory(tmp_path):
    root = tree(tmp_path, "0::/\n", **{"memory.max": "100", "memory.current": "200"})
    assert cgroup.memory_free(root) == 0


def test_there_is_no_limit_without_control_groups(tmp_path):
    assert (cgroup.cpu_quota(tmp_path), cgroup.memory_limit(tmp_path), cgroup.memory_free(tmp_path)) == (None,) * 3


def test_cores_memory_and_fingerprint_reflect_the_container(tmp_path, monkeypatch):
    free = environment.available_bytes({})
    bare = environment.describe("cpu")
    files = {"cpu.max": "50000 100000", "memory.max": "3000000", "memory.current": "1000000"}
    root, groups = tree(tmp_path, "0::/\n", **files), cgroup._groups
    monkeypatch.setattr(cgroup, "_groups", lambda _, controller: groups(root, controller))
    facts = environment.describe("cpu")
    assert (facts["cores"], facts["cpu_quota"], facts["memory_bytes"]) == (1, 0.5, 3_000_000)
    assert environment.available_bytes({}) == 2_000_000 < free
    assert fingerprint(facts) != fingerprint(bare)
    named = {check.name: check for check in doctor._container()}
    assert not named["cpu quota"].is_good
    assert "0.5 processors" in named["cpu quota"].message
    assert "memory limit" in named


@pytest.mark.parametrize(
    ("groups", "files", "kills"),
    [("0::/a/b\n", {"a/b/memory.oom.group": "1"}, True), ("0::/a/b\n", {"a/memory.oom.group": "1"}, True),
     ("0::/a/b\n", {"a/b/memory.oom.group": "0", "c/memory.oom.group": "1"}, False), ("4:memory:/a\n", {}, False)],
    ids=["own group", "above", "another", "version 1"],
)  # fmt: skip
def test_a_group_that_is_killed_as_a_whole_is_reported(tmp_path, monkeypatch, groups, files, kills):
    """A case that was killed for its memory took the command with it, and nothing had said so before."""
    root, groups_of = tree(tmp_path, groups, **files), cgroup._groups
    monkeypatch.setattr(cgroup, "_groups", lambda _, controller: groups_of(root, controller))
    assert ["out of memory"] * kills == [check.name for check in doctor._container() if not check.is_good]


def test_a_positive_niceness_is_reported(monkeypatch):
    monkeypatch.setattr("psutil.Process.nice", lambda _: 0)
    assert not list(doctor._niceness())
    monkeypatch.setattr("psutil.Process.nice", lambda _: 10)
    (check,) = doctor._niceness()
    assert not check.is_good
    assert check.message.startswith("10: other processes run first")


@pytest.mark.parametrize(
    ("reader", "error", "reason"),
    [
        ("virtual_memory", FileNotFoundError(2, "No such file", "/proc/meminfo"), "/proc/meminfo: cannot be read"),
        ("virtual_memory", KeyError(b"MemTotal:"), "/proc/meminfo or /proc/stat is incomplete"),
        ("cpu_times", TypeError("7 missing arguments"), "/proc/meminfo or /proc/stat is incomplete"),
    ],
)
def test_without_proc_or_with_masks_over_its_files_the_message_says_what_to_mount(monkeypatch, reader, error, reason):
    """In a chroot without ``/proc``, every command used to end in a FileNotFoundError, with masks in a traceback."""
    monkeypatch.setattr(environment.psutil, reader, Mock(side_effect=error))
    with pytest.raises(ConvbenchError, match=rf"^{reason} \(.*: mount /proc"):
        environment.describe("cpu")
