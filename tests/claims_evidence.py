"""Synthetic evidence for the claims: trainings on a small backbone and costs of the article's, as in their suites."""

from __future__ import annotations

import random
from dataclasses import replace

import records

from convbench.analysis.claims.evidence import Evidence
from convbench.core.record import Case, Choice, Clip, Parts, Recurrent

SMALL = Choice("strided", (("batch_norm", True),))
CIRCULAR = Choice("conv", (("channels", 8), ("padding_mode", "circular")))
CLIP = Clip(1, 8, 1, 32, 32)
CONFIGURATIONS = {
    "gap": ("gap", 64), "gmp": ("gmp", 64), "spatial-softmax": ("spatial-softmax", 128), "flatten": ("flatten", 1024),
    "fc8": ("fc", 8), "fc64": ("fc", 64), "fc64+relu": ("fc(activation=true)", 64), "conv1x1": ("conv1x1-avg-k", 128),
}  # fmt: skip
EXPECTED = {
    "identity": {"gap": 0.86, "gmp": 0.92, "spatial-softmax": 0.66, "flatten": 0.64, "fc8": 0.38, "fc64": 0.64,
                 "fc64+relu": 0.64, "conv1x1": 0.66},
    "direction": {"gap": 0.36, "gmp": 0.37, "spatial-softmax": 0.99, "flatten": 0.98, "fc8": 0.22, "fc64": 0.99,
                  "fc64+relu": 0.99, "conv1x1": 0.99},
    "binding": {"gap": 0.51, "gmp": 0.60, "spatial-softmax": 0.87, "flatten": 0.87, "fc8": 0.87, "fc64": 0.87,
                "fc64+relu": 0.87, "conv1x1": 0.88},
}  # fmt: skip


def case(name: str, backbone: Choice = SMALL, layer_norm: bool = False) -> Case:
    reducer, size = CONFIGURATIONS[name]
    size = 8 if backbone == CIRCULAR else size
    parts = Parts(backbone, records.choice(reducer), size, Recurrent(hidden=64), layer_norm)
    return Case(parts, CLIP)


def lessons(name, task, mean, seeds=5, sd=0.004, train=None, backbone=SMALL, layer_norm=False, **more):
    """Return trainings of one configuration. ``task`` may have options, such as ``identity(jitter=0.33)``."""
    run_records = []
    for seed in range(seeds):
        wobble = random.Random(f"{name} {task} {seed}").gauss(0, sd)
        lesson = records.lesson(
            mean + wobble, task.partition("(")[0], seed, of=case(name, backbone, layer_norm), **more
        )
        trial = replace(lesson.case.trial, task=_task(task))
        readings = [
            records.reading("train_accuracy", train + wobble) if train and r.metric.name == "train_accuracy" else r
            for r in lesson.readings
        ]
        run_records.append(replace(lesson, case=replace(lesson.case, trial=trial), readings=tuple(readings)))
    return run_records


def _task(text):
    name, _, options = text.rstrip(")").partition("(")
    pairs = (pair.split("=") for pair in options.split(",") if pair)
    return Choice(name, tuple((key, float(value) if "." in value else int(value)) for key, value in pairs))


def trained(table=EXPECTED, **more):
    """Return trainings of every task and configuration in a table of mean accuracies."""
    return [
        lesson
        for task, row in table.items()
        for name, mean in row.items()
        for lesson in lessons(name, task, mean, **more)
    ]


def small_costs():
    return [records.record(replace(case(name), scenario="inference")) for name in CONFIGURATIONS]


def by_size(latency, scenario="train", sizes=((1, 32), (4, 512), (8, 2048), (32, 32768), (64, 131072))):
    """Return costs of the article's backbone that depend only on the size. ``latency`` takes the size."""
    return [
        records.record(records.case(f"avg-k(k={k})", size, scenario=scenario), latency=latency(size))
        for k, size in sizes
    ]


def evidence(*parts):
    run_records = [record for part in parts for record in part]
    return Evidence(((records.run_of(run_records), run_records),))


def everything():
    """Return evidence for every claim, like the pilot's."""
    dials = [
        *lessons("gap", "identity(train_clips=250)", 0.5, train=0.6),
        *lessons("flatten", "identity(train_clips=250)", 0.3, train=0.9),
    ]
    for jitter, gap, fc in ((0.0, 0.8, 0.9), (0.33, 0.82, 0.8)):
        dials += lessons("gap", f"identity(jitter={jitter})", gap) + lessons("fc64", f"identity(jitter={jitter})", fc)
    extra = lessons("flatten", "identity", 0.66, layer_norm=True) + lessons(
        "gap", "direction", 0.125, sd=0.0, backbone=CIRCULAR, flag="dead_run"
    )
    times = by_size(lambda size: 0.02 + 4e-6 * size), by_size(lambda size: 0.01 + 1e-6 * size, "inference")
    return evidence(trained(), dials, extra, small_costs(), *times)
