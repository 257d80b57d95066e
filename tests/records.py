"""Make runs and records that look like measured ones: the article's geometry, exact counts and invented times."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convbench.core.record import (
    Case,
    Choice,
    Clip,
    Failure,
    Finding,
    Metric,
    Parts,
    Protocol,
    Reading,
    Record,
    RunDescription,
    Trial,
)
from convbench.core.storage import store
from convbench.core.traits import notes_of

UNITS = {"s": "s", "bytes": "B", "params": "1", "macs": "MAC", "flops": "FLOP", "adds": "1"}
SPEED = {"eager": 1.0, "channels_last": 0.85, "compile": 0.34, "channels_last+compile": 0.29}
ENVIRONMENT = {
    "cpu": "AMD EPYC 7B13", "cores": 2, "threads": 2, "gpu": None, "torch": "2.13.0+cpu", "python": "3.11.7",
    "os": "Linux 6.1", "allocator": "glibc", "commit": "0123abc",
}  # fmt: skip
SIZES = {
    "flatten": (), "gap": (), "gmp": (), "gem": (), "gdconv": (), "attention(heads=4)": (), "avg-k(k=4)": (),
    "fc(activation=true)": (8, 32, 128, 512), "hybrid(activation=true)": (8, 32, 64, 512),
    "conv1x1-avg-k(k=4)": (32, 128, 512), "spatial-softmax": (), "random-projection": (32, 128, 512),
}  # fmt: skip


def choice(text: str) -> Choice:
    name, _, options = text.rstrip(")").partition("(")
    pairs = (pair.split("=") for pair in options.split(",") if pair)
    return Choice(name, tuple((key, int(value) if value.isdigit() else value == "true") for key, value in pairs))


def variant(name: str) -> tuple[Choice, ...]:
    return () if name == "eager" else tuple(choice(part) for part in name.split("+"))


def parts(reducer: str | Choice = "gap", size: int | None = None, channels: int = 32, **more) -> Parts:
    """Return a reducer on the article's one convolution, with its real size for a 64x64 map."""
    cells = channels * 64 * 64
    follows = {"flatten": cells, "avg-k": 16 * channels, "spatial-softmax": 2 * channels, "attention": 4 * channels}
    name = reducer if isinstance(reducer, Choice) else choice(reducer)
    backbone = Choice("conv", () if channels == 32 else (("channels", channels),))
    return Parts(backbone, name, size or follows.get(name.name, channels), **more)


def case(reducer: str = "gap", size: int | None = None, channels: int = 32, **more) -> Case:
    """Return a case in short form: ``case("fc", 128, variant="compile", scenario="streaming", device="cuda:0")``."""
    axes = {key: more.pop(key) for key in ("clip", "scenario", "device") if key in more}
    return Case(
        parts(reducer, size, channels, **more.pop("parts", {})), variant=variant(more.pop("variant", "eager")), **axes
    )


def counts(of: Case) -> dict[str, float]:
    """Return the exact parameters and MACs by stage of the article's model with this reducer."""
    if not isinstance(of.architecture, Parts):
        return {"params": 4e5, "macs": 3e8, "flops": 6e8, "macs_backbone": 2e8}
    model, frames = of.architecture, of.frames_per_call
    channels = dict(model.backbone.options).get("channels", 32)
    cells, size, hidden = channels * 4096, model.lstm_input, model.rnn.hidden
    weights = {
        "fc": (cells + 1) * size, "hybrid": (channels + 1) * size, "gdconv": 4097 * size,
        "conv1x1-avg-k": (channels + 1) * size // 16,
    }.get(model.reducer.name, 0)  # fmt: skip
    work = {
        "fc": cells,
        "hybrid": channels,
        "gdconv": 4096,
        "random-projection": cells,
        "conv1x1-avg-k": channels * 256,
    }
    stages = {
        "params_backbone": 28 * channels, "params_reducer": weights,
        "params_lstm": 4 * hidden * (size + hidden + 2), "params_head": (model.head or 0) * (hidden + 1),
        "macs_backbone": 27 * cells * frames, "macs_reducer": size * work.get(model.reducer.name, 0) * frames,
        "macs_lstm": 4 * hidden * (size + hidden) * frames, "macs_head": (model.head or 0) * hidden * frames,
    }  # fmt: skip
    totals = {name: sum(value for key, value in stages.items() if key.startswith(name)) for name in ("params", "macs")}
    return {**totals, "flops": 2 * totals["macs"], **stages, "adds": 2 * cells * frames}


def reading(name: str, *samples: float) -> Reading:
    return Reading(Metric(name, UNITS.get(name.rpartition("_")[2], UNITS.get(name.partition("_")[0], "1"))), samples)


def seconds(of: Case, rng: random.Random) -> float:
    eager = 4e-3 * counts(of)["macs_backbone"] / 56_623_104 + counts(of)["macs"] / 25e9
    return eager * SPEED.get(of.variant_name, 0.6) * rng.uniform(0.97, 1.03)


def record(of: Case | None = None, *, samples: int = 60, latency: float | None = None, **more) -> Record:
    """Return a measured record. ``latency`` sets the median. Keywords set other fields of Record."""
    of = of or case()
    rng = random.Random(ascii(of.id))
    center = latency or seconds(of, rng)
    numbers = counts(of)
    gpu = of.device != "cpu"
    memory = "cuda_peak_allocated_bytes" if gpu else "cpu_peak_tensor_bytes"
    readings = [reading(name, value) for name, value in numbers.items()]
    readings.append(reading("latency_s", *(center * rng.lognormvariate(0, 0.03) for _ in range(samples))))
    readings.append(reading(memory, 16 * 2**20 + 4 * numbers["params"]))
    for kind, size in (("weights", 4 * numbers["params"]), ("activations", 2**23), ("temporaries", 2**23)):
        readings.append(reading(f"{memory}_{kind}", size))
    readings.append(reading("predicted_peak_bytes", 16.1 * 2**20 + 4 * numbers["params"]))
    readings.append(reading("cold_call_s", 20 * center))
    if "compile" in of.variant_name:
        extra = {"compile_s": 4.2, "graphs": 1, "graph_breaks": 1, "flops_captured": 0.97}
        readings += [reading(name, value) for name, value in extra.items()]
    noted = {
        "conditions": notes_of(replace(of, variant=())),
        "environment": "e1",
        "started": "2026-11-22T12:00:00Z",
        "seconds": 2,
    }
    return Record(of, "ok", tuple(readings), **{**noted, **more})


def failed(of: Case, message: str = "output differs from eager: max 0.3", kind: str = "wrong output", **more) -> Record:
    return Record(of, more.pop("status", "failed"), failure=Failure(kind, message), environment="e1", **more)


def run_of(records: list[Record], **more) -> RunDescription:
    """Return the description of a run with these records. Keywords set its fields."""
    values = {
        "name": "default", "command": "convbench run suites/default.yaml", "suite": "name: default\nreducer: [gap]\n",
        "protocol": Protocol(), "metrics": ("params", "macs", "latency", "memory"), "fingerprint": "e1",
        "planned": tuple(r.case.id for r in records), "environment": ENVIRONMENT, "convbench": "0.1.0",
        "started": "2026-11-22T12:00:00Z",
    }  # fmt: skip
    return RunDescription(**{**values, **more})


def stored(directory: Path, records: Sequence[Record], **more) -> Path:
    """Write a run with these records into the directory and return it."""
    store.start(directory, run_of(list(records), **more), records)
    return directory


def default_records() -> list[Record]:
    """Return about eighty records like the default suite's: every reducer, several sizes, four variants, streaming."""
    cases = [case(name, size) for name, sizes in SIZES.items() for size in sizes or (None,)]
    cases += [case(name, None, channels) for name in ("gap", "gmp", "spatial-softmax") for channels in (8, 128)]
    cases += [
        case(name, size, variant=how)
        for name in SIZES
        for size in SIZES[name][-2:-1] or (None,)
        for how in list(SPEED)[1:]
    ]
    cases += [case(name, scenario="streaming") for name in ("gap", "spatial-softmax", "flatten")]
    records = [record(of) for of in cases]
    folds = Finding("folds_into_lstm", "note", {"lstm_input": 32, "params_saved": 18496})
    faults = Finding("page_faults", "warning", {"faults_per_call": 6112.0, "system_share": 0.85, "allocator": "glibc"})
    records[1] = replace(records[1], findings=(faults,))
    records[11] = replace(
        records[11], findings=(folds, Finding("interval_wide", "warning", {"relative": 0.04, "target": 0.01}))
    )
    records.append(failed(case("gem", variant="autocast(dtype=true)")))
    return [
        *records,
        failed(case("gap", variant="allocator(malloc=true)"), "no jemalloc here", "unavailable", status="skipped"),
    ]


def many(n: int, variants: Sequence[str] = tuple(SPEED)) -> list[Record]:
    """Return records of ``n`` distinct cases, evenly over reducers, sizes and variants, with few samples for speed."""
    names, records = list(SIZES), []
    for i in range(n):
        at, how = divmod(i, len(variants))
        model = parts(names[at % len(names)], 8 + at // len(names))
        records.append(record(Case(model, Clip(), variant(variants[how])), samples=12))
    return records


OWN = (
    Metric("frames_per_j", "frames/J", "higher", title="Frames a joule", description="Frames that a joule pays for."),
    Metric("answers", "1", "higher"),
    Metric("spins", "1", "neither"),
)


def own_records() -> list[Record]:
    """Return the default suite's records with a user's own metrics: higher is better, or neither direction is."""
    measured = []
    for i, of in enumerate(default_records()):
        rng = random.Random(i)
        own = tuple(Reading(metric, (rng.uniform(5, 500),)) for metric in OWN)
        measured.append(replace(of, readings=(*of.readings, *own)) if of.status == "ok" else of)
    return measured


CHANCE = {"identity": 0.1, "direction": 0.125, "binding": 0.25, "order": 0.1, "sides": 0.5}


def lesson(
    accuracy: float = 0.8, task: str = "direction", seed: int = 0, rate: float = 2e-3, *, of: Case | None = None, **more
) -> Record:
    """Return a training that ended at this test accuracy, with ten checkpoints.

    Keywords are ``val``, ``flag``, ``control``, ``clips``, ``answers`` and fields of Record.
    """
    base = of or case()
    chance, flag, control = CHANCE.get(task, 0.1), more.pop("flag", None), more.pop("control", None)
    val, steps = more.pop("val", accuracy), [70 * (i + 1) for i in range(10)]
    work = 3 * 32 * counts(base)["macs"] * 2
    rising = [1 - 0.5 ** (i + 1) if i < 9 else 1.0 for i in range(10)]
    ends = {"train_accuracy": min(1.0, accuracy + 0.05), "majority_accuracy": chance + 0.005, "classes": 1 / chance}
    expected = {"frame-shuffle": 0.5, "label-permutation": chance}.get(control)
    ends |= {"control_expected": expected} if expected else {}
    ends |= {"test_clips": more.pop("clips")} if "clips" in more else {}
    answers = more.pop("answers", None)
    readings = [
        reading("steps", *steps),
        Reading(Metric("train_flops", "FLOP"), tuple(work * step for step in steps)),
        Reading(Metric("train_seconds", "s"), tuple(0.02 * step for step in steps)),
        reading("train_loss", *(2.3 * (1 - share) + 0.1 for share in rising)),
        reading("val_accuracy", *(chance + (val - chance) * share for share in rising)),
        reading("test_accuracy", *(chance + (accuracy - chance) * share for share in rising)),
        *(reading(name, value) for name, value in ends.items()),
        *(
            (
                reading("test_sources", *answers.sources),
                reading("test_right", *answers.right),
                reading("pool", answers.pool),
            )
            if answers
            else ()
        ),
    ]
    data = {"dead_run": {"share": 1.0}, "unconverged": {"rise": 0.04}}
    findings = tuple(Finding(code, "warning", data[code]) for code in ([flag] if flag else []))
    trial = Trial(choice(task), seed, rate, control)
    tried = replace(base, architecture=replace(base.architecture, head=None), scenario="learn", trial=trial)
    return replace(Record(tried, "ok", tuple(readings), findings, environment="e1", seconds=20), **more)


REACHED = {
    ("gap", None): (0.86, 0.36), ("gmp", None): (0.92, 0.37), ("spatial-softmax", None): (0.66, 0.97),
    ("fc(activation=true)", 8): (0.38, 0.22), ("fc(activation=true)", 128): (0.64, 0.94),
    ("conv1x1-avg-k(k=4)", 128): (0.66, 0.96),
}  # fmt: skip


def tried_records() -> list[Record]:
    """Return costs, trainings on two tasks at three rates from five seeds (one cell dead), controls and probes."""
    records: list[Record] = []
    for (name, size), ends in REACHED.items():
        of = case(name, size)
        records += [lesson(end - 0.1 * (rate != 2e-3) + 0.01 * ((7 * seed + len(name)) % 5 - 2), task, seed, rate,
                           of=of)
                    for task, end in zip(("identity", "direction"), ends, strict=True)
                    for seed in range(5) for rate in (5e-4, 2e-3, 8e-3)]  # fmt: skip
        records += [probed(ends[1], ends[0] / 2, of=of), record(of), record(replace(of, variant=variant("compile")))]
    flatten = case("flatten")
    records += [lesson(0.1, "identity", seed, of=flatten, flag="dead_run") for seed in range(5)]
    records += [
        lesson(0.9, "direction", seed, of=flatten, flag="unconverged" if seed == 1 else None) for seed in range(5)
    ]
    records.append(failed(replace(lesson(0.5, "identity", 5).case), "loss is not finite at step 30", "error"))
    for control, end in (("label-permutation", 0.13), ("frame-shuffle", 0.3)):
        records += [lesson(end, "direction", seed, control=control) for seed in range(3)]
    return [*records, record(flatten)]


def probed(where: float, what: float, seed: int = 0, of: Case | None = None) -> Record:
    """Return the record of a training-free probe."""
    tried = replace(of or case(), scenario="probe", trial=Trial(Choice("placed-digit"), seed))
    return Record(tried, "ok", (reading("where_r2", where), reading("what_accuracy", what)), environment="e1")


REDUCERS = ("gap", "spatial-softmax", "conv1x1-avg-k(k=4)", "fc(activation=true)")
LEARNT = {
    "direction": (0.36, 0.95, 0.995, 0.99),
    "identity": (0.93, 0.66, 0.66, 0.64),
}


def quality_records(seeds: int = 5, tasks: Sequence[str] = tuple(LEARNT)) -> list[Record]:
    """Return costs of four reducers and their trainings on two tasks that favour different reducers."""
    cases = [case(name, 32 if "fc" in name else 128 if "conv" in name else None) for name in REDUCERS]
    records = [record(of, latency=1e-3 * (i + 3)) for i, of in enumerate(cases)]
    for task in tasks:
        for of, mean in zip(cases, LEARNT[task], strict=True):
            rng = random.Random(ascii((task, of.id)))
            records += [lesson(mean + rng.gauss(0, 0.004), task, seed, of=of) for seed in range(seeds)]
    return records
