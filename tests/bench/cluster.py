"""Simulate many hosts: run the driver's own code on invented hosts with a simulated clock.

``cluster.py [scaling] [effects]`` prints its assumptions, writes ``reports/cluster/scaling.json`` and ``hosts.json``,
and exits with 1 if a goal is missed:

1. *Scaling*: 10,000 cases of three rounds on 1 to 256 hosts. The durations of a visit, of a worker's start and of the
   overhead between visits come from ``cluster.py measure``, which ran here (``reports/cluster/costs.json``).
   Utilisation is the time in visits, divided by the number of hosts and the wall-clock time from the first host that
   joined to the last record.
2. *Host effects*: 20 hosts whose speeds are within 15 % and drift. The report says how near the estimated effects are
   to the true effects, and how many of the pairs of cases that differ are ranked right.

``cluster.py trials`` runs trainings on a Ray cluster of 1, 2 and 4 workers here and writes ``trials.json``.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from invented_cluster import Costs, Invented, Machine, timed

from convbench.analysis import hosts as between
from convbench.analysis.results import results
from convbench.core import visits
from convbench.core.record import FACTS, Case, Choice, Clip, Parts, Protocol, Record, Recurrent
from convbench.runs.cluster.driver import Driver
from convbench.runs.cluster.engine import Limits
from convbench.runs.executor import Host, Job
from convbench.runs.probe_plan import ProbePlan, jobs, visit_record
from convbench.runs.schedule import Schedule

REPORTS = Path(__file__).parents[2] / "reports" / "cluster"
DEFAULT_RUN = Path("build/repeat/quiet-2")
HOSTS, CASES, ROUNDS = (1, 16, 64, 256), 10_000, 3
GOAL, WITHIN, RIGHT, RUNS = 0.9, 0.01, 0.95, 4
PLAN = ProbePlan(("params",), ("latency",))


# --- Measurements -----------------------------------------------------------------------------------------------------


def measure() -> None:
    """Measure the seconds of visits, between visits and of a worker's start here, on a Ray of one worker."""
    import convbench

    out = Path("build/cluster/costs")
    began = time.monotonic()
    moments: dict[str, Any] = {"joined": 0.0, "ends": []}

    class Watcher:
        def begins(self, _case: Case, _stage: object) -> None:
            moments["joined"] = moments["joined"] or time.monotonic() - began

        def ended(self, _record: Record) -> None:
            moments["ends"].append(time.monotonic())

    with convbench.executor("ray", "cpu", address="local") as ray:
        run = convbench.run("smoke", executor=ray, out=out, progress=Watcher())
    stored = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    seconds = [(visit["round"], visit["seconds"]) for record in stored for visit in record["visits"]]
    gaps = [later - earlier for earlier, later in zip(moments["ends"], moments["ends"][1:], strict=False)]
    timed_visits = sorted(duration for number, duration in seconds if number != FACTS)
    beyond = sorted(gap for gap in gaps)[len(gaps) // 2] - statistics.median(timed_visits)
    costs = {
        "command": "python tests/bench/cluster.py measure",
        "machine": {key: run.description.environment[key] for key in ("cpu", "cores", "torch")},
        "load_average": round(os.getloadavg()[0], 1),
        "suite": "smoke",
        "facts_s": sorted(duration for number, duration in seconds if number == FACTS),
        "visit_s": timed_visits,
        "between_visits_s": round(max(0.0, beyond), 3),
        "worker_start_s": round(moments["joined"], 1),
    }
    REPORTS.mkdir(parents=True, exist_ok=True)
    (REPORTS / "costs.json").write_text(json.dumps(costs, indent=1) + "\n")
    print(json.dumps(costs, indent=1))


def trials() -> None:
    """Measure the seconds of 12 trainings on Rays of 1, 2 and 4 workers of one core each, and the speed-up."""
    from ray.cluster_utils import Cluster

    import convbench

    suite = {
        "name": "trials",
        "matrix": {"backbone": "conv(channels=8)", "reducer": ["gap", "gmp", "fc"], "lstm_input": 16, "rnn": "lstm16",
                   "clip": "16x6x1x24x24"},
        "metrics": ["params"], "quality": "train",
        "training": {"tasks": ["identity"], "seeds": 4, "learning_rates": [0.01], "batch": 16, "steps": 60,
                     "checkpoints": 3, "train_clips": 320, "val_clips": 40, "test_clips": 40},
    }  # fmt: skip
    seconds: dict[str, float] = {}
    for workers in (1, 2, 4):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": workers})
        with convbench.executor("ray", "cpu", address=cluster.address, workers=workers, cores=1) as ray:
            _ = ray.hosts
            began = time.monotonic()
            convbench.run(suite, executor=ray, only=["learn"], out=Path("build/cluster/trials"))
            seconds[str(workers)] = round(time.monotonic() - began, 1)
        cluster.shutdown()
        print(f"{workers} workers: {seconds[str(workers)]} s", flush=True)
    report = {
        "command": "python tests/bench/cluster.py trials",
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "trainings": 12,
        "seconds": seconds,
        "speedup": {workers: round(seconds["1"] / duration, 2) for workers, duration in seconds.items()},
    }
    (REPORTS / "trials.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


# --- Scaling ----------------------------------------------------------------------------------------------------------


def suite(number: int) -> list[Case]:
    """Return ``number`` cases: 10 reducers at 10 sizes in 2 variants, with as many recurrent stages as needed."""
    reducers = [
        Choice(name) for name in ("gap", "gmp", "gem", "fc", "hybrid", "attention", "flatten", "gdconv", "a", "b")
    ]
    return [
        Case(Parts(Choice("conv"), reducer, size, Recurrent(hidden=hidden)), Clip(), variant)
        for hidden in range(1, 1 + math.ceil(number / 200))
        for reducer in reducers
        for size in range(8, 88, 8)
        for variant in ((), (Choice("channels_last"),))
    ][:number]


class Sweep:
    """A sweep by the real schedule and driver on invented hosts."""

    def __init__(self, cases: list[Case], machines: list[Machine], costs: Costs, protocol: Protocol) -> None:
        self.engine = Invented(machines, costs)
        self.driver = Driver(self.engine, Limits(), self.engine.clock)
        self.schedule = Schedule(cases, protocol, True, self.engine.clock, hosts=lambda: self.driver.hosts)
        self.records: list[Record] = []

    def run(self) -> Sweep:
        _ = self.driver.hosts
        for job, outcome in self.driver.run(jobs(self.schedule, PLAN, (0, 1))):
            record = visit_record(job, outcome)
            self.schedule.log.add(record)
            self.records.append(record)
        return self


def steady(slowness: float, _now: float) -> float:
    return slowness


def plain(job: Job, host: Host) -> Record:
    return Record(job.case, "ok")


def scaling(costs: dict[str, Any]) -> dict[str, Any]:
    """Return utilisation, hours, visits and the driver's seconds by the number of hosts."""
    chance = random.Random(0)
    cases = suite(CASES)
    seconds = {case.id: chance.choice(costs["visit_s"]) * chance.lognormvariate(0, 0.1) for case in cases}
    facts = {case.id: chance.choice(costs["facts_s"]) * chance.lognormvariate(0, 0.1) for case in cases}
    drawn = Costs(
        lambda job: facts[job.case.id] if job.visit == FACTS else seconds[job.case.id],
        between=costs["between_visits_s"],
        arrival=0.25,
    )
    report: dict[str, Any] = {}
    for number in HOSTS:
        machines = [
            Machine(f"host-{at}", joins=costs["worker_start_s"] * chance.uniform(0.8, 1.2),
                    slowness=partial(steady, chance.uniform(0.87, 1.15)))
            for at in range(number)
        ]  # fmt: skip
        began = time.monotonic()
        sweep = Sweep(cases, machines, drawn, Protocol(visits=ROUNDS))
        sweep.engine.answer = plain
        sweep.run()
        visit_count = len(sweep.records)
        wall = sweep.engine.now
        first = min(machine.joins for machine in machines)
        report[str(number)] = {
            "utilisation": round((sweep.engine.busy + drawn.between * visit_count) / number / (wall - first), 4),
            "hours": round(wall / 3600, 3),
            "visits": visit_count,
            "driver_s": round(time.monotonic() - began, 1),
        }
        assert visit_count >= CASES * (ROUNDS + 1)
        print(f"{number:4} hosts: {report[str(number)]}", flush=True)
    return report


# --- Host effects -----------------------------------------------------------------------------------------------------


def host_effects(seed: int) -> dict[str, float]:
    """Simulate one run of 20 hosts: return the errors of the effects and the share of pairs ranked right."""
    chance = random.Random(seed)
    cases = suite(200)
    truth = {case.id: 1e-3 * chance.lognormvariate(0, 0.7) for case in cases}
    base = {f"host-{at}": chance.uniform(-0.15, 0.15) for at in range(20)}
    phase = {name: chance.uniform(0, 2 * math.pi) for name in base}
    speeds = {
        name: (lambda now, name=name: math.exp(base[name] + 0.03 * math.sin(now / 200 + phase[name]))) for name in base
    }
    machines = [Machine(name, slowness=speeds[name]) for name in base]
    sweep = Sweep(cases, machines, Costs(lambda _: 3.0, 0.2, 0.2), Protocol(visits=5, seed=seed))
    began: dict[str, list[float]] = {}
    sweep.engine.answer = timed(truth, speeds, sweep.engine.clock, seed)
    sweep.run()
    for name, job, at in sweep.engine.visits:
        if job.visit != FACTS:
            began.setdefault(name, []).append(math.log(speeds[name](at)))
    joined = visits.join_visits(sweep.records)
    (estimated,) = between.effects(joined).values()
    true = {name: statistics.fmean(logs) for name, logs in began.items()}
    middle = statistics.fmean(true[name] for name in estimated)
    errors = [abs(estimated[name].log - (true[name] - middle)) for name in estimated]
    latencies = {result.case.id: result.latency.median for result in results(joined) if result.latency}
    pairs = [pair for pair in combinations(cases, 2) if abs(math.log(truth[pair[0].id] / truth[pair[1].id])) > 0.05]
    right = sum((latencies[a.id] < latencies[b.id]) == (truth[a.id] < truth[b.id]) for a, b in pairs)
    covered = sum(abs(estimated[name].log - (true[name] - middle)) <= estimated[name].half_width for name in estimated)
    return {
        "error_median": statistics.median(errors),
        "error_worst": max(errors),
        "within": sum(error <= WITHIN for error in errors) / len(errors),
        "covered": covered / len(errors),
        "right": right / len(pairs),
    }


def many_effects(runs: int = RUNS) -> dict[str, float]:
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for seed in range(runs):
        for key, value in host_effects(seed).items():
            samples[key].append(value)
    return {
        key: round(max(values) if key == "error_worst" else statistics.fmean(values), 4)
        for key, values in samples.items()
    }


ASSUMED = """\
Assumed: a visit takes what one of the smoke suite's took here (costs.json), or one of a quiet run of the default suite
(visits_default.json, made where build/repeat/quiet-2 is there), drawn for each case with a spread of 10 %;
hosts differ by -13 to +15 %; workers join within 20 % of each other; a piece arrives after 0.25 s; between two visits
the measured overhead passes; nothing fails; writing a record costs the driver nothing (its own seconds are shown)."""


def visits_of(directory: Path) -> dict[str, list[float]]:
    """Return the sorted seconds of a stored run's visits: ``facts_s`` for facts, ``visit_s`` for timed visits."""
    visits = [visit for line in (directory / "results.jsonl").open() for visit in json.loads(line)["visits"]]
    facts, timed = ([v["seconds"] for v in visits if (v["round"] == FACTS) == is_fact] for is_fact in (True, False))
    return {"facts_s": sorted(facts), "visit_s": sorted(timed)}


def write_scaling() -> list[str]:
    """Write ``scaling.json`` for visits like the smoke suite's and the default suite's. Return the missed goals."""
    print(ASSUMED)
    costs = json.loads((REPORTS / "costs.json").read_text())
    if DEFAULT_RUN.is_dir():
        (REPORTS / "visits_default.json").write_text(json.dumps(visits_of(DEFAULT_RUN)) + "\n")
    default = json.loads((REPORTS / "visits_default.json").read_text())
    hosts_by_suite = {"smoke": scaling(costs), "default": scaling(costs | default)}
    report = {
        "command": "python tests/bench/cluster.py scaling",
        "assumed": ASSUMED.splitlines(),
        "cases": CASES,
        "rounds": ROUNDS,
        "hosts": hosts_by_suite,
    }
    (REPORTS / "scaling.json").write_text(json.dumps(report, indent=1) + "\n")
    return [
        f"{suite}, {number} hosts: {figures['utilisation']}"
        for suite, hosts in hosts_by_suite.items()
        for number, figures in hosts.items()
        if figures["utilisation"] < GOAL
    ]


def write_effects() -> list[str]:
    """Write ``hosts.json`` and return the missed goals."""
    effects = many_effects()
    report = {
        "command": "python tests/bench/cluster.py effects",
        "assumed": "20 hosts within 15 %, each drifting by 3 % up and down; visits spread by 3 %; 200 cases, 5 rounds; "
        f"pairs that differ by more than 5 %; {RUNS} runs",
        **effects,
    }
    (REPORTS / "hosts.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    missed = [f"median error {effects['error_median']}"] if effects["error_median"] > WITHIN else []
    return missed + ([f"ranked right {effects['right']}"] if effects["right"] < RIGHT else [])


def main(words: list[str]) -> int:
    parts = {"measure": measure, "trials": trials, "scaling": write_scaling, "effects": write_effects}
    missed = [miss for word in words or ("scaling", "effects") for miss in parts[word]() or ()]
    print("missed:", *missed or ["nothing"], sep="\n  ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
