"""Test the command `convbench advise`: its full text, its exit codes and its error messages."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import records
from typer.testing import CliRunner

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.results import results
from convbench.cli.app import app
from convbench.core.errors import ConvbenchError
from convbench.core.metric import Metric
from convbench.core.quantities import amount, duration, share
from convbench.core.record import Failure, Finding, Reading
from convbench.report.words.advice import differences, sentences
from convbench.report.words.next_runs import next_runs
from convbench.report.words.numbers import likely

GOLDEN = Path(__file__).parent / "golden" / "advice.txt"


def words(run_records, ask, task="direction"):
    (recommendation,) = recommendations(run_records, ask, [task])
    return "\n".join(sentences(recommendation))


@pytest.fixture
def run(tmp_path):
    run_records = records.quality_records()
    dead = [records.lesson(0.125, seed=s, of=records.case("gmp"), flag="dead_run") for s in range(5)]
    return records.stored(tmp_path / "full", [*run_records, *dead])


def advise(*arguments):
    done = CliRunner().invoke(app, ["advise", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split()), done.exception


def test_a_limit_is_a_minimum_if_higher_is_better(run):
    code, said, _ = advise(run, "--task", "direction", "--budget", "frames_per_s=3500")
    assert code == 0
    assert "direction: spatial-softmax" in said
    assert "Binding: the frames/s of 3.50 k frames/s; without it the answer would change" in said
    assert advise(run, "--budget", "frames_per_s=100k")[0] == 3


def of(values, **more):
    """Return costs and lessons of reducers, given their accuracies. Each reducer is slower than the one before."""
    run_records = []
    for i, (name, reached) in enumerate(values.items()):
        case = records.case(*((name, more["sizes"][i]) if "sizes" in more else (name,)))
        run_records.append(records.record(case, latency=1e-3 * (i + 1)))
        run_records += [records.lesson(value, seed=seed, of=case) for seed, value in enumerate(reached)]
    return run_records


def collapsing():
    good = (0.9, 0.902, 0.899, 0.901, 0.9)
    return of({"gap": (*good[:3], 0.13, 0.128), "gmp": good, "gem": (0.5, 0.51, 0.5, 0.49, 0.5), "flatten": (0.4,) * 5})


def edge():
    run_records = []
    for size, mean, latency in ((8, 0.5, 1e-3), (16, 0.8, 2e-3)):
        case = records.case("fc(activation=true)", size)
        run_records += [records.record(case, latency=latency)]
        run_records += [records.lesson(mean + s / 500, seed=s, of=case) for s in range(4)]
    return run_records


def at_the_highest_rate():
    """Return three reducers' lessons at three learning rates. The best is the highest, the middle and the lowest."""
    run_records = []
    for i, (name, best) in enumerate((("gap", 8e-3), ("gmp", 2e-3), ("gem", 5e-4))):
        case = records.case(name)
        run_records.append(records.record(case, latency=1e-3 * (i + 1)))
        run_records += [
            records.lesson(0.9 - 0.2 * i + s / 1000 - 0.1 * (rate != best), seed=s, rate=rate, of=case)
            for s in range(4) for rate in (5e-4, 2e-3, 8e-3)
        ]  # fmt: skip
    return run_records


def counted():
    """Return the records that a suite with ``metrics: [params, macs]`` leaves."""
    return [only_counts(record) for record in records.quality_records()]


def only_counts(record):
    names = ("params", "macs", "flops")
    kept = tuple(reading for reading in record.readings if reading.metric.name in names)
    return record if record.case.trial else replace(record, readings=kept)


SAID = {
    "sure, and the best itself": (records.quality_records, Ask()),
    "sure, a wide margin": (records.quality_records, Ask(within=0.08)),
    "a price for latency": (records.quality_records, Ask(per_second=2.0)),
    "over the budget": (records.quality_records, Ask({"latency": 1e-3, "params": 5e4})),
    "open, no effect": (
        lambda: of({"gap": (0.61, 0.52, 0.6), "gmp": (0.59, 0.6, 0.51), "gem": (0.5, 0.62, 0.58)}), Ask(),
    ),
    "provisional, too noisy": (
        lambda: of({"gap": (0.3, 0.31, 0.29), "gmp": (0.9, 0.8, 0.95), "gem": (0.85, 0.93, 0.84)}), Ask(),
    ),
    "provisional, two seeds": (lambda: of({"gap": (0.3, 0.31), "gmp": (0.9, 0.91), "gem": (0.5, 0.52)}), Ask()),
    "provisional, at the edge": (edge, Ask()),
    "passed over for its collapses": (collapsing, Ask()),
    "at the end of the learning rates": (at_the_highest_rate, Ask()),
    "without a latency": (counted, Ask()),
    "without a latency, for which there is a price": (counted, Ask(per_second=2.0)),
}  # fmt: skip


def test_every_kind_of_answer_matches_the_golden_file():
    """The file is ``golden/advice.txt``. To change the words, look at the difference and store the new text."""
    answers = {name: words(make_records(), ask) for name, (make_records, ask) in SAID.items()}
    text = "\n".join(f"== {name}\n{answer}\n" for name, answer in answers.items())
    assert text == GOLDEN.read_text("utf-8")


def test_an_answer_without_learning_states_the_chance_level():
    text = words(of({"gap": (0.13, 0.12, 0.125), "gmp": (0.12, 0.13, 0.125)}), Ask())
    assert "no configuration learnt the task: train longer, or try other learning rates (chance 12.5 %)." in text


@pytest.mark.parametrize(
    ("probability", "phrase"), [(1.0, "over 99 %"), (0.99, "99 %"), (0.5, "50 %"), (0.01, "1 %"), (0.0, "under 1 %")]
)
def test_an_estimated_likelihood_is_never_certain(probability, phrase):
    assert likely(probability) == phrase


def test_binding_limits_are_named():
    text = words(records.quality_records(), Ask({"latency": 4.5e-3, "params": 1e6}))
    assert "Binding: the latency of 4.50 ms; without it the answer would change." in text
    text = words(records.quality_records(), Ask({"params": 1e6}))
    assert "No limit binds: each could be lifted without changing this." in text


def test_tasks_that_need_different_configurations_are_reported():
    assert differences(recommendations(records.quality_records(), Ask())) == (
        "Different tasks want different configurations, and none is shown to be within 2.0 points of the best in all: "
        "direction: conv1x1-avg-k(k=4), LSTM input 128, eager; identity: gap, LSTM input 32, eager."
    )
    assert differences(recommendations(records.quality_records(tasks=["identity"]), Ask())) == ""


def test_a_configuration_good_enough_for_all_tasks_is_named():
    """Only the picks used to be compared: there was "no one best", though a slower configuration is as good in both."""
    reached = {"gap": (0.3, 0.9), "gmp": (0.9, 0.3), "flatten": (0.9, 0.9)}
    run_records = [records.record(records.case(reducer), latency=1e-3 * (i + 1)) for i, reducer in enumerate(reached)]
    run_records += [
        records.lesson(mean + seed / 1000, task, seed, of=records.case(reducer))
        for reducer, means in reached.items()
        for task, mean in zip(("direction", "identity"), means, strict=True)
        for seed in range(5)
    ]
    assert differences(recommendations(run_records, Ask())) == (
        "Different tasks want different configurations: direction: gmp, LSTM input 32, eager; identity: gap, LSTM "
        "input 32, eager. Yet flatten, LSTM input 131,072, eager is shown to be within 2.0 points of the best in all."
    )


def test_a_pick_for_every_task_exits_0(run):
    code, out, _ = advise(run)
    assert code == 0
    assert out.startswith(
        "Test accuracy after equal steps of short training; costs of a call on a clip 1x16x3x64x64, cpu, fp32. "
        "direction: conv1x1-avg-k(k=4), LSTM input 128, eager (sure)."
    )
    assert "Left out: gmp 32 (most runs learnt nothing or collapsed)." in out
    assert "Different tasks want different configurations" in out


def test_advise_accepts_a_file_of_the_run(run):
    assert advise(run / "results.jsonl", "--task", "identity")[0] == 0


def test_advise_exits_3_if_no_task_has_a_pick(run):
    code, out, _ = advise(run, "--latency", "1ms")
    assert code == 3
    assert out.count("nothing meets the budget") == 2


def test_every_limit_is_applied(run):
    limits = ("--latency", "4.5ms", "--params", "1M", "--memory", "64MB", "--flops", "1G", "--within", "2%")
    code, out, _ = advise(run, *limits, "--task", "direction", "--budget", "flops", "--cheapest", "params")
    assert code == 0
    assert "direction: spatial-softmax, LSTM input 64, eager (sure)." in out
    assert "Test accuracy after equal training FLOPs" in out
    assert "identity" not in out


def test_the_cheapest_may_be_chosen_by_a_users_metric(tmp_path):
    """The slowest reducer takes the least energy here, and all are nearly equally accurate."""
    run_records = of({"gap": (0.9, 0.91, 0.9), "gmp": (0.901, 0.909, 0.9), "gem": (0.9, 0.908, 0.901)})
    joules = Metric("energy_j", "J", title="Energy of a call")
    for i, record in enumerate(run_records):
        if record.case.trial is None:
            reading = Reading(joules, (0.3 - 0.01 * i,))
            run_records[i] = replace(record, readings=(*record.readings, reading))
    directory = records.stored(tmp_path / "energy", run_records)
    code, out, _ = advise(directory, "--cheapest", "energy_j")
    assert code == 0
    assert "direction: gem" in out
    assert "energy of a call 220 mJ" in out
    assert "it is the lowest in energy of a call that is shown" in out
    assert "260 mJ" in out, "a runner-up, with the cost that was asked for"
    assert "direction: gap" in advise(directory)[1]


@pytest.mark.parametrize("name", ["cpu_peak_rss_bytes", "exported_bytes"])
def test_memory_of_the_process_and_size_on_disk_have_limits(tmp_path, name):
    """A device's 50 MB are those of the process or of the file; only tensors had a limit."""
    run_records = of({"gap": (0.9, 0.91, 0.9), "gmp": (0.901, 0.909, 0.9), "gem": (0.9, 0.908, 0.901)})
    size_of = {"gap": 60e6, "gmp": 55e6, "gem": 40e6}
    for i, record in enumerate(run_records):
        if record.case.trial is None:
            readings = [reading for reading in record.readings if reading.metric.name != name]
            size = records.reading(name, size_of[record.case.architecture.reducer.name])
            run_records[i] = replace(record, readings=(*readings, size))
    directory = records.stored(tmp_path / "device", run_records)
    assert "direction: gap" in advise(directory)[1]
    assert "direction: gem" in advise(directory, "--budget", f"{name}=50MB")[1]


def test_a_model_without_latency_is_not_called_fastest(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    noisy = of({"gap": (0.61, 0.52, 0.6), "gmp": (0.59, 0.6, 0.51), "gem": (0.5, 0.62, 0.58)})
    code, out, _ = advise(records.stored(tmp_path / "counted", [only_counts(record) for record in noisy]))
    assert code == 3
    assert "The smallest is gap, LSTM input 32, eager" in out
    assert "83.8 k parameters, 116 MFLOP; latency was not measured)" in out
    assert "against the smallest" in out
    assert "fastest" not in out


def test_json_is_valid_and_has_every_cost(tmp_path):
    run_records = of(dict.fromkeys(("gap", "gmp"), (0.9, 0.91, 0.9)))
    energy = Reading(Metric("energy_j", "J"), (math.inf,))
    timed = [replace(r, readings=(*r.readings, energy)) if r.case.trial is None else r for r in run_records]
    done = CliRunner().invoke(app, ["advise", str(records.stored(tmp_path / "infinite", timed)), "--json"])

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    (answer,) = json.loads(done.output, parse_constant=refuse)
    assert answer["pick"]["energy_j"] is None
    assert answer["pick"]["frames_per_s"] > 0


def test_a_run_evaluated_only_at_its_end_is_sound(tmp_path):
    """The costlier model's only evaluation lies beyond the FLOPs that the cheaper model was trained with."""
    run_records = of({"gap": (0.9, 0.91, 0.9), "fc": (0.9, 0.92, 0.9)})
    last = [r for r in run_records if r.case.trial and "fc" in r.case.id]
    cut = [replace(x, samples=x.samples[-1:]) for r in last for x in r.readings]
    per = len(last[0].readings)
    int8 = records.case("fc", variant="int8").variant
    run_records += [
        replace(r, case=replace(r.case, variant=int8), readings=tuple(cut[i * per : (i + 1) * per]))
        for i, r in enumerate(last)
    ]
    out = advise(records.stored(tmp_path / "beyond", run_records), "--equal", "flops")[1]
    assert "no run was sound" not in out
    assert "accuracy at the equal budget not known" in out


def test_a_wrong_metric_for_cheapest_is_refused(run):
    assert str(advise(run, "--cheapest", "latncy")[2]) == (
        "--cheapest latncy: not a cost that advise weighs; did you mean 'latency'?"
    )
    assert str(advise(run, "--cheapest", "frames_per_s")[2]) == (
        "--cheapest frames_per_s: less of it is not better: choose one of the costs params, flops, latency, memory, "
        "exported_bytes, cpu_peak_rss_bytes"
    )


def test_json_holds_the_same_answer_as_the_text(run):
    done = CliRunner().invoke(app, ["advise", str(run), "--json", "--within", "8%"])
    direction, identity = json.loads(done.output)
    assert done.exit_code == 0
    assert direction["pick"]["case"].startswith("conv/spatial-softmax/64/")
    assert direction["price"]["next"]["params"] > direction["pick"]["params"]
    assert [entry["why"] for entry in direction["excluded"]] == ["dead"]
    assert identity["words"].startswith("identity: gap")


def test_the_required_grade_decides_the_exit_code(tmp_path):
    directory = records.stored(tmp_path / "two", of({"gap": (0.3, 0.31), "gmp": (0.9, 0.91), "gem": (0.5, 0.52)}))
    codes = [advise(directory, *more)[0] for more in ((), ("--require", "provisional"), ("--require", "sure"))]
    assert codes == [0, 0, 3]
    assert advise(directory, "--latency", "1us", "--require", "open")[0] == 0


def test_json_holds_the_grade_and_how_to_settle_it(tmp_path):
    noisy = of({"gap": (0.3, 0.31, 0.29), "gmp": (0.9, 0.8, 0.95), "gem": (0.85, 0.93, 0.84)})
    done = CliRunner().invoke(app, ["advise", str(records.stored(tmp_path / "noisy", noisy)), "--json"])
    (answer,) = json.loads(done.output)
    assert (answer["grade"], answer["doubts"][0]) == ("provisional", "not-shown")
    assert len(answer["settle"]["cases"]) == 2
    assert [case.split("/")[1] for case in answer["ruled_out"]] == ["gap"]
    assert [case.split("/")[1] for case in answer["tied"]] == ["gmp"]
    assert answer["pick"]["collapse_rate"] == pytest.approx([0, 0.7076], abs=1e-4)


def test_a_price_per_millisecond_changes_the_rule(run):
    assert "accuracy less 10.0 points a millisecond has the highest lower bound" in advise(run, "--per-ms", "10pt")[1]
    message = "--per-ms cheap: not a price: write 0.2pt, which is 0.2 points of accuracy"
    assert str(advise(run, "--per-ms", "cheap")[2]) == message


def test_json_without_a_pick_has_the_reason(run):
    done = CliRunner().invoke(app, ["advise", str(run), "--json", "--latency", "1ms"])
    assert done.exit_code == 3
    assert [(answer["pick"], answer["reason"]) for answer in json.loads(done.output)] == [(None, "over-budget")] * 2


@pytest.mark.parametrize(("command", "training"), [
    ("convbench run a.yaml variant=eager --only gap", "a.yaml variant=eager quality=train --only gap"),
    ("merged", "default quality=train"),
    ("convbench run a.yaml protocol.budget=5", "a.yaml quality=train"),  # 5 s would end the trainings
])  # fmt: skip
def test_a_run_without_trainings_names_the_command_to_train(tmp_path, command, training):
    directory = records.stored(tmp_path / "run", [records.record()], command=command)
    code, out, _ = advise(directory)
    sentence = f"quality was not run in {directory}: run `convbench run {training} --resume --out {directory}`"
    by_cost = "By cost alone: 1 model. Fastest: gap, LSTM input 32 (6.47 ms [6.42, 6.57] a call, 83.8 k "
    assert (code, out) == (3, f"{sentence}. {by_cost}parameters, 16.3 MiB, 116 MFLOP).")
    (answer,) = json.loads(CliRunner().invoke(app, ["advise", str(directory), "--json"]).output)
    assert (answer["grade"], answer["reason"], answer["words"]) == ("open", "not-run", out)
    assert advise(directory, "--require", "open")[0] == 0


@pytest.mark.parametrize(("options", "said"), [
    (("--cheapest", "memory"), "--cheapest chooses"),
    (("--per-ms", "0.2pt", "--within", "1%", "--equal", "flops"), "--within, --per-ms and --equal choose"),
])  # fmt: skip
def test_options_that_need_trainings_are_named_if_there_are_none(tmp_path, options, said):
    """The fastest used to be named, whichever cost ``--cheapest`` named."""
    directory = records.stored(tmp_path / "run", [records.record()])
    code, out, _ = advise(directory, *options)
    assert code == 3
    by_cost = "By cost alone: 1 model."
    assert f"quality=train --resume --out {directory}`. {said} among trainings, but there are none. {by_cost}" in out


def test_advice_by_cost_names_cases_never_measured_undisturbed(tmp_path):
    """A run of two models used to count one model, as if the other model did not exist."""
    never = Finding("withheld", data={"reason": "busy", "visits": 3, "threads": 1})
    disturbed = replace(records.record(records.case("flatten"), samples=0), findings=(never,))
    out = advise(records.stored(tmp_path / "run", [records.record(), disturbed]))[1]
    assert "By cost alone: 1 model. Fastest: gap" in out
    assert out.endswith("1 case was never measured undisturbed (busy): withheld, in no ranking or comparison.")


@pytest.mark.parametrize(("limits", "said"), [
    ((), ("2 models. Smallest: gap, LSTM input 32 (83.8 k parameters, 16.3 MiB, 116 MFLOP); "
         "latency was not measured.")),
    (("--params", "1k"), "None of 2 models fits. Nearest: parameters 83.8 k (the limit is 1.00 k)."),
    (("--latency", "5ms"), "None of 2 models fits. None has a measured value for every limit."),
])  # fmt: skip
def test_without_latencies_the_smallest_fitting_model_is_named(tmp_path, limits, said):
    """The only answer used to be that quality was not run, whatever the limit."""
    run_records = [records.record(records.case(name), samples=0) for name in ("flatten", "gap")]
    code, out, _ = advise(records.stored(tmp_path / "run", run_records), *limits)
    assert code == 3
    assert out.endswith(f". By cost alone: {said}")


def test_a_run_of_failures_is_not_advised_to_train(tmp_path):
    """The command that it named, quality=train, would have failed in the same way."""
    code, out, _ = advise(records.stored(tmp_path / "run", [records.failed(records.case())]))
    assert code == 3
    assert out.endswith(", and no case was measured: wrong output: output differs from eager: max 0.3")
    assert "quality=train" not in out


def test_an_unknown_task_is_refused_without_trainings_too(tmp_path):
    directory = records.stored(tmp_path / "run", [records.record()])
    assert "unknown task 'direktion'; did you mean 'direction'?" in str(advise(directory, "--task", "direktion")[2])
    assert advise(directory, "--task", "direction")[0] == 3
    assert advise(directory, "--task", "own_clips_elsewhere:make")[0] == 3, "the user's own is not imported here"


def skipped(record):
    cause = Failure("unavailable", "no host for it")
    return replace(record, status="skipped", readings=(), findings=(), failure=cause)


def test_there_is_no_pick_if_every_training_was_skipped(tmp_path):
    """This used to print one line, and every task counted as having a pick."""
    lessons = [skipped(records.lesson(seed=seed)) for seed in range(3)]
    directory = records.stored(tmp_path / "run", [records.record(), *lessons])
    code, out, _ = advise(directory)
    assert code == 3
    said = f"quality was not run in {directory}: 3 trainings were skipped, unavailable: no host for it."
    assert out.startswith(f"{said} By cost alone: 1 model.")


def test_a_task_whose_trainings_were_all_skipped_is_open(tmp_path):
    run_records = [skipped(r) if "/identity/" in r.case.id else r for r in records.quality_records()]
    code, out, _ = advise(records.stored(tmp_path / "run", run_records))
    assert code == 3
    assert "direction: conv1x1-avg-k(k=4), LSTM input 128, eager (sure)." in out
    assert "identity: open, no pick: quality was not run for it." in out


def test_a_run_stopped_before_its_first_training_is_resumed(tmp_path):
    """The advice used to be to run the suite again, without its overrides, into its own folder."""
    plan = [record.case.id for record in (records.record(), records.lesson())]
    made = "convbench run quality variant=eager"
    directory = records.stored(tmp_path / "my run", [records.record()], command=made, planned=tuple(plan))
    said = f"quality was not run in {directory} yet: go on with `{made} --resume --out '{directory}'`. By cost alone:"
    assert advise(directory / "run.json")[1].startswith(said)
    call = records.stored(tmp_path / "call", [], command="convbench.run('quality')", planned=tuple(plan))
    assert advise(call)[1].endswith(f"go on with `convbench.run('quality', resume=True, out='{call}')`")


def test_advice_says_how_to_measure_the_costs_that_it_lacks(tmp_path):
    """A run timed in streaming was told that no cost was measured; a withheld rival made a doubt without a remedy."""
    never, lessons = Finding("withheld", data={"reason": "busy", "visits": 3, "threads": 1}), []
    for name, mean in (("gap", 0.944), ("gmp", 0.95), ("gem", 0.6)):
        lessons += [records.lesson(mean + 0.002 * seed, seed=seed, of=records.case(name)) for seed in range(5)]
    streamed = [records.record(records.case(name, scenario="streaming")) for name in ("gap", "gmp", "gem")]
    made = "convbench run mine.yaml scenario=streaming"
    directory = records.stored(tmp_path / "s", [*streamed, *lessons], command=made)
    code, out, _ = advise(directory)
    assert (code, "costs of the trained models were not measured" in out) == (3, False)
    assert "weigh the costs of inference, which were not measured of the trained models: add inference to" in out
    assert out.endswith(
        "costs were measured only in streaming, and answers of tasks weigh those of inference: "
        f"run `convbench run mine.yaml 'scenario=[streaming,inference]' --resume --out {directory}`"
    )
    timed = [records.record(records.case(name), latency=1e-3 * at) for at, name in enumerate(("gmp", "gem"), 2)]
    withheld = replace(records.record(records.case("gap"), samples=0), findings=(never,))
    directory = records.stored(tmp_path / "w", [withheld, *timed, *lessons], command="convbench run mine.yaml")
    for options in ((), ("--latency", "1us")):
        out = advise(directory, *options)[1]
        assert "To settle it: time gap, LSTM input 32 again on a quiet machine, as no visit was undisturbed." in out
        assert out.endswith(f"visits: run `convbench run mine.yaml --resume --until-sure --out {directory}`")
    run, stored_records = records.run_of([withheld, *timed, *lessons]), [withheld, *timed, *lessons]
    answers = recommendations(stored_records, Ask())
    steps = next_runs(run, results(stored_records), headline_of(results(stored_records)), answers)
    assert len([step for step in steps if step.until_sure]) == 1, "the page has the command too, once"


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_advice_of_an_unfinished_run_says_how_to_finish_it(tmp_path, words):
    """A budget had ended the trainings. The advice said that more seeds do not help, and asked for more clips."""
    run_records = records.quality_records()
    plan = [record.case.id for record in (*run_records, records.lesson(seed=77))]
    made = "convbench run mine.yaml protocol.budget=240"
    directory = records.stored(tmp_path / "run", run_records, command=made, planned=tuple(plan))
    out = CliRunner().invoke(app, ["advise", str(directory), *words])
    assert out.stderr == (
        "1 planned case or training has no result yet, so answers may change: "
        f"go on with `{made} --resume --out {directory}`\n"
    )
    assert not CliRunner().invoke(app, ["advise", str(records.stored(tmp_path / "whole", run_records))]).stderr
    untrained = records.stored(tmp_path / "untrained", [records.record()], planned=(records.record().case.id, "b"))
    assert "1 planned case or training has no" in CliRunner().invoke(app, ["advise", str(untrained), *words]).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--latency", "5"), "--latency 5: write it as 5ms, 300us or 0.005s"),
        (("--budget", "latency=5MB"), "--budget latency=5MB: write it as 5ms, 300us or 0.005s"),
        (
            ("--latency", "5ms", "--budget", "latency= 3ms"),
            "--budget latency=3ms: latency has a limit already: give it once",
        ),
        (("--params", "1 apple"), "--params 1 apple: write it as 1M, 250k or 250000"),
        (("--memory", "64"), "--memory 64: write it as 64MB, 64MiB, 500KB or 1GB"),
        (("--flops", "0"), "--flops 0: write an amount that is more than 0, as 1G or 250M"),
        (("--within", "2"), "--within 2: not a margin of accuracy: write 2% or 0.02"),
        (("--task", "chess"), "which has direction, identity"),
        (
            ("--equal", "flops", "--budget", "seconds"),
            "equal budget: name only one of seconds and flops",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_message(run, arguments, message):
    code, _, error = advise(run, *arguments)
    assert code == 1 and isinstance(error, ConvbenchError)
    assert str(error).endswith(message)
    assert error.exit_code == 2


def test_a_mistake_ends_the_process_without_a_traceback(run):
    command = [sys.executable, "-m", "convbench", "advise", str(run), "--within", "120%"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "convbench: --within 120%: not a margin of accuracy: write 2% or 0.02\n"


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("s", "5ms", 5e-3), ("s", "300us", 3e-4), ("s", "300µs", 3e-4), ("s", "0.005s", 5e-3),
        ("1", "1M", 1e6), ("1", "250k", 2.5e5), ("1", "250000", 2.5e5), ("1", "1.5M", 1.5e6),
        ("B", "64MB", 64e6), ("B", "100KB", 1e5), ("B", "64MiB", 2**26), ("B", "1GB", 1e9), ("B", "512 KiB", 2**19),
        ("B", "8G", 8e9), ("B", "1.5Gi", 1.5 * 2**30), ("B", "8 GiB", 2**33), ("B", "64B", 64),
        ("FLOP", "1G", 1e9), ("FLOP", "250MFLOP", 2.5e8), ("MAC", "250MMAC", 2.5e8),
        ("J", "3mJ", 3e-3), ("J", "12", 12), ("frames/s", "30 frames/s", 30), ("frames/s", "2k", 2000),
    ],
)  # fmt: skip
def test_amounts_are_read_into_base_units(unit, text, value):
    assert amount("--it", text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "-5ms", "5 m s", "5Ms", "1e3ms", "nan", "5ms ms", "0ms"])
def test_an_invalid_amount_is_refused(text):
    with pytest.raises(ConvbenchError, match="as 5ms"):
        amount("--latency", text, "s")


@pytest.mark.parametrize(
    "text", ["", "much", "8 elephants", "-1GB", "8gb ", "64", "0B", "1e9B", "9" * 400 + "B", "8GBB"]
)
def test_an_invalid_amount_of_memory_is_refused(text):
    with pytest.raises(ConvbenchError, match="as 64MB"):
        amount("--memory", text, "B")


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.02", 0.02), ("0.5%", 0.005), ("50 %", 0.5)])
def test_a_margin_is_a_percentage_or_a_share(text, value):
    assert share("--within", text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["2", "0", "0%", "100%", "two", "-1%", "2ms"])
def test_an_invalid_margin_is_refused(text):
    with pytest.raises(ConvbenchError, match=r"write 2% or 0\.02"):
        share("--within", text)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("0.5 m", 30)])
def test_a_duration_is_converted_to_seconds(text, value):
    assert duration("--budget", text) == value


@pytest.mark.parametrize("text", ["", "0s", "-5m", "5 days", "5M", "soon", "9" * 400 + "s"])
def test_an_invalid_duration_is_refused(text):
    with pytest.raises(ConvbenchError, match="not a time: write 90s, 5m or 1h"):
        duration("--budget", text)
