"""What each finding saw, what that means for the numbers, and what to do about it.

What was seen has the numbers of one case; the meaning and the remedy are the same for all cases of a kind, so that a
page says them once. A finding with an unknown code is shown as its code and data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from convbench.core import findings as codes
from convbench.core.record import Disturbance, Failure, Finding
from convbench.core.text import counted
from convbench.report.words import units
from convbench.report.words.names import LSTM, with_article
from convbench.report.words.units import percent

Data = Mapping[str, Any]
KEEPS_MEMORY = "allocator(malloc=glibc-arena)"
"""The variant that maps no memory anew."""


def sentence(finding: Finding, device: str = "cpu", cell: str = LSTM) -> str:
    """Return what a finding saw, what it means and what to do about it."""
    return f"{observation(finding, device, cell)} {remedy(finding, cell)}".rstrip()


def observation(finding: Finding, device: str = "cpu", cell: str = LSTM) -> str:
    """Return what a finding saw; on a GPU without the host's threads. ``cell`` is the recurrent stage's, as ``GRU``."""
    make = _SENTENCES.get(finding.code)
    host_data = {"threads": None} if device != "cpu" and "threads" in finding.data else {}
    data = {**finding.data, **host_data, "cell": cell}
    try:
        return make(data) if make else _fallback(finding)
    except (KeyError, TypeError, ValueError, OverflowError):
        return _fallback(finding)


def remedy(finding: Finding, cell: str = LSTM) -> str:
    """Return what findings of this kind mean for the numbers and what to do; empty if the observation says it."""
    is_known = observation(finding) != _fallback(finding)
    return _REMEDIES.get(finding.code, "").format(cell=cell) if is_known else ""


def failure(cause: Failure | None) -> str:
    """Return why a case has no result, or that no reason was recorded."""
    return f"{cause.kind}: {cause.message}" if cause else "no reason was recorded"


def disturbance(cause: Disturbance | str) -> str:
    """Return what disturbed a visit's times; older versions stored it as a sentence."""
    if isinstance(cause, str):
        return cause
    match cause.cause:
        case "shared-cores":
            return f"its {cause.threads} threads shared {counted(int(cause.amount), 'core')}"
        case "quota":
            return f"its {cause.threads} threads had used up the container's quota of {cause.amount:g} processors"
        case "other-processes":
            return f"other processes had a core for {round(100 * cause.amount)} % of the time"
        case "host":
            return f"the host took {round(100 * cause.amount)} % of the time"
        case "slow-machine":
            return f"the reference workload took {cause.amount:.1f}× as long"


def withheld_reason(data: Data) -> str:
    """Return why no visit to a case counts: what disturbed most of them, or the failure of each."""
    if "disturbed_cause" not in data:
        return str(data["reason"])
    return disturbance(Disturbance(*(data[f"disturbed_{name}"] for name in ("cause", "amount", "threads"))))


def _withheld(data: Data) -> str:
    threads, visits = data["threads"], data["visits"]
    threads_text = f"with {counted(threads, 'thread')} " if threads else ""
    remedy = ", or with fewer threads" if threads and threads > 1 else ""
    state = "its only visit was disturbed" if visits == 1 else f"none of {counted(visits, 'visit')} was undisturbed"
    return (
        f"Its latency is unknown: {threads_text}{state} ({withheld_reason(data)}). "
        f"Its times are in no ranking; measure again when the machine is quiet{remedy}."
    )


def _fallback(finding: Finding) -> str:
    data = ", ".join(f"{key}={value}" for key, value in finding.data.items())
    return f"{finding.code}{f' ({data})' if data else ''}"


def _not_steady(data: Data) -> str:
    # JSON has no infinity: a stored run has None
    if data["change"] is None or math.isinf(data["change"]):
        return "Warm-up ended before two windows of calls could be compared."
    return f"Warm-up ended while the median still moved by {percent(data['change'])}."


def _uncounted_operators(data: Data) -> str:
    share = data.get("share") or 0.0
    reads = f", which alone read {percent(share)} of the parameters" if share else ""
    return (
        f"Missing from the MACs, since no counter knows them: {_list(data['operators'])}{reads}. Give their FLOPs in "
        "the suite, under flops:, as package.module:function for each; for those of a backbone or reducer, register a "
        "formula with torch, by torch.utils.flop_counter.register_flop_formula."
    )


def _name_stages(data: Data) -> str:
    modules = _list(data["modules"])
    return (
        f"{percent(data['share'])} of the MACs are in no stage. Name the modules of each stage in the suite, under "
        f"stages:; the model has {f'these: {modules}' if modules else 'no others with parameters'}."
    )


def _folds(data: Data) -> str:
    head = "is linear and" if data.get("whole") else "ends in a linear layer, which"
    return (
        f"The reducer {head} folds into the {data['cell']}: the same function exists with {data['cell']} input "
        f"{data['lstm_input']:,} and {counted(data['params_saved'], 'fewer parameter')}."
    )


def _low_rank(data: Data) -> str:
    head = "is linear" if data.get("whole") else "ends in a linear layer"
    return (
        f"The reducer {head}: with the {data['cell']} it is a rank-{data['rank']:,} factorisation of "
        f"{with_article(data['cell'])} input of {data['lstm_input']:,}."
    )


def _unconverged(data: Data) -> str:
    if "rise" in data:
        head = f"Validation accuracy still rose by {units.digits(100 * data['rise'], 2)} points per 100 steps when "
        return f"{head}training ended: its accuracy counts, and more steps would raise it."
    return (
        f"The loss still fell by {percent(data['fall'])} from one checkpoint to the next when the schedule made the "
        "learning rate small: its accuracy counts, and more steps would raise it."
    )


def _busy_machine(data: Data) -> str:
    threads = data["threads"]
    if threads and "waited" in data and "cores" in data:
        head = f"{threads} threads shared {counted(data['cores'], 'core')}"
        return f"{head}, and waited for each other: ask for no more threads than cores."
    if threads and "quota" in data:
        head = f"{threads} threads had used up the container's quota of {data['quota']:g} processors"
        return f"{head}, and waited for its next period: ask for fewer threads, or raise the quota."
    if "waited" in data:
        busyness = f"other processes had a core for {percent(data['waited'])} of the time"
    else:
        busyness = f"load {units.digits(data['load'], 2)} on {counted(data['cores'], 'core')}"
    if threads:
        return (
            f"The machine was busy ({busyness}), its {threads} threads waiting for each other: measure again when "
            "it is quiet, or with one thread."
        )
    return f"The machine was busy ({busyness}): measure again when it is quiet."


def _test_clips_known(data: Data) -> str:
    verb = "equals" if data["known"] == 1 else "equal"
    return (
        f"{data['known']:,} of {counted(data['clips'], 'test clip')} {verb}, pixel by pixel, a clip that it learned "
        "from or was chosen by: its accuracy is too high. Leave out repeats, or name the recording of each clip."
    )


def _stages_unseen(data: Data) -> str:
    stages, pronoun = _stages(data)
    return (
        f"The call never enters the {stages}: {pronoun} time, memory and MACs are counted under other. Under stages:, "
        "name the modules that are really called."
    )


def _stages_compiled(data: Data) -> str:
    stages, pronoun = _stages(data)
    return (
        f"Its own code compiles the {stages} together with other code: {pronoun} time and memory are counted under "
        "other."
    )


def _stages(data: Data) -> tuple[str, str]:
    """Return ``stages backbone, head`` and their pronoun."""
    is_single = isinstance(data["stages"], str) or len(data["stages"]) == 1
    stages, pronoun = ("stage", "its") if is_single else ("stages", "their")
    return f"{stages} {_list(data['stages'])}", pronoun


def _foreign_process(data: Data) -> str:
    is_single = isinstance(data["pids"], str) or len(data["pids"]) == 1
    processes = "Another process" if is_single else "Other processes"
    return f"{processes} used the device meanwhile: {_list(data['pids'])}."


def _list(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, (tuple, list)) else str(values)


_SENTENCES: dict[str, Callable[[Data], str]] = {
    codes.NOT_STEADY: _not_steady,
    codes.INTERVAL_WIDE: lambda d: (
        f"Time ran out with the median known to ±{percent(d['relative'])}; the target was ±{percent(d['target'])}."
    ),
    codes.PAGE_FAULTS: lambda d: (
        f"{units.quantity(d['faults_per_call'], 'page fault')} a call with the {d['allocator']} allocator, "
        f"{percent(d['system_share'])} of the time in the kernel."
    ),
    codes.COUNTS_DISAGREE: lambda d: (
        f"The two independent MAC counts of the {d['stage']} differ: {units.count(d['meta'])} by its operators, "
        f"{units.count(d['traced'])} traced. Do not rely on either."
    ),
    codes.COUNTED_ONCE: lambda d: f"The MACs were counted one way only; the second failed: {d['reason']}.",
    codes.NOT_COUNTED: lambda d: f"MACs and FLOPs are absent: {d['reason']}.",
    codes.UNCOUNTED_OPERATORS: _uncounted_operators,
    codes.NAME_STAGES: _name_stages,
    codes.NOT_ON_META: lambda d: (
        f"Counted on the real call, since the model does not run on torch's meta device ({d['reason']})."
    ),
    codes.SLOW_ON_META: lambda _: (
        "Counted on the real call: it has so many operators that torch's meta device would take longer."
    ),
    codes.NOT_IN_INFERENCE_MODE: lambda d: (
        f"Called {d['mode']}, since the model does not run in torch's inference mode ({d['reason']})."
    ),
    codes.RANDOM_OUTPUT: lambda _: (
        "Its output is random (dropout, sampling), so even eager's output changes with the random numbers. The "
        "variant's output is only known to differ from it by no more than chance allows."
    ),
    codes.ILL_CONDITIONED: lambda d: (
        "It could be compared with eager only coarsely: if its weights change by no more than rounding, eager's own "
        f"output or gradients move by up to {percent(d['relative'])}."
    ),
    codes.RANDOM_WORK: lambda d: (
        "Random numbers or the clock decide what it computes, as in stochastic depth: one forward pass took "
        f"{units.count(d['macs'])} MACs, another {units.count(d['other'])}. Its latency covers all the numbers drawn "
        "while it was timed."
    ),
    codes.UNEVEN_WORK: lambda d: (
        "Its calls do unequal work, for example because it skips frames: one call took "
        f"{units.count(d['macs'])} MACs, a later one {units.count(d['other'])}. Its latency covers all calls that were "
        "timed; its MACs, its memory and its stages are those of single calls."
    ),
    codes.NOT_A_NUMBER: lambda d: (
        f"{percent(d['share'])} of the numbers in its {d['part']} are NaN. It was timed nevertheless, but nothing can "
        "show that a variant computes them correctly. Look for a division by zero or numbers too large for their type."
    ),
    codes.INPUTS_CHANGED: lambda _: (
        "It writes into its inputs: each call receives them as the previous call left them, so its time may "
        "differ. Clone them in forward."
    ),
    codes.OWN_THREADS: lambda _: (
        "It calls modules in threads of its own: what they allocate is not in the peak of tensors, only in the "
        "process's peak, and the times of its stages are those of threads running side by side."
    ),
    codes.STAGES_UNSEEN: _stages_unseen,
    codes.STAGES_COMPILED: _stages_compiled,
    codes.NO_GRADIENT: lambda d: (
        f"{units.quantity(d['params'], 'parameter')} got no gradient from the loss: {_list(d['names'])}. Give the loss "
        "that trains them (loss: package.module:function), or freeze them. Nothing trains behind an operator without a "
        "gradient, such as a quantised layer."
    ),
    codes.NOT_CAPTURED: lambda d: f"What torch.compile captured is unknown: {d['reason']}.",
    codes.NOTHING_COMPILED: lambda _: "torch.compile captured no graph: this ran eager, whatever the variant says.",
    codes.THROTTLED: lambda d: f"The device throttled while it was measured: {_list(d['reasons'])}.",
    codes.FOREIGN_PROCESS: _foreign_process,
    codes.BUSY_MACHINE: _busy_machine,
    codes.WITHHELD: _withheld,
    codes.VISIT_FAILED: lambda d: (
        f"A visit failed ({d['reason']}), and no visit followed it: the times are those of the visits that succeeded."
    ),
    codes.TWO_SPEEDS: lambda d: (
        f"Fresh processes ran at two speeds, {units.seconds(d['fast'])} and {units.seconds(d['slow'])}: the interval "
        "holds both."
    ),
    codes.STATE_GROWS: lambda d: (
        f"Its carried state grew from {units.size(d['before'])} to {units.size(d['after'])} while it was timed: "
        "each call handles a longer stream, so latency and memory belong to no particular length. Cut it in step."
    ),
    codes.STAGES_DO_NOT_ADD_UP: lambda d: (
        f"The stages' times sum to {units.seconds(d['stages'])}, but a plain call takes {units.seconds(d['whole'])}: "
        + (
            "timing the stages distorts this call too much, so they are withheld."
            if d.get("withheld")
            else "read them as shares."
        )
    ),
    codes.OPAQUE_ENGINE: lambda d: (
        f"{d['engine']} does not show what it does inside: only the whole call was timed, not its stages."
    ),
    codes.STAGES_BY_RUNTIME: lambda d: (
        f"The stages' times are those of {d['engine']}'s own profile; operations that it puts between two stages count "
        "towards the earlier one. Its memory is not split by stage or kind."
    ),
    codes.FRAMES_ARE_NO_CLIP: lambda d: (
        f"Frame by frame, eager itself differs by {units.digits(d['largest'], 2)} from the whole clip: this model "
        "needs later frames, so its streamed output is compared with eager's streamed output only."
    ),
    codes.TWO_WAY_STREAM: lambda d: (
        f"The {d['cell']} runs both ways through a clip. A stream has no later frames, so its backward direction, too, "
        "carries on from earlier ones: the outputs are not those of the whole clip."
    ),
    codes.NOT_PREDICTED: lambda d: (
        f"Peak memory was not predicted from the shapes: {str(d['reason']).removeprefix('not predicted: ')}."
    ),
    codes.PREDICTED_AT_FULL_LENGTH: lambda _: (
        "The predicted peak is that of sequences as long as their padding: shapes do not tell their lengths."
    ),
    codes.NOT_PROFILED: lambda d: f"There is no profile of this case: {d['reason']}.",
    codes.TRACE_BOUNDED: lambda d: (
        f"The trace holds {d['steps']} of {d['wanted']} calls: each call takes {units.size(d['bytes_per_step'])}."
    ),
    codes.DEAD_RUN: lambda d: (
        f"After training, the model predicts one class for {percent(d['share'])} of the validation clips: a dead "
        "run, counted but not averaged in."
    ),
    codes.UNCONVERGED: _unconverged,
    codes.TEST_CLIPS_KNOWN: _test_clips_known,
    codes.CLIPS_OF_TWO_LABELS: lambda d: (
        f"{counted(d['clips'], 'clip of its task occurs', 'clips of its task occur')} under several labels, the same "
        "pixel by pixel: no model can tell which label is asked for. Check the labels."
    ),
    codes.CLIPS_UNSCALED: lambda d: (
        f"Its clips have values as far from 0 as {d['largest']:.4g}: floats are not rescaled, and a network learns "
        "best from about -1 to 1, where another reducer may be ahead. Divide them by 255, or give uint8."
    ),
    codes.FOLDS_INTO_LSTM: _folds,
    codes.LOW_RANK: _low_rank,
    codes.GRAPH_BREAKS: lambda d: f"Graph breaks: {_list(d['reasons'])}.",
}

_REMEDIES = {
    codes.NOT_STEADY: "Its latency may include some warm-up: raise protocol.max_warmup.",
    codes.INTERVAL_WIDE: "Smaller differences do not show: raise protocol.max_time.",
    codes.PAGE_FAULTS: (
        f"Much of this latency is spent mapping memory anew. The variant {KEEPS_MEMORY} keeps it mapped and shows how "
        "much."
    ),
    codes.COUNTED_ONCE: "Nothing confirms them.",
    codes.NOT_COUNTED: "Latency and memory do not depend on them.",
    codes.NOT_CAPTURED: "Its latency is measured all the same.",
    codes.NOTHING_COMPILED: "Its latency is eager's: compile(rnn=true) captures models with a recurrent stage.",
    codes.THROTTLED: "Its latency is that of a slower clock: measure again when the device is cool.",
    codes.FOREIGN_PROCESS: "Latency and memory may be theirs in part: measure again without them.",
    codes.VISIT_FAILED: "If it fails again in a new run, read the reason before using the times.",
    codes.TWO_SPEEDS: "Another run may show either: compare by intervals, or with more visits (protocol.visits).",
    codes.OWN_THREADS: "Compare its memory by the process's peak, and its stages as shares.",
    codes.NOT_PREDICTED: "The measured peak does not depend on it.",
    codes.NOT_PROFILED: "Its other numbers do not depend on it.",
    codes.DEAD_RUN: "Another learning rate, or LayerNorm before the {cell}, may revive it.",
    codes.FOLDS_INTO_LSTM: (
        "That layer costs parameters and adds no function that the {cell} cannot have by itself: take the smaller "
        "model, or put an activation after the layer (activation=true in reducers that have it)."
    ),
    codes.LOW_RANK: (
        "The {cell} gets the features only through that rank, which saves parameters; a larger lstm_input raises it. "
        "With an activation after the layer (activation=true in reducers that have it) it is more than a factorisation."
    ),
    codes.GRAPH_BREAKS: (
        "What lies between two graphs ran in eager mode. If the {cell} is the reason, the variant compile(rnn=true) "
        "captures it, and takes longer to compile."
    ),
}
"""What findings of a kind mean for the numbers and what to do, in words that are the same for all of them.

A kind that is missing says both in its sentence, with its data.
"""
