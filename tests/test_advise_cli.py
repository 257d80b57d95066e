"""`convbench advise` as a person uses it: its words in full, its exits, its mistakes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import records
from typer.testing import CliRunner

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.choose import Ask
from convbench.cli.app import app
from convbench.core import store
from convbench.core.errors import ConvbenchError
from convbench.core.quantities import amount, share
from convbench.report.words.advice import different, sentences

DIRECTION = (
    "direction: conv1x1-avg-k(k=4), LSTM input 128, eager. "
    "Accuracy 99.5 % [99.0, 100.0] over 5 seeds (chance 12.5 %); 5.03 ms a call, 133 k parameters, 16.5 MiB, "
    "151 MFLOP. "
    "Of 4 configurations measured it is the fastest that is shown to be within 2.0 points of the best at 95 %, and it "
    "has the highest accuracy itself. "
    "100 % of resamples of seeds and timings pick it again; in 100 % nothing is both cheaper and better."
)
LOOSE = (
    "direction: spatial-softmax, LSTM input 64, eager. "
    "Accuracy 95.1 % [94.5, 95.7] over 5 seeds (chance 12.5 %); 3.98 ms a call, 100 k parameters, 16.4 MiB, 116 MFLOP. "
    "Of 4 configurations measured it is the fastest that is shown to be within 8.0 points of the best at 95 %. "
    "The highest mean, 99.5 %, is that of conv1x1-avg-k(k=4), LSTM input 128; "
    "this is at most 5.1 points below the best. "
    "The next better point, conv1x1-avg-k(k=4), LSTM input 128, eager, gains 4.4 points, "
    "for 1.04 ms a call more and 33.0 k parameters more. "
    "100 % of resamples of seeds and timings pick it again; in 100 % nothing is both cheaper and better."
)
MISSED = (
    "direction: no recommendation: nothing meets the budget. "
    "Nearest: latency at least 3.02 ms (the limit is 1.00 ms); parameters at least 83.8 k (the limit is 50.0 k)."
)


def words(found, ask, task="direction"):
    (one,) = recommendations(found, ask, [task])
    return " ".join(sentences(one))


@pytest.fixture
def run(tmp_path):
    found = records.quality_records()
    dead = [records.lesson(0.125, seed=s, of=records.case("gmp"), flag="dead_run") for s in range(5)]
    return stored(tmp_path / "full", [*found, *dead])


def stored(directory, found, **more):
    store.start(directory, records.run_of(found, **more))
    for one in found:
        store.append(directory, one)
    return directory


def advise(*arguments):
    done = CliRunner().invoke(app, ["advise", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split()), done.exception


def test_the_words_of_a_pick():
    assert words(records.quality_records(), Ask()) == DIRECTION


def test_the_words_of_a_pick_that_is_not_the_best_have_a_price():
    assert words(records.quality_records(), Ask(within=0.08)) == LOOSE


def test_the_words_of_a_budget_that_nothing_meets():
    assert words(records.quality_records(), Ask({"latency": 1e-3, "params": 5e4})) == MISSED


def test_binding_limits_are_named():
    said = words(records.quality_records(), Ask({"latency": 4.5e-3, "params": 1e6}))
    assert "Binding: the latency of 4.50 ms; without it the answer would change." in said
    said = words(records.quality_records(), Ask({"params": 1e6}))
    assert "No limit binds: each could be lifted without changing this." in said


def test_the_words_of_no_effect():
    found = [records.record(records.case(name), latency=t) for name, t in (("gap", 1e-3), ("gmp", 2e-3), ("gem", 3e-3))]
    noise = {"gap": (0.61, 0.58, 0.6), "gmp": (0.59, 0.6, 0.61), "gem": (0.6, 0.62, 0.58)}
    found += [records.lesson(v, seed=s, of=records.case(n)) for n in noise for s, v in enumerate(noise[n])]
    said = words(found, Ask())
    assert said.startswith("direction: no recommendation: no difference in quality was found (p = ")
    assert "The fastest is gap, LSTM input 32, eager (59.7 % [55.9, 63.5] over 3 seeds; " in said
    assert said.endswith("points between two configurations would have been seen in four of five such runs.")


def test_the_words_of_an_edge():
    found = []
    for size, mean, t in ((8, 0.5, 1e-3), (16, 0.8, 2e-3)):
        of = records.case("fc(activation=true)", size)
        found += [records.record(of, latency=t)]
        found += [records.lesson(mean + s / 500, seed=s, of=of) for s in range(4)]
    assert words(found, Ask()) == (
        "direction: no recommendation: the best is at the edge of the sweep. fc(activation=true), LSTM input 16 has "
        "80.3 %, 30.0 points more than at 8, and no larger size was tried: extend lstm_input to 32 and beyond."
    )


def test_the_words_of_too_much_noise():
    found, far = [], {"gap": (0.3, 0.31, 0.29), "gmp": (0.9, 0.8, 0.95), "gem": (0.85, 0.93, 0.84)}
    for i, name in enumerate(far):
        found += [records.record(records.case(name), latency=1e-3 * (i + 1))]
        found += [records.lesson(v, seed=s, of=records.case(name)) for s, v in enumerate(far[name])]
    said = words(found, Ask())
    assert said.startswith(
        "direction: no recommendation: too noisy to show what is within the margin of the best. "
        "The highest mean is gmp, LSTM input 32, eager (88.3 % ["
    )
    assert " seeds instead of 3, or a margin of --within " in said


def test_tasks_that_want_different_configurations_are_said_to():
    assert different(recommendations(records.quality_records(), Ask())) == (
        "Different tasks want different configurations, so there is no one best here: direction: conv1x1-avg-k(k=4), "
        "LSTM input 128, eager; identity: gap, LSTM input 32, eager."
    )
    assert different(recommendations(records.quality_records(tasks=["identity"]), Ask())) == ""


def test_a_pick_for_every_task_exits_0(run):
    code, out, _ = advise(run)
    assert code == 0
    assert out.startswith(
        "Test accuracy after equal steps of short training; costs of a call on a clip 1x16x3x64x64, cpu, fp32. "
        "direction: conv1x1-avg-k(k=4), LSTM input 128, eager."
    )
    assert "Left out: gmp 32 (every run predicted one class)." in out
    assert "Different tasks want different configurations" in out


def test_a_file_of_the_run_will_do(run):
    assert advise(run / "results.jsonl", "--task", "identity")[0] == 0


def test_without_a_pick_for_any_it_exits_3(run):
    code, out, _ = advise(run, "--latency", "1ms")
    assert code == 3
    assert out.count("nothing meets the budget") == 2


def test_every_limit_reaches_the_rule(run):
    limits = ("--latency", "4.5ms", "--params", "1M", "--memory", "64MB", "--flops", "1G", "--within", "2%")
    code, out, _ = advise(run, *limits, "--task", "direction", "--budget", "flops", "--cheapest", "params")
    assert code == 0
    assert "direction: spatial-softmax, LSTM input 64, eager." in out
    assert "Test accuracy after equal training FLOPs" in out
    assert "identity" not in out


def test_json_holds_the_same_answer(run):
    done = CliRunner().invoke(app, ["advise", str(run), "--json", "--within", "8%"])
    direction, identity = json.loads(done.output)
    assert done.exit_code == 0
    assert direction["pick"]["case"].startswith("conv/spatial-softmax/64/")
    assert direction["price"]["next"]["params"] > direction["pick"]["params"]
    assert [one["why"] for one in direction["excluded"]] == ["dead"]
    assert identity["words"].startswith("identity: gap")


def test_json_of_an_abstention_has_its_reason(run):
    done = CliRunner().invoke(app, ["advise", str(run), "--json", "--latency", "1ms"])
    assert done.exit_code == 3
    assert [(one["pick"], one["reason"]) for one in json.loads(done.output)] == [(None, "over-budget")] * 2


@pytest.mark.parametrize(
    ("command", "suite"), [("convbench run suites/mine.yaml variant=eager", "suites/mine.yaml"), ("merged", "default")]
)
def test_a_run_without_trials_says_how_to_get_them(tmp_path, command, suite):
    directory = stored(tmp_path / "run", [records.record()], command=command)
    code, out, _ = advise(directory)
    said = f"quality was not run in {directory}: run `convbench run {suite} quality=train`"
    assert (code, out) == (3, said)
    assert json.loads(CliRunner().invoke(app, ["advise", str(directory), "--json"]).output)["words"] == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--latency", "5"), "--latency 5: not an amount of it: write 5ms, 300us or 0.005s"),
        (("--params", "1 apple"), "--params 1 apple: not an amount of it: write 1M, 250k or 250000"),
        (("--memory", "64"), "--memory 64: not an amount of it: write 64MB, 64MiB or 1GB"),
        (("--flops", "0"), "--flops 0: not an amount of it: write 1G or 250M"),
        (("--within", "2"), "--within 2: not a margin of accuracy: write 2% or 0.02"),
        (("--task", "chess"), "it has direction, identity"),
    ],
)
def test_a_mistake_is_told_in_one_message(run, arguments, said):
    code, _, error = advise(run, *arguments)
    assert code == 1 and isinstance(error, ConvbenchError)
    assert str(error).endswith(said)
    assert error.exit_code == 2


def test_a_mistake_ends_a_process_without_traceback(run):
    command = [sys.executable, "-m", "convbench", "advise", str(run), "--within", "120%"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "convbench: --within 120%: not a margin of accuracy: write 2% or 0.02\n"


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("s", "5ms", 5e-3), ("s", "300us", 3e-4), ("s", "300µs", 3e-4), ("s", "0.005s", 5e-3),
        ("1", "1M", 1e6), ("1", "250k", 2.5e5), ("1", "250000", 2.5e5), ("1", "1.5M", 1.5e6),
        ("B", "64MB", 64e6), ("B", "64MiB", 2**26), ("B", "1GB", 1e9), ("B", "512 KiB", 2**19),
        ("B", "8G", 8e9), ("B", "1.5Gi", 1.5 * 2**30), ("B", "8 GiB", 2**33), ("B", "64B", 64),
        ("FLOP", "1G", 1e9), ("FLOP", "250MFLOP", 2.5e8), ("MAC", "250MMAC", 2.5e8),
        ("J", "3mJ", 3e-3), ("J", "12", 12), ("frames/s", "30 frames/s", 30), ("frames/s", "2k", 2000),
    ],
)  # fmt: skip
def test_amounts_are_read_into_base_units(unit, text, value):
    assert amount("--it", text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "ms", "-5ms", "5 m s", "5Ms", "1e3ms", "nan", "5ms ms", "0ms"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ConvbenchError, match="write 5ms"):
        amount("--latency", text, "s")


@pytest.mark.parametrize(
    "text", ["", "much", "8 elephants", "-1GB", "8gb ", "64", "0B", "1e9B", "9" * 400 + "B", "8GBB"]
)
def test_what_is_no_amount_of_memory_is_refused_by_every_verb(text):
    with pytest.raises(ConvbenchError, match="write 64MB"):
        amount("--memory", text, "B")


@pytest.mark.parametrize(("text", "value"), [("2%", 0.02), ("0.02", 0.02), ("0.5%", 0.005), ("50 %", 0.5)])
def test_margins(text, value):
    assert share("--within", text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["2", "0", "0%", "100%", "two", "-1%", "2ms"])
def test_what_is_no_margin_is_refused(text):
    with pytest.raises(ConvbenchError, match=r"write 2% or 0\.02"):
        share("--within", text)
