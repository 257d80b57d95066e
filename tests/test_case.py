"""A case's id, by which records are joined, and the groups in which cases are compared."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convbench.core.case import Case, Choice, Clip, Parts, Recurrent, Trial, Whole, common_options, is_training

GAP = Parts(Choice("conv", (("channels", 32),)), Choice("gap"), 32)
CASE = Case(GAP, Clip(2, 4, 3, 8, 8))
LESSON = replace(CASE, scenario="learn", trial=Trial(Choice("mnist"), 1, 0.001))
RNN_CHANGES = {"cell": "gru", "hidden": 64, "layers": 2, "bidirectional": True, "proj_size": 16}
PARTS_CHANGES = {
    "backbone": Choice("conv"), "reducer": Choice("fc"), "lstm_input": None, "layer_norm": True, "head": 7,
    **{f"rnn.{name}": Recurrent(**{name: value}) for name, value in RNN_CHANGES.items()},
}  # fmt: skip
CHANGES = {name: replace(CASE, architecture=replace(GAP, **{name.partition(".")[0]: value}))
           for name, value in PARTS_CHANGES.items()}  # fmt: skip
CHANGES |= {f"clip.{name}": replace(CASE, clip=replace(CASE.clip, **{name: 9})) for name in Clip.__dataclass_fields__}
CHANGES |= {
    "variant": replace(CASE, variant=(Choice("int8"),)), "scenario": replace(CASE, scenario="streaming"),
    "device": replace(CASE, device="cuda:0"), "threads": replace(CASE, threads=2), "all": replace(CASE, threads="all"),
}  # fmt: skip
TRIALS = {
    "task": Choice("direction"), "seed": 2, "learning_rate": 0.002, "control": "frame-shuffle"
}  # fmt: skip
NET = Whole(Choice("net:build", (("k", 3),)))
NET_CHANGES = {
    "model": Choice("net:build", (("k", 5),)), "inputs": "net:two", "stages": (("lstm", "rnn"),), "loss": "net:loss",
    "step": "net:step", "flops": (("ops.fast", "net:count"),),
}  # fmt: skip


def test_every_setting_of_a_case_is_in_its_id():
    cases = [CASE, *CHANGES.values(), LESSON]
    cases += [replace(LESSON, trial=replace(LESSON.trial, **{name: value})) for name, value in TRIALS.items()]
    cases += [replace(CASE, architecture=NET)]
    cases += [replace(CASE, architecture=replace(NET, **{name: value})) for name, value in NET_CHANGES.items()]
    assert len({case.id for case in cases}) == len(cases)
    assert replace(CASE, threads=1).id == CASE.id


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (CASE, "conv(channels=32)/gap/32/lstm128/2x4x3x8x8/eager/inference/cpu"),
        (
            Case(
                Parts(Choice("conv"), Choice("avg-k", (("k", 4), ("last", True))), None,
                      Recurrent("lstm", 64, 2, True, 16), True, 7),
                variant=(Choice("int8"), Choice("compile")), device="cuda:0", threads="all",
            ),
            "conv/avg-k(k=4,last=true)/map+ln/bilstm64x2p16/head7/1x16x3x64x64/int8+compile/inference/cuda:0/threads=all",
        ),
        (LESSON, "conv(channels=32)/gap/32/lstm128/2x4x3x8x8/eager/learn/cpu/mnist/lr=0.001/seed=1"),
        (
            replace(CASE, scenario="probe", trial=Trial(Choice("mnist"), 0, None, "single-frame")),
            "conv(channels=32)/gap/32/lstm128/2x4x3x8x8/eager/probe/cpu/mnist/seed=0/single-frame",
        ),
        (
            Case(replace(NET, inputs="net:two", stages=(("lstm", "rnn"), ("head", "out")))),
            "net:build(k=3,inputs=net:two,stages=lstm:rnn+head:out)/1x16x3x64x64/eager/inference/cpu",
        ),
    ],
    ids=["plain", "all", "training", "read-out", "whole"],
)  # fmt: skip
def test_stored_ids_stay_as_they_are(case, name):
    """An id that changes begins another series in every history."""
    assert case.id == name
    assert is_training(name) == case.trains
    assert (case.trains, case.reads_out) == ((case.scenario == "learn"), (case.scenario == "probe"))


@pytest.mark.parametrize("name", CHANGES)
def test_reducers_sizes_and_variants_are_ranked_within_a_situation(name):
    is_ranked = name in ("reducer", "lstm_input", "variant")
    assert (CHANGES[name].situation == CASE.situation) == is_ranked
    architecture = CHANGES[name].architecture != GAP
    assert (CHANGES[name].surroundings == CASE.surroundings) == (is_ranked or not architecture)
    assert replace(CASE, architecture=NET).surroundings not in (CASE.surroundings, CHANGES[name].surroundings)


def test_a_streamed_call_takes_one_frame_of_each_clip():
    assert (CASE.frames_per_call, CASE.streams) == (8, False)
    assert (CHANGES["scenario"].frames_per_call, CHANGES["scenario"].streams) == (2, True)


def test_a_case_leads_to_the_ones_that_it_is_compared_with():
    trained = replace(CHANGES["variant"], scenario="train")
    assert (trained.eager.id, trained.forward_only.id) == (CASE.id.replace("inference", "train"), CASE.id)
    assert CHANGES["variant"].forward_only == CASE
    assert LESSON.at_any_rate.id == CASE.id.replace("inference", "learn").replace("/cpu", "/cpu/mnist/seed=1")
    assert CASE.at_any_rate == CASE


def test_options_that_all_models_of_a_name_share_are_left_out_of_a_short_id():
    first, second = (replace(NET, model=Choice("net:build", (("k", k), ("p", 1)))) for k in (3, 5))
    case = Case(first)
    assert case.short_id(common_options([first, second, GAP])) == case.id.replace("k=3,p=1", "k=3,…")
    assert case.short_id(common_options([first])) == case.id.replace("k=3,p=1", "…")
    assert case.short_id({}) == case.id
    assert CASE.short_id(common_options([first, GAP])) == CASE.id
