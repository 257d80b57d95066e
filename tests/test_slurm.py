"""Test Slurm through submitit: its local cluster, a fake Slurm, and users' mistakes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from unittest.mock import Mock

import fake_slurm
import forked
import pytest

import convbench
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record
from convbench.plugins.executors import slurm as slurm_executor

pytestmark = pytest.mark.slow
pytest.importorskip("submitit", reason="needs the extra [slurm]")

SUITE = {
    "name": "by-slurm",
    "matrix": {"backbone": "conv(channels=4)", "reducer": ["gap", "gmp"], "rnn": "lstm8", "clip": "1x2x1x16x16"},
    "protocol": {"max_warmup": 0.01, "max_time": 0.02, "min_samples": 5, "visits": 2, "timeout": 120},
    "metrics": ["params", "latency"],
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "slurm" / "state"


class KillsAWorker:
    """A progress watcher that kills the first job's processes after the first record, like a node that goes down."""

    def __init__(self, state: Path) -> None:
        self.state, self.killed = state, 0

    def begins(self, case, state) -> None: ...

    def ended(self, _record: Record) -> None:
        if not self.killed:
            self.killed = json.loads(next(iter(sorted(self.state.glob("*.json")))).read_text())["pid"]
            for pid in session(self.killed):
                os.kill(pid, signal.SIGKILL)


def session(leader: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    members = []
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        members += [pid] if int(fields[3]) == leader and fields[0] != "Z" else []
    return members


def ended(leaders: list[int], seconds: float = 60.0) -> bool:
    """Whether all processes of these sessions end within ``seconds``."""
    until = time.monotonic() + seconds
    while any(session(leader) for leader in leaders) and time.monotonic() < until:
        time.sleep(0.2)
    return not any(session(leader) for leader in leaders)


def whole(directory: Path) -> bool:
    records = [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]
    visits = [(record["case"]["architecture"]["reducer"]["name"], record["visits"][0]["round"]) for record in records]
    expected = {(reducer, number) for reducer in ("gap", "gmp") for number in (-1, 0, 1)}
    return expected <= set(visits) and len(visits) == len(set(visits))


def test_a_dead_job_is_replaced_and_none_outlives_the_run(slurm: Path, tmp_path: Path) -> None:
    watcher = KillsAWorker(slurm)
    folder = tmp_path / "shared"
    with convbench.executor("slurm", "cpu", workers=1, folder=str(folder), partition="short", silence=30.0) as jobs:
        run = convbench.run(SUITE, executor=jobs, out=tmp_path / "run", progress=watcher)
        script = (slurm / "1_script.sh").read_text()
    assert watcher.killed
    assert {record.status for record in run.records} == {"ok"}
    assert whole(tmp_path / "run")
    assert "#SBATCH --partition=short" in script
    assert "#SBATCH --exclusive" in script
    assert list(folder.iterdir()) == [], "nothing is left in the shared folder"
    pids = [json.loads(path.read_text())["pid"] for path in slurm.glob("*.json")]
    assert len(pids) == 2
    assert ended(pids), "no job outlives the run"


@pytest.mark.parametrize(
    ("options", "alone"),
    [({}, True), ({"exclusive": False}, False), ({"gpus": 1}, False), ({"gpus": 1, "exclusive": True}, True)],
)
def test_a_job_has_an_exclusive_host_unless_it_has_gpus(options: dict, alone: bool) -> None:
    """With ``gpus``, the option ``exclusive`` used to be dropped."""
    with convbench.executor("slurm", "cpu", **options) as jobs:
        parameters = jobs.driver.engine._parameters()
    assert parameters.get("slurm_additional_parameters") == ({"exclusive": True} if alone else None)


def test_the_last_output_of_a_cancelled_job_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler ends a cancelled job a moment later. Its log used to reappear in the folder being removed."""
    log, remove = tmp_path / "run-1" / "logs" / "1_log.out", shutil.rmtree
    log.parent.mkdir(parents=True)

    def remove_beside_a_job(folder: Path, ignore_errors: bool) -> None:
        remove(folder, ignore_errors)
        if pauses < 2:
            log.parent.mkdir(parents=True)
            log.touch()

    def pause(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1

    pauses = 0
    monkeypatch.setattr(shutil, "rmtree", remove_beside_a_job)
    monkeypatch.setattr(slurm_executor.time, "sleep", pause)
    slurm_executor._remove(tmp_path / "run-1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_local_clusters_measure_without_slurm(cluster: str, tmp_path: Path) -> None:
    with convbench.executor("slurm", "cpu", cluster=cluster, workers=1, folder=str(tmp_path / "shared")) as jobs:
        run = convbench.run(SUITE, executor=jobs, out=tmp_path / "run")
    assert {record.status for record in run.records} == {"ok"}
    assert whole(tmp_path / "run")


SHOP = """
import convbench
from torch import nn

@convbench.register("reducer", "corner")
def corner(features, lstm_input):
    "The mean of every channel, by another name."
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def test_workers_know_the_plugins_of_imported_modules(tmp_path: Path) -> None:
    """Its cases used to fail on all hosts with an unknown reducer, for a named executor and for an executor object."""
    suite = SUITE | {"matrix": SUITE["matrix"] | {"reducer": ["gap", "corner"]}}
    options = {"cluster": "local", "workers": 1, "folder": str(tmp_path / "shared")}
    script = (
        f"import convbench, shop\nconvbench.run({suite}, executor='slurm', executor_options={options}, device='cpu', "
    )
    script += f"out='named')\nwith convbench.executor('slurm', 'cpu', **{options}) as jobs:\n"
    script += f"    convbench.run({suite}, executor=jobs, out='made')\n"
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "mine.py").write_text(script)
    done = forked.python("mine.py", cwd=tmp_path)
    for run in ("named", "made"):
        assert {record.status for record in convbench.open_run(tmp_path / run).records} == {"ok"}, done.stderr


def test_an_unknown_partition_is_reported_in_slurms_words(slurm: Path, tmp_path: Path) -> None:
    with (
        convbench.executor("slurm", "cpu", partition="nonsense", folder=str(tmp_path / "shared")) as jobs,
        pytest.raises(ConvbenchError, match=r"Slurm refuses the workers: .*Invalid partition name specified"),
    ):
        _ = jobs.hosts


def test_missing_sbatch_is_reported_with_the_alternatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        convbench.executor("slurm", "cpu", folder=str(tmp_path)) as jobs,
        pytest.raises(ConvbenchError, match=r"there is no sbatch here: run it on a login node.*cluster=local"),
    ):
        _ = jobs.hosts


def test_missing_submitit_is_reported_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    with convbench.executor("slurm", "cpu") as jobs, pytest.raises(ConvbenchError, match=r"'convbench\[slurm\]'"):
        _ = jobs.hosts


def test_failed_queries_are_told_once_and_other_messages_of_submitit_stay(caplog: pytest.LogCaptureFixture) -> None:
    """While Slurm's accounting was down, submitit printed "Bypassing sacct error" on the terminal every ten seconds."""
    engine = slurm_executor._Engine(Mock(), Mock())
    submitit_log = logging.getLogger("submitit")
    submitit_log.addFilter(engine._is_news)
    inaccurate = "Bypassing sacct error Command '['sacct']' failed., status may be inaccurate."
    for number in (1, 2):
        submitit_log.warning(f"Call #{number} - {inaccurate}")
    submitit_log.warning("Bypassing state error:\nno such job")
    submitit_log.warning("the folder of the logs has moved")
    engine.close()
    submitit_log.warning(inaccurate)  # of the user's own jobs
    messages = [record.getMessage() for record in caplog.records]
    reason = "Slurm's accounting does not answer (Command '['sacct']' failed)"
    warning = f"convbench: {reason}: the end of a worker is noticed in the queue, or by its silence, meanwhile"
    assert messages == [warning, "the folder of the logs has moved", inaccurate]
