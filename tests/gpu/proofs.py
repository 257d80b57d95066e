"""Check the kit's measurements against independent ones: ``python tests/gpu/proofs.py NAME --out DIR``.

A check is a line of JSON in ``DIR/checks-NAME.jsonl``: convbench's value, the independent value, the tolerance, and
whether the two agree. Details for investigating a disagreement are in ``NAME.json`` beside it.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch._C._autograd import DeviceType

from convbench.core import metrics
from convbench.core.record import STAGES, Case, Choice, Clip, Parts, Protocol, Record
from convbench.core.scales import percent
from convbench.core.storage import profiles, store
from convbench.measure import attempts, harness
from convbench.measure.machine import nvml, precision
from convbench.measure.memory import allocations
from convbench.measure.memory.cudnn import Recurrence
from convbench.measure.probes import Probe
from convbench.measure.timing import clock_for, keep_busy
from convbench.measure.traces.capture import Capture
from convbench.models import subject

ARTICLE = (("gap", None), ("hybrid", 64), ("fc", 128), ("flatten", None))
DO_BENCH = os.environ.get("CONVBENCH_DO_BENCH", "triton.testing")
"""Module with ``do_bench``. The rehearsal without a GPU sets another."""
PROTOCOL = Protocol(max_warmup=0.5, max_time=0.3)
TURNS, CALLS = 5, 20
"""Turns of convbench's clock, do_bench and plain events, and samples or calls in each turn."""


class Findings:
    """Writes each check immediately, so that an interrupted step keeps its results."""

    def __init__(self, name: str, out: Path) -> None:
        self.path, self.facts_path = out / f"checks-{name}.jsonl", out / f"{name}.json"
        self.facts = json.loads(self.facts_path.read_text()) if self.facts_path.exists() else {}

    def is_open(self, case: Case) -> bool:
        """Whether this case is still to be measured: a proof begins anew after an error that spoils its process."""
        rows = map(json.loads, self.path.read_text().splitlines()) if self.path.exists() else ()
        return ("measured", case.id) not in {(row["check"], row["case"]) for row in rows}

    def check(self, name: str, case: Case | str, ours: float, theirs: float, within: float) -> None:
        """``within`` is relative to ``theirs``; 0 requires equality."""
        agrees = abs(ours - theirs) <= within * abs(theirs)
        row = {"check": name, "case": str(getattr(case, "id", case)), "ours": ours, "theirs": theirs}
        with self.path.open("a") as lines:
            lines.write(json.dumps(row | {"within": within, "agrees": bool(agrees)}) + "\n")

    def tell(self, table: str, **cells: Any) -> None:
        """Add a row to a table of the summary: figures that nothing independent can be compared with."""
        with (self.path.parent / f"table-{table}.jsonl").open("a") as lines:
            lines.write(json.dumps(cells) + "\n")

    def note(self, name: str, value: Any) -> None:
        self.facts[name] = value
        self.facts_path.write_text(json.dumps(self.facts, indent=1, default=str))


def article(device: str, batch: int = 8, scenario: str = "inference", *variant: Choice) -> list[Case]:
    return [
        Case(Parts(Choice("conv"), Choice(reducer), size), Clip(batch=batch), variant, scenario, device)
        for reducer, size in ARTICLE
    ]


def timing(device: str, findings: Findings) -> None:
    """Compare the device clock with triton's do_bench and a plain loop of events, in turns, in one process."""
    triton = importlib.import_module(DO_BENCH)
    for batch in (8, 64):
        for case in article(device, batch):
            case_subject = subject.assemble(case, 0)
            with torch.inference_mode():
                clock = clock_for(device, case_subject.run)
                for _ in range(CALLS):
                    clock.time(case_subject.run)
                ours, theirs, host, plain = [], [], [], []
                for _ in range(TURNS):
                    samples = [clock.time(case_subject.run) for _ in range(CALLS)]
                    ours.append(median(sample.device or 0.0 for sample in samples))
                    host.append(median(sample.host for sample in samples))
                    theirs.append(triton.do_bench(case_subject.run, warmup=20, rep=60, return_mode="median") * 1e-3)
                    plain.append(_events(case_subject.run, CALLS))
                findings.check("device latency, do_bench (cold L2)", case, median(ours), median(theirs), 0.02)
                graph = _or_reason(
                    lambda run=case_subject.run: triton.do_bench_cudagraph(run, rep=20, return_mode="median")
                )
                seconds = {"ours": ours, "host": host, "do_bench": theirs, "events": plain}
                findings.note(case.id, seconds | {"graph_ms": graph, "block": getattr(clock, "calls", 1)})
            del case_subject
            torch.cuda.empty_cache()


def _events(run: Callable[[], Any], calls: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) * 1e-3 / calls


def _or_reason(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {str(error)[:200]}"


def memory(device: str, findings: Findings) -> None:
    """Check stored peaks against torch's for the same call in another process, predictions, and memory by kind."""
    cases = [
        case
        for scenario, batches in (("inference", (1, 32)), ("train", (1, 32)), ("streaming", (1,)))
        for batch in batches
        for case in article(device, batch, scenario)
    ]
    with ThreadPoolExecutor(APART) as pool:
        for case, ours, theirs in zip(
            cases, pool.map(_apart("ours_of"), cases), pool.map(_apart("theirs_of"), cases), strict=True
        ):
            findings.note(case.id, {"ours": ours, "theirs": theirs})
            is_complete = "failed" not in ours and "failed" not in theirs
            findings.check("measured", case, float(is_complete), 1.0, 0.0)
            if is_complete:
                _compare_peaks(findings, case, ours, theirs)


def _compare_peaks(findings: Findings, case: Case, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    peak = ours[metrics.CUDA_PEAK.name]
    findings.check("peak allocated", case, peak, theirs["allocated"], 0.0)
    findings.check("peak reserved", case, ours[metrics.CUDA_RESERVED.name], theirs["reserved"], 0.05)
    findings.check("sum of kinds", case, _sum_of_kinds(ours), peak, 0.0)
    if metrics.PREDICTED.name in ours:
        findings.check("predicted peak", case, ours[metrics.PREDICTED.name], peak, 0.10)
    if metrics.CUDA_PROCESS.name in ours and theirs["process"]:
        findings.check("process memory", case, ours[metrics.CUDA_PROCESS.name], theirs["process"], 0.02)


def _sum_of_kinds(stored: dict[str, Any]) -> float:
    return sum(stored.get(metrics.CUDA_PEAK.part(kind).name, 0) for kind in metrics.KINDS)


APART, LIMIT = 8, 60.0
"""Processes at once, each with its own memory peaks, and the seconds that one may take."""


def _apart(what: str) -> Callable[[Case], dict[str, Any]]:
    """Return a function that gets its answer from another process of this file.

    That process has a context, an allocator and handles of its own.
    """

    def answer(case: Case) -> dict[str, Any]:
        parts = case.architecture
        words = [what, str(case.clip.batch), parts.reducer.name, str(parts.lstm_input or 0), case.scenario, case.device]
        command = [sys.executable, sys.argv[0], *words]  # this file, or the rehearsal's smaller one
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired as error:
            return {"failed": str(error)}
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            return {"failed": f"exit code {done.returncode}: {done.stderr[-2000:]}"}
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    return answer


def ours_of(case: Case) -> dict[str, Any]:
    """Return what convbench stores for a case: the readings of its memory, by name."""
    record = harness.measure(case, PROTOCOL, ["memory", "prediction"])
    stored = {reading.metric.name: reading.samples[0] for reading in record.readings}
    return stored | {"findings": [str(finding) for finding in record.findings]}


def theirs_of(case: Case) -> dict[str, Any]:
    """Return torch's own peaks of a warm call, and each memory change of one more call, to explain differences."""
    case_subject = subject.assemble(case, 0)
    before = torch.cuda.memory_allocated()
    case_subject.run()
    gc.collect()
    torch.cuda.empty_cache()
    for _ in range(3):
        case_subject.run()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    warm = torch.cuda.memory_allocated()
    case_subject.run()
    torch.cuda.synchronize()
    answer: dict[str, Any] = {
        "before": before,
        "warm": warm,
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "process": nvml.process_bytes(torch.device(case.device)).get(os.getpid()),
        "free_total": torch.cuda.mem_get_info(),
        "known": sum(life.bytes for life in allocations.holdings(case_subject).values()),
    }
    torch.cuda.memory._record_memory_history(max_entries=2000, context=None)
    case_subject.run()
    torch.cuda.synchronize()
    snapshot = torch.cuda.memory._snapshot()
    answer["trace"] = [(change["action"], change["size"]) for change in snapshot["device_traces"][0]][:400]
    blocks = [block for segment in snapshot["segments"] for block in segment["blocks"]]
    answer["alive"] = sorted((block["requested_size"], block["size"]) for block in blocks if "active" in block["state"])
    return answer


def stages_sum(device: str, findings: Findings) -> None:
    """Check that the seconds by stage sum to the device's total, and note how long the device works in a call."""
    for scenario in ("inference", "train", "streaming"):
        for batch in (1, 32):
            if scenario == "streaming" and batch > 1:
                continue
            for case in filter(findings.is_open, article(device, batch, scenario)):
                record = _record(findings, case, "latency", "stages")
                if record.status != "ok":
                    continue
                whole = median(record.samples(metrics.DEVICE_LATENCY.name))
                _check_sum(findings, case, record)
                split = {name: median(samples) for name, samples in _named_stages(record).items()}
                host = median(record.samples(metrics.LATENCY.name))
                _tell_times(findings, case, host, whole)
                findings.note(case.id, {"device": whole, "host": host, "stages": split, "kernels": _busy(case),
                                        "findings": [str(finding) for finding in record.findings]})  # fmt: skip


def _tell_times(findings: Findings, case: Case, host: float, device: float) -> None:
    launching = percent(max(0.0, 1 - device / host), places=0)
    findings.tell("launching", case=case.id, latency_us=round(host * 1e6, 1), device_us=round(device * 1e6, 1),
                  launching=launching)  # fmt: skip


def _record(findings: Findings, case: Case, *probes: str, last_probes: Sequence[Probe] = ()) -> Record:
    """Measure a case here; if it fails, its traceback is in the log."""

    def measure(case: Case) -> Record:
        try:
            return harness.measure(case, PROTOCOL, probes, last_probes)
        except Exception:
            traceback.print_exc()
            raise

    record = attempts.attempt(case, measure)
    findings.check("measured", case, float(record.status == "ok"), 1.0, 0.0)
    if record.failure:
        findings.note(f"failed {case.id}", str(record.failure))
        if attempts.LOST in record.failure.message:  # CUDA would fail in all further cases: another process makes them
            sys.stdout.flush()
            os._exit(subprocess.call(sys.orig_argv))
    return record


def _named_stages(record: Any) -> dict[str, Any]:
    names = (*STAGES, metrics.GRAPHS, metrics.OPTIMIZER, metrics.OTHER)
    samples = {name: record.samples(metrics.LATENCY.part(name).name) for name in names}
    return {name: seconds for name, seconds in samples.items() if seconds}


def _check_sum(findings: Findings, case: Case, record: Any) -> None:
    """Check that the stages sum to the device's time; stages that convbench withholds are noted, not checked."""
    stages = _named_stages(record)
    if not stages:
        findings.note(f"stages withheld {case.id}", [str(finding) for finding in record.findings])
        return
    sums = [sum(parts) for parts in zip(*stages.values(), strict=True)]
    findings.check("sum of stages", case, median(sums), median(record.samples(metrics.DEVICE_LATENCY.name)), 0.05)


def _busy(case: Case) -> Any:
    """Seconds of kernels per call by torch's profiler, over ten calls."""
    case_subject = subject.assemble(case, 0)
    for _ in range(3):
        case_subject.run()
    torch.cuda.synchronize()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    ) as profiler:
        for _ in range(10):
            case_subject.run()
        torch.cuda.synchronize()
    kernels = [kernel for event in profiler.events() for kernel in event.kernels if kernel.name != event.name]
    return {"kernel_s": sum(kernel.duration for kernel in kernels) * 1e-7, "kernels": len(kernels) / 10}


WAYS: tuple[tuple[Choice, ...], ...] = (
    (Choice("channels_last"),),
    (Choice("autocast", (("dtype", "fp16"),)),),
    (Choice("autocast", (("dtype", "bf16"),)),),
    (Choice("half", (("dtype", "fp16"),)),),
    (Choice("compile"),),
    (Choice("channels_last"), Choice("compile")),
    (Choice("compile", (("mode", "reduce-overhead"),)),),
)
GRAPHS_OF_STATE = (Choice("compile", (("mode", "reduce-overhead"), ("rnn", True))),)
"""Variants whose CUDA graphs also compute the state that a stream carries on."""


def variants(device: str, findings: Findings) -> None:
    """Check that each variant runs, its stages sum to the device's total, and its kinds of memory to the peak."""

    def kernels(case_subject: subject.Subject, _: Protocol) -> tuple[()]:
        _or_reason(partial(_tell_kernels, findings, case_subject))  # a case is not lost with it
        return ()

    cases = [case for way in WAYS for case in article(device, 8, "inference", *way)[:1]]
    cases += article(device, 1, "streaming", *GRAPHS_OF_STATE)[:1]
    cases += article(device, 8, "train", Choice("compile"))[:1]
    for case in filter(findings.is_open, cases):
        torch.compiler.reset()  # else graphs of earlier cases keep memory, and at last a function runs eagerly
        gc.collect()
        torch.cuda.empty_cache()
        record = _record(findings, case, "latency", "stages", "memory", last_probes=[kernels])
        if record.status != "ok":
            continue
        whole = median(record.samples(metrics.DEVICE_LATENCY.name))
        _check_sum(findings, case, record)
        stored = {reading.metric.name: reading.samples[0] for reading in record.readings}
        peak = stored[metrics.CUDA_PEAK.name]
        findings.check("sum of kinds", case, _sum_of_kinds(stored), peak, 0.0)
        host = median(record.samples(metrics.LATENCY.name))
        kinds = {kind: stored.get(metrics.CUDA_PEAK.part(kind).name, 0) for kind in metrics.KINDS}
        _tell_times(findings, case, host, whole)
        sizes = {"peak": peak, "reserved": stored[metrics.CUDA_RESERVED.name]} | kinds
        findings.tell("MiB of variants", case=case.id, **{name: round(size / 2**20, 2) for name, size in sizes.items()})
        findings.note(case.id, {"device": whole, "host": host, "peak": peak, "kinds": kinds,
                                "stages": _named_stages(record),
                                "findings": [str(finding) for finding in record.findings]})  # fmt: skip


def _tell_kernels(findings: Findings, case_subject: subject.Subject) -> None:
    """Tell how long a call's kernels take in all, and from the first to the last, on a device that is kept busy before.

    The second includes the gaps between kernels, as the device's latency does; the stages of compiled cases lack them.
    """
    launching = 0.0
    for _turn in range(2):  # the first also starts the profiler
        with torch.profiler.profile() as profiler:
            keep_busy(torch.device(case_subject.device), 2 * launching)
            start = time.perf_counter()
            case_subject.run()
            launching = time.perf_counter() - start
            torch.cuda.synchronize()
    ranges = [
        event.time_range
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation and "spin" not in event.name
    ]
    if ranges:
        span = max(part.end for part in ranges) - min(part.start for part in ranges)
        total = sum(part.elapsed_us() for part in ranges)
        findings.tell("kernels on a busy device", case=case_subject.case.id, kernels=len(ranges),
                      sum_us=round(total, 1), first_to_last_us=round(span, 1))  # fmt: skip


def traces(device: str, findings: Findings) -> None:
    """Check a profile's device time and memory against the clock's and torch's."""
    case = article(device, 32)[0]
    folder = findings.path.parent / "traces"
    record = harness.measure(case, PROTOCOL, ["latency", "memory"], last_probes=[Capture(folder)])
    (path,) = folder.rglob(profiles.SUMMARY)
    summary = json.loads(path.read_text())
    stored = {reading.metric.name: reading.samples[0] for reading in record.readings}
    on_device = sum(operator["device_s"] for operator in summary["operators"]) / summary["steps"]
    whole = median(record.samples(metrics.DEVICE_LATENCY.name))
    findings.check("seconds of kernels in a trace", case, on_device, whole, 0.10)
    findings.check("peak in a trace", case, summary["memory"]["peak_bytes"], stored[metrics.CUDA_PEAK.name], 0.0)


GRID = ((32, 128, 512, 4096), (64, 128, 512), (1, 16, 64), (1, 8, 64), (False, True))
"""Inputs, hidden units, steps, batches and training or not, for the recurrent layers whose buffers are recorded."""
LAYERS: tuple[dict[str, Any], ...] = (
    {"inputs": 360}, {"inputs": 376}, {"hidden": 256}, {"hidden": 1024}, {"hidden": 100}, {"batch": 3}, {"steps": 7},
    {"layers": 2}, {"layers": 3}, {"bidirectional": True}, {"layers": 2, "bidirectional": True}, {"cell": "GRU"},
    {"cell": "RNN"}, {"cell": "GRU", "layers": 2}, {"dtype": "float16"}, {"dtype": "bfloat16"}, {"proj_size": 64},
    {"bias": False}, {"cell": "GRU", "inputs": 4096}, {"dtype": "float16", "inputs": 4096}, {"inputs": 4096},
    {"layers": 2, "inputs": 4096}, {"bidirectional": True, "inputs": 4096}, {"hidden": 1024, "inputs": 4096},
)  # fmt: skip
"""Layers outside the grid, by what differs from the defaults."""
CONVOLUTIONS = ((3, 32, 3, 1, 64, 128), (32, 64, 3, 2, 32, 16), (64, 64, 3, 1, 56, 16), (64, 128, 3, 2, 56, 256),
                (3, 64, 7, 2, 224, 16), (256, 512, 3, 2, 14, 256), (4, 32, 8, 4, 84, 64))  # fmt: skip
"""Channels, maps, kernel, stride, side and frames."""
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def cudnn(device: str, findings: Findings) -> None:
    """Record all allocations of cuDNN's recurrent operators and of convolutions by shape, beside predictions.

    Before that, check that TF32 is told where results show it.
    """
    _compare_tf32(device, findings)
    grid = itertools.product(*GRID)
    shapes = [dict(zip(("inputs", "hidden", "steps", "batch", "train"), sizes, strict=True)) for sizes in grid]
    shapes += [shape | {"train": train} for shape in LAYERS for train in (False, True)]
    rnn = [shape | {"sizes": _or_reason(lambda shape=shape: _rnn_sizes(device, **shape))} for shape in shapes]
    findings.note("rnn", rnn)
    _compare_workspaces(findings, rnn)
    findings.note(
        "conv", [(shape, _or_reason(lambda shape=shape: _conv_sizes(device, *shape))) for shape in CONVOLUTIONS]
    )


ERROR_OF_TF32 = 1e-4
"""Relative error of sums of products that TF32 exceeds and float32 does not."""


def _compare_tf32(device: str, findings: Findings) -> None:
    """Check what convbench tells of TF32 by the errors of a convolution and a product, by default and otherwise."""
    clip, weights, matrix = (
        torch.randn(shape, device=device) for shape in ((16, 64, 56, 56), (64, 64, 3, 3), (999, 999))
    )
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    for allowed, word in (before, (not before[0], "high")):
        torch.backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision(word)
        name = f"cudnn.allow_tf32={allowed}, {word}"
        errors = _error(torch.nn.functional.conv2d, clip, weights), _error(torch.mm, matrix, matrix)
        for library, told, error in (
            ("cuDNN", precision.tf32_in_cudnn(), errors[0]),
            ("cuBLAS", precision.products(device) not in precision.EXACT, errors[1]),
        ):
            findings.check(f"TF32 in {library}", name, float(told), float(error > ERROR_OF_TF32), 0.0)
        findings.note(f"errors with {name}", errors)
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def _error(product: Callable[..., torch.Tensor], *factors: torch.Tensor) -> float:
    exact = product(*(factor.double() for factor in factors))
    return float((product(*factors).double() - exact).norm() / exact.norm())


def _compare_workspaces(findings: Findings, shapes: list[dict[str, Any]]) -> None:
    """Check, for each kind of layer, the shape whose predicted workspace is farthest from any real allocation."""
    farthest: dict[str, tuple[float, float, float]] = {}
    for shape in shapes:
        if "proj_size" in shape or not isinstance(shape["sizes"], list) or not shape["sizes"]:
            continue
        ours = float(_recurrence(**shape).workspace(shape["train"]))
        theirs = float(min(shape["sizes"], key=lambda size: abs(size - ours)))
        kind = (
            f"{shape.get('cell', 'LSTM')} {shape.get('dtype', 'float32')} {'train' if shape['train'] else 'inference'}"
        )
        off = abs(ours - theirs) / theirs
        farthest[kind] = max(farthest.get(kind, (0.0, ours, theirs)), (off, ours, theirs))
    for kind, (_, ours, theirs) in farthest.items():
        findings.check("workspace of recurrent layers", kind, ours, theirs, 0.01 if "LSTM float" in kind else 0.06)


def _recurrence(
    *, inputs: int = 64, hidden: int = 128, steps: int = 16, batch: int = 8, layers: int = 1,
    bidirectional: bool = False, cell: str = "LSTM", dtype: str = "float32", **_: Any,
) -> Recurrence:  # fmt: skip
    size = getattr(torch, dtype).itemsize
    return Recurrence(steps, batch, inputs, hidden, layers, 2 if bidirectional else 1, GATES[cell], size)


def _rnn_sizes(
    device: str, *, inputs: int = 64, hidden: int = 128, steps: int = 16, batch: int = 8, train: bool = False,
    layers: int = 1, bidirectional: bool = False, cell: str = "LSTM", dtype: str = "float32", proj_size: int = 0,
    bias: bool = True,
) -> list[int]:  # fmt: skip
    options = {"proj_size": proj_size} if proj_size else {}
    kind = getattr(torch.nn, cell)
    model = kind(inputs, hidden, layers, batch_first=True, bidirectional=bidirectional, bias=bias, **options)
    model = model.to(device, getattr(torch, dtype)).train(train)
    clip = torch.randn(batch, steps, inputs, device=device, dtype=getattr(torch, dtype), requires_grad=train)

    def call() -> None:
        with torch.set_grad_enabled(train):
            output = model(clip)[0]
            if train:
                output.sum().backward()
                model.zero_grad()
                clip.grad = None

    return _allocations(call)


def _conv_sizes(device: str, channels: int, maps: int, kernel: int, stride: int, size: int, frames: int) -> list[int]:
    model = torch.nn.Conv2d(channels, maps, kernel, stride, padding=kernel // 2).to(device)
    clip = torch.randn(frames, channels, size, size, device=device, requires_grad=True)

    def call() -> None:
        model(clip).sum().backward()

    return _allocations(call)


def _allocations(call: Callable[[], None]) -> list[int]:
    """Bytes requested from torch's allocator by a warm call, in order."""
    call()
    torch.cuda.synchronize()
    torch.cuda.memory._record_memory_history(max_entries=2000, context=None)
    call()
    torch.cuda.synchronize()
    changes = torch.cuda.memory._snapshot()["device_traces"][0]
    torch.cuda.memory._record_memory_history(enabled=None)
    return [change["size"] for change in changes if change["action"] == "alloc"]


AGAIN = [sys.executable, "-X", "faulthandler", sys.argv[0], "again"]
MEASURING = [sys.executable, "-m", "convbench", "run", "suites/smoke.yaml", "--only", "gap*"]


def contexts(device: str, findings: Findings) -> None:
    """Check which processes compute on the device while a run measures: never the command's own."""
    counts: dict[int, int] = {}
    out = findings.path.parent / "contexts-run"
    process = subprocess.Popen([*MEASURING, "--device", device, "--out", str(out)], stdout=subprocess.DEVNULL)
    torch.cuda.init()
    while process.poll() is None:
        for pid in nvml.process_bytes(torch.device(device)):
            counts[pid] = counts.get(pid, 0) + 1
        time.sleep(0.05)
    findings.check("the command's process on the device", "smoke gap*", counts.get(process.pid, 0), 0, 0.0)
    smi = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv"]
    output = _or_reason(lambda: subprocess.run(smi, capture_output=True, text=True).stdout)
    state = _or_reason(lambda: nvml.state(torch.device(device)))
    findings.note("seen", {"command": process.pid, "self": os.getpid(), "by pid": counts, "ended": process.returncode})
    findings.note("nvml", {"state": state, "smi": output})


GATED = ("suites/article.yaml", ("clip.batch=[1,64]",), ("conv/gap/*",))
"""Suite, overrides and selection of the gate's cases: one bound by launches, one by computing."""
SLOWDOWNS = ((0.0, 130.0), (0.05, 290.0))
"""Slowdowns put into head, with the most seconds for the pairs of each, the fewest first."""
LAST_PAIR = 445.0
"""Seconds of the step after which no pair begins: an experiment that is interrupted leaves no verdict."""


def gate(device: str, findings: Findings) -> None:
    """Try the gate on the same code and on a known slowdown, in turns; cases that are open at the end are inconclusive.

    Each is tried once. Experiments for which all their seconds are left follow.
    """
    end = time.monotonic() + LAST_PAIR
    from convbench.check import selftest  # here, as the processes of other proofs need not import it
    from convbench.check.inspection import Request
    from convbench.check.settings import Rule, Settings
    from convbench.check.trees import sides

    trials, working_tree = findings.path.parent / "trials.jsonl", sides.WorkingTree.at(Path.cwd(), GATED[0])
    with sides.scratch_folder() as folder, sides.materialise(".", working_tree, folder) as side:
        test = selftest.Selftest(side, Request(*GATED), Settings(device=device), Rule(), folder)
        for number, (slowdown, seconds) in enumerate(itertools.cycle(SLOWDOWNS)):
            now = time.monotonic()
            if number >= len(SLOWDOWNS) and now + seconds > end:
                if now + SLOWDOWNS[0][1] > end:
                    break
                continue
            attempts = test.experiment(slowdown, partial(print, flush=True), min(now + seconds, end))
            for attempt in selftest.append(attempts, trials):
                wrong_word = "ok" if slowdown else "regression"
                is_wrong = float(attempt.word == wrong_word)
                name = f"{percent(slowdown, places=0, signed=True)} is not {wrong_word}"
                findings.check(name, attempt.case, is_wrong, 0.0, 0.0)
                findings.tell("verdicts", case=attempt.case, put_in=percent(attempt.achieved, signed=True),
                              verdict=attempt.word, seen=percent(attempt.seen, signed=True), pairs=attempt.pairs,
                              seconds=round(attempt.seconds))  # fmt: skip
            figures = selftest.figures(selftest.stored_attempts(trials, test.conditions))
            findings.note("figures", [*selftest.sentences(figures)])


SECONDS_AGAIN = 25.0
"""Seconds after which no further case is measured again."""


def failures(_: str, findings: Findings) -> None:
    """Count the runs' cases, and measure failed ones again, each in its own process, for its traceback in the log."""
    until = time.monotonic() + SECONDS_AGAIN
    for path in sorted(findings.path.parent.glob(f"*/{store.RESULTS}")):
        description, records = store.load(path.parent)
        counts = Counter(record.status for record in records)
        findings.tell("runs", run=path.parent.name, planned=len(description.planned), **counts)
        for record in records:
            if record.status == "failed" and time.monotonic() < until:
                print(f"--- {record.case.id}: {record.failure}", flush=True)
                _or_reason(partial(subprocess.run, [*AGAIN, str(path.parent), record.case.id], timeout=SECONDS_AGAIN))


def again(run: str, case_id: str) -> None:
    """Measure a case of a stored run in this process, and let its error end it."""
    description, records = store.load(Path(run))
    case = next(record.case for record in records if record.case.id == case_id)
    print(harness.measure(case, description.protocol, description.metrics).findings)


def _case(batch: str, reducer: str, size: str, scenario: str, device: str) -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer), int(size) or None), Clip(batch=int(batch)), (), scenario, device)


ANSWERS = {"ours_of": ours_of, "theirs_of": theirs_of}
PROOFS = {
    "timing": timing,
    "memory": memory,
    "stages": stages_sum,
    "variants": variants,
    "traces": traces,
    "contexts": contexts,
    "cudnn": cudnn,
    "gate": gate,
    "failures": failures,
}


def main() -> None:
    faulthandler.register(signal.SIGINT, chain=True)  # the kit interrupts a step at its limit: where did it hang?
    if sys.argv[1] == again.__name__:
        again(*sys.argv[2:])
        return
    if sys.argv[1] in ANSWERS:
        print(json.dumps(ANSWERS[sys.argv[1]](_case(*sys.argv[2:]))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proof", choices=PROOFS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    PROOFS[args.proof](args.device, Findings(args.proof, args.out))


def leave() -> None:
    """End the process at once: torch aborts it if Python ends while autograd's thread for a GPU frees its graph."""
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
    leave()
