"""Every built-in metric, declared once, in the order of display.

To add one: declare it here (or, in a package of your own, beside the probe that measures it) and yield
``Reading(metrics.NAME, samples)``. Tables, axes, cards, budgets, exports and the documentation of columns follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from convbench.core.errors import ConvbenchError
from convbench.core.metric import Metric, with_title
from convbench.core.record import STAGES, Reading

OTHER, GRAPHS, OPTIMIZER = "other", "graphs", "optimizer"
"""Parts beside the stages: everything outside of them, the compiler's graphs, and the optimizer's step."""
KINDS = ("weights", "inputs", "activations", "workspace", "gradients", "optimizer", "temporaries")


def _plain(name: str, unit: str, title: str, description: str, **options: object) -> Metric:
    """Declare a metric that stands in CSV and JSON only, unless ``shown`` says more."""
    return Metric(name, unit, title=title, description=description, **{"shown": (), **options})  # type: ignore[arg-type]


_exact, _pinned = partial(_plain, number="exact"), partial(_plain, number="exact", shown=("pin",))
_fact, _curve = partial(_exact, better="neither"), partial(_plain, number="last", better="neither")

# fmt: off
PARAMS = Metric(
    "params", "1", title="Parameters", heading="Params", number="exact",
    description="Parameters of the model, exact; buffers do not count.",
    shown=("table", "page", "axes", "advise"),
)
MACS = Metric(
    "macs", "MAC", title="MACs of a call", heading="MACs", number="exact", shown=("table",),
    description="Multiply-accumulates of one call, exact, counted from shapes.",
)
FLOPS = Metric(
    "flops", "FLOP", title="FLOPs of a call", heading="FLOPs", number="exact", shown=("page", "axes", "advise"),
    description="Floating-point operations of one call: two for each multiply-accumulate.",
)
LATENCY = Metric(
    "latency_s", "s", title="Latency of a call", heading="Latency", short="latency",
    shown=("table", "page", "axes", "advise"),
    description="Seconds of one call on the host's clock, after warm-up: the median over visits, corrected for how "
    "slow the machine was. On a CPU the clock stops while another process has the core.",
)
MEMORY = Metric(
    "memory_peak_bytes", "B", title="Peak memory", heading="Memory", number="exact", short="memory",
    shown=("table", "page", "axes", "advise"),
    description="Peak memory of one call: on CUDA the peak allocated, on a CPU the peak of tensor bytes, "
    "of another runtime the growth of the process.",
)
FRAMES_PER_S = Metric(
    "frames_per_s", "frames/s", "higher", title="Frames/s", number="exact", shown=("table", "page", "pin", "advise"),
    description="Frames of a call over the median latency.",
)
COLD_CALL = Metric(
    "cold_call_s", "s", title="Cold first call", number="exact", short="cold", shown=("axes",),
    description="Seconds of the very first call in a fresh process, compiling included.",
)
COMPILE = _pinned("compile_s", "s", "Time to compile",
    "Seconds by which the first call took longer than eager's.", digits=4)
PARITY_LARGEST = _pinned("parity_largest", "1", "Largest difference from eager",
    "Largest absolute difference of an output from eager's, on the case's clip and on another one.")
PARITY_RELATIVE = _pinned("parity_relative", "1", "Relative error against eager",
    "Norm of the difference from eager's output over the norm of eager's output, the larger of two clips.")
EXPORT = _pinned("export_s", "s", "Time to export",
    "Seconds to write the model in the form that another runtime loads.", digits=4)
LOAD = _pinned("load_s", "s", "Time to load",
    "Seconds in which another runtime loads the exported model and prepares to run it.", number="median", digits=4)
DISK = _pinned("exported_bytes", "B", "Size on disk",
    "Bytes of the files that another runtime loads.", shown=("pin", "advise"))
GRAPH_BREAKS = _pinned("graph_breaks", "1", "Graph breaks",
    "Places at which torch.compile gave up a graph and began another.", digits=4)
FAULTS = _pinned("faults_per_call", "1", "Page faults a call",
    "Minor page faults of the process per timed call.", digits=4)
WEIGHTS = _exact("weights_bytes", "B", "Memory of the weights", "Bytes of parameters and buffers.")
PREDICTED = _exact("predicted_peak_bytes", "B", "Predicted peak memory",
    "Peak of tensor bytes that the shapes alone predict.")
DEVICE_LATENCY = _pinned("device_latency_s", "s", "Latency on the device",
    "Seconds of one call on the device's own clock, of the median sample.", number="median")
LAUNCH_SHARE = _pinned("launch_share", "1", "Share of launching",
    "Share of a call in which the GPU is idle: launching kernels, and waiting for the last one.", digits=2)
WARMUP = _fact("warmup_s", "s", "Warm-up", "Seconds of calls before the latency was steady.")
SYSTEM_SHARE = _exact("system_time_share", "1", "Share of system time",
    "Share of the timed CPU seconds spent in the system, from 0 to 1.")
CPU_PEAK_RSS = _pinned("cpu_peak_rss_bytes", "B", "Peak resident memory",
    "The process's high-water mark of resident memory over one call, libraries included.", shown=("pin", "advise"))
CPU_PEAK = _exact("cpu_peak_tensor_bytes", "B", "Peak tensor bytes", "Peak bytes of tensors over one call on a CPU.")
RUNTIME_PEAK = _exact("runtime_peak_bytes", "B", "Memory of the runtime",
    "Growth of the process in bytes, from before another runtime loaded the model to the peak of a call: weights, "
    "code and buffers.")
PARITY_FRAMES = _exact("parity_frames", "1", "Frame by frame against the clip",
    "Largest absolute difference between the outputs of a clip that is streamed frame by frame and eager's outputs of "
    "the whole clip.")
CUDA_PEAK = _exact("cuda_peak_allocated_bytes", "B", "Peak allocated on CUDA",
    "Peak bytes that torch's CUDA allocator had handed out over one call, and those that CUDA graphs hold.")
CUDA_RESERVED = _pinned("cuda_peak_reserved_bytes", "B", "Peak reserved on CUDA",
    "Peak bytes that torch's CUDA allocator held over one call.")
CUDA_PROCESS = _pinned("cuda_process_bytes", "B", "Process's use of CUDA",
    "Bytes of the device that the process uses, according to the driver.")
REFERENCE = _plain("reference_s", "s", "Reference workload",
    "Seconds of a fixed workload run beside the case: how fast the machine itself was.", better="neither")
RUN_DELAY = _plain("run_delay_share", "1", "Waiting for a core",
    "Seconds for which threads were ready but another process had their core, summed, per second of sampling.")
STEAL = _plain("steal_share", "1", "Taken by the host",
    "Share of the sampling's seconds that the host of a virtual machine took.")
ADDS = _exact("adds", "1", "Additions of a call", "Additions of one call outside of multiply-accumulates.")
GRAPH_COUNT = _fact("graphs", "1", "Graphs", "Graphs that torch.compile made.")
CAPTURED = _exact("flops_captured", "1", "FLOPs captured",
    "Share of the FLOPs inside torch.compile's graphs.", better="higher")
FORWARD = _plain("forward_s", "s", "Forward pass", "Seconds of a training step's forward pass.")
BACKWARD = _plain("backward_s", "s", "Backward pass", "Seconds of a training step's backward pass.")
OPTIMIZER_STEP = _plain("optimizer_s", "s", "Optimizer", "Seconds of a training step's optimizer.")
PHASES = {"forward": FORWARD, "backward": BACKWARD, "optimizer": OPTIMIZER_STEP}
TRACE_STEPS = _fact("trace_steps", "1", "Steps traced", "Calls in the stored trace.")
TRACE_EXPECTED = _fact("trace_bytes_expected", "B", "Expected size of the trace",
    "Bytes that the trace was expected to take, gzipped.")
TRACE_BYTES = _fact("trace_bytes", "B", "Size of the trace", "Bytes of the stored trace, gzipped.")
PROFILE = _exact("profile_s", "s", "Seconds to profile", "Seconds that taking and writing the profile took.")

RAW = "raw, not corrected for how slow the machine was"
LATENCY_MEDIAN = _plain("latency_s_median", "s", "Latency of a call",
    "Median over the visits' medians, corrected by the reference workload for how slow the machine was.")
LATENCY_LOW = _plain("latency_s_low", "s", "Latency, low",
    "Lower end of the 95 % interval of the median; empty if there are too few samples.")
LATENCY_HIGH = _plain("latency_s_high", "s", "Latency, high",
    "Upper end of the 95 % interval of the median; empty if there are too few samples.")
LATENCY_P90 = _plain("latency_s_p90", "s", "Latency, 90th percentile", f"90th percentile of the samples, {RAW}.")
LATENCY_P99 = _plain("latency_s_p99", "s", "Latency, 99th percentile", f"99th percentile of the samples, {RAW}.")
LATENCY_SAMPLES = _plain("latency_samples", "1", "Samples of the latency",
    "How many calls were timed.", better="neither")
LATENCY_P90_HIGH = _plain("latency_s_p90_high", "s", "Latency, 90th percentile at most",
    f"Upper bound of the 90th percentile, at 97.5 % confidence; {RAW}.")
LATENCY_P99_HIGH = _plain("latency_s_p99_high", "s", "Latency, 99th percentile at most",
    f"Upper bound of the 99th percentile, at 97.5 % confidence; {RAW}.")
THREADS = _fact("threads", "1", "Threads", "Threads that computed an operator.")
VISITS = _plain("visits", "1", "Visits", "Fresh processes in which the case was measured.", better="neither")
VISITS_SOUND = _plain("visits_undisturbed", "1", "Undisturbed visits", "Visits whose times count.", better="higher")
FPS_SUSTAINED = _plain("fps_sustained", "frames/s", "Sustained frames/s",
    f"Frames per second that a streaming case keeps up with at fps_sustained_percentile; {RAW}.",
    better="higher")
FPS_PERCENTILE = _plain("fps_sustained_percentile", "1", "Percentile of the sustained rate",
    "Percentile of the latency at which fps_sustained is stated.", better="neither")

STEPS = _curve("steps", "1", "Training steps", "Training steps up to a checkpoint.")
TRAIN_FLOPS = _curve("train_flops", "FLOP", "Training FLOPs", "FLOPs of training up to a checkpoint.")
TRAIN_SECONDS = _curve("train_seconds", "s", "Training seconds", "Seconds of training up to a checkpoint.")
TRAIN_LOSS = _curve("train_loss", "1", "Training loss", "Loss on the training clips.")
VAL_ACCURACY = _plain("val_accuracy", "1", "Validation accuracy",
    "Share of validation clips classified correctly.", better="higher", number="last")
TEST_ACCURACY = _plain("test_accuracy", "1", "Test accuracy",
    "Share of test clips classified correctly.", better="higher", number="last")
TRAIN_ACCURACY = _exact("train_accuracy", "1", "Training accuracy",
    "Share of training clips classified correctly at the end.", better="higher")
MAJORITY = _exact("majority_accuracy", "1", "Majority accuracy",
    "Accuracy of always answering the commonest class of the test clips.", better="higher")
CLASSES = _fact("classes", "1", "Classes", "Classes of the task.")
CONTROL_EXPECTED = _fact("control_expected", "1", "Expected under the control",
    "Best possible test accuracy without what the control takes away.")
TEST_CLIPS = _fact("test_clips", "1", "Test clips", "Clips on which test accuracy is measured.")
POOL = _fact("pool", "1", "Sources of the clips",
    "Your own clips, or recordings of several, from which each seed draws its splits.")
TEST_SOURCES = _plain("test_sources", "1", "Sources of the test clips",
    "Number of each test clip's source in the pool.", better="neither", number="each")
TEST_RIGHT = _plain("test_right", "1", "Test clips classified correctly",
    "Whether each test clip was classified correctly, 1 or 0.", better="neither", number="each")
WHERE_R2 = _exact("where_r2", "1", "Where, R²",
    "R² of a digit's place, read linearly from untrained features.", better="higher")
WHAT_ACCURACY = _exact("what_accuracy", "1", "What, accuracy",
    "Accuracy of a digit's name, read linearly from untrained features.", better="higher")

LSTM_INPUT = Metric("lstm_input", "size", "neither", title="LSTM input size", heading="LSTM input", number="exact",
                    shown=(), description="Size of the vectors that the LSTM gets.")
"""Not a metric but the axis that costs are drawn against."""
# fmt: on

SPLIT = {
    PARAMS: (*STAGES, OTHER),
    MACS: (*STAGES, OTHER),
    LATENCY: (*STAGES, GRAPHS, OPTIMIZER, OTHER),
    CPU_PEAK: (*STAGES, OTHER, *KINDS),
    CUDA_PEAK: (*STAGES, OTHER, *KINDS),
}
"""Metrics that are also measured part by part, with their parts: stages, the parts beside them, and kinds of memory."""

DERIVED = (
    MEMORY, FRAMES_PER_S, LAUNCH_SHARE, LATENCY_MEDIAN, LATENCY_LOW, LATENCY_HIGH, LATENCY_P90, LATENCY_P99,
    LATENCY_SAMPLES, LATENCY_P90_HIGH, LATENCY_P99_HIGH, THREADS, VISITS, VISITS_SOUND, FPS_SUSTAINED, FPS_PERCENTILE,
)  # fmt: skip
"""Columns that no probe measures: they are derived from what was measured."""

RESERVED = frozenset({
    "case", "model", "backbone", "reducer", "lstm_input", "rnn", "layer_norm", "head", "clip", "variant", "scenario",
    "device", "number_type", "task", "seed", "learning_rate", "control", "status", "error", "findings", "environment",
    *(metric.name for metric in DERIVED),
})  # fmt: skip
"""Columns that no probe may fill."""

ALL = tuple(value for value in dict(vars()).values() if isinstance(value, Metric) and value is not LSTM_INPUT)
_PARTS = tuple(metric.part(part) for metric, parts in SPLIT.items() for part in parts)
CATALOGUE = {metric.name: metric for metric in (*ALL, *_PARTS)}
"""The built-in metrics by name, including those of parts."""

_OPTIONS = frozenset({metric.option for metric in ALL if metric.shown} | {LSTM_INPUT.name, "interval", "factor"})
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def with_words(metric: Metric) -> Metric:
    """Return a record's metric with its words: from the catalogue if it is built in, else as it was declared."""
    return CATALOGUE.get(metric.name) or with_title(metric)


def is_ours(metric: Metric) -> bool:
    """Whether the metric's words are in the catalogue and need not be stored."""
    return metric.name in CATALOGUE


def foreign_metrics(readings: Iterable[Reading]) -> list[Metric]:
    """Return the metrics among these readings that are not built in, each once, in order."""
    metrics = [reading.metric for reading in readings if not is_ours(reading.metric)]
    return list({metric.name: with_title(metric) for metric in metrics}.values())


def refuse_clash(metric: Metric) -> None:
    """Raise ConvbenchError if another package's metric has no unit, or if its name is taken or cannot be a column."""
    namesake = CATALOGUE.get(metric.name)
    if namesake and metric.name not in RESERVED and (namesake.unit, namesake.better) == (metric.unit, metric.better):
        return
    if not metric.unit:
        raise ConvbenchError(
            f"metric {metric.name!r}: it has no unit: write its base unit, such as s or B, or 1 for counts"
        )
    if not _NAME.fullmatch(metric.name):
        raise ConvbenchError(
            f"metric {metric.name!r}: a name has only lower-case letters, digits and underscores: rename it"
        )
    if namesake or metric.name in RESERVED or metric.option in _OPTIONS:
        raise ConvbenchError(f"metric {metric.name!r}: convbench has a column or option of that name: rename it")
