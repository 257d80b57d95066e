"""Test a real Ray cluster of several nodes on this machine: it gives one host's records, and survives a lost node."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import convbench
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record
from convbench.core.storage import store
from convbench.core.system import lock

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="needs the extra [ray]")

SUITE = {
    "name": "two-hosts",
    "matrix": {
        "backbone": "conv(channels=4)",
        "reducer": ["gap", "gmp", "fc"],
        "lstm_input": 8,
        "rnn": "lstm8",
        "clip": "8x3x1x16x16",
    },
    "protocol": {"max_warmup": 0.01, "max_time": 0.02, "min_samples": 5, "visits": 2, "timeout": 120},
    "metrics": ["params", "latency"],
    "quality": "train",
    "training": {
        "tasks": ["identity"], "seeds": 1, "learning_rates": [0.01], "batch": 8, "steps": 6, "checkpoints": 3,
        "train_clips": 40, "val_clips": 20, "test_clips": 20,
    },
}  # fmt: skip
TRIALS, CASES = 3, 3
TWO = SUITE | {"matrix": SUITE["matrix"] | {"reducer": ["gap", "fc"]}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A cluster of an idle head and two working nodes, each with temporary files and locks like a separate machine."""
    from ray.cluster_utils import Cluster

    ray_cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for number in range(2):
        variables = dict.fromkeys(("TMPDIR", lock.VARIABLE), str(tmp_path_factory.mktemp(f"node-{number}")))
        ray_cluster.add_node(num_cpus=1, include_dashboard=False, env_vars=variables, wait=False)
    ray_cluster.wait_for_nodes()
    yield ray_cluster
    ray_cluster.shutdown()


class Killing:
    """A watcher that kills a node when ``after`` visits have ended."""

    def __init__(self, cluster, after: int) -> None:
        self.cluster, self.after, self.ended_visits = cluster, after, 0
        self.stages: list = []

    def begins(self, _case, state) -> None:
        self.stages.append(state)

    def ended(self, _record: Record) -> None:
        self.ended_visits += 1
        if self.ended_visits == self.after:
            self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)


def lines(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "results.jsonl").read_text().splitlines()]


def visits_made(directory: Path) -> Counter:
    counted: Counter = Counter()
    for record in lines(directory):
        case = json.dumps(record["case"], sort_keys=True)
        counted.update((case, visit["round"]) for visit in record.get("visits", ()) or [{"round": 0}])
    return counted


def curves(run: convbench.Run) -> dict:
    return {
        record.case.id: {
            reading.metric.name: reading.samples for reading in record.readings if reading.metric.unit != "s"
        }
        for record in run.records
        if record.case.trial
    }


def test_two_hosts_visit_once_and_train_exactly_as_one(cluster, tmp_path: Path) -> None:
    with convbench.executor("ray", "cpu", address=cluster.address, silence=30.0) as ray:
        run = convbench.run(TWO, executor=ray, out=tmp_path / "ray")
        workers = [
            process for process in psutil.process_iter(["cmdline"]) if "ray::Worker" in (process.info["cmdline"] or ())
        ]
        assert {worker.nice() for worker in workers} == {psutil.Process().nice()}
    alone = convbench.run(TWO, device="cpu", only=["*learn*"], out=tmp_path / "alone")
    assert {record.status for record in run.records} == {"ok"}
    assert curves(run) == curves(alone)
    assert len(curves(run)) == 2
    visit_counts = visits_made(tmp_path / "ray")
    assert max(visit_counts.values()) == 1
    assert {number for _, number in visit_counts} >= {-1, 0, 1}
    assert len(run.description.hosts) == 2
    assert len(run.description.environments) == 1
    hosts = {visit["host"] for record in lines(tmp_path / "ray") for visit in record.get("visits", ())}
    assert hosts <= set(run.description.hosts)
    assert {record.environment for record in run.records} == {alone.description.fingerprint}


def test_a_killed_node_loses_nothing_and_the_run_ends(cluster, tmp_path: Path) -> None:
    watcher = Killing(cluster, after=5)
    with convbench.executor("ray", "cpu", address=cluster.address, silence=30.0) as ray:
        run = convbench.run(SUITE, executor=ray, out=tmp_path / "run", progress=watcher)
    assert {record.status for record in run.records} == {"ok"}
    visit_counts = visits_made(tmp_path / "run")
    assert max(visit_counts.values()) == 1
    timed = {case for case, number in visit_counts if number == 1}
    assert len(timed) == CASES
    assert len(run.records) == CASES + TRIALS
    assert watcher.stages[0].hosts == 2


def test_ray_still_has_the_switch_for_its_messages() -> None:
    """The switch is not part of what Ray guarantees."""
    import ray

    assert ray._private.worker._worker_logs_enabled is True


def test_an_address_without_a_cluster_is_refused_in_one_message() -> None:
    with (
        convbench.executor("ray", "cpu", address="127.0.0.1:1") as ray,
        pytest.raises(ConvbenchError, match=r"no Ray cluster at 127\.0\.0\.1:1: .*ray start --head"),
    ):
        _ = ray.hosts


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        convbench.executor("ray", "cpu") as ray,
        pytest.raises(ConvbenchError, match=r"pip install 'convbench\[ray\]'"),
    ):
        _ = ray.hosts


def test_stored_runs_of_several_hosts_are_read_back(tmp_path: Path) -> None:
    with convbench.executor("fake", machines=2) as fake:
        convbench.run("smoke", executor=fake, out=tmp_path)
    run, records = store.load(tmp_path)
    assert set(run.hosts) == {"fake-1", "fake-2"}
    assert {visit.host for record in records for visit in record.visits} == set(run.hosts)
