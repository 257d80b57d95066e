"""Quality in a suite: the trials that a suite expands to, and a whole run of them from the command line."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from convbench.analysis.quality.qualities import qualities
from convbench.cli import app
from convbench.core.errors import Impossible, SuiteError
from convbench.core.record import Parts, Training
from convbench.core.storage import store
from convbench.runs import user_code
from convbench.runs.process.processes import Processes
from convbench.runs.process.running import ProcessCall
from convbench.suite import load
from convbench.suite.selection import Selection

SUITE = """
matrix:
  backbone: {name: conv, channels: 4}
  rnn: lstm8
  clip: 1x3x1x16x16
  head: [null, 3]
  variant: [eager, channels_last]
  reducer: [gap, gmp]
training:
  tasks: [identity, {name: identity, jitter: [0.0, 0.5]}]
  seeds: 2
  learning_rates: [0.01, 0.1]
  controls: frame-shuffle
  batch: 8
  steps: 6
  checkpoints: 3
  train_clips: 40
  val_clips: 20
  test_clips: 20
protocol: {max_warmup: 0.01, max_time: 0.01, min_samples: 1}
metrics: [params, latency]
"""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return str(path)


def test_a_suite_has_no_trials_by_default(suite: str) -> None:
    assert all(case.trial is None for case in load(suite).cases)


def test_every_architecture_is_probed_once_across_variants(suite: str) -> None:
    cases = [case for case in load(suite, ["quality=probe"]).cases if case.trial]
    assert [case.id for case in cases] == [
        f"conv(channels=4)/{reducer}/map/lstm8/8x3x1x16x16/eager/probe/cpu/placed-digit/seed=0"
        for reducer in ("gap", "gmp")
    ]


def test_trainings_cover_all_combinations_in_a_fixed_order(suite: str) -> None:
    loaded = load(suite, ["quality=train"])
    cases = [case for case in loaded.cases if case.trial]
    assert len(cases) == 2 * 3 * 2 * 2 * 2 == len({case.id for case in cases})
    start = "conv(channels=4)/gap/map/lstm8/8x3x1x16x16/eager/learn/cpu"
    assert [case.id for case in cases if "gap" in case.id][:5] == [
        f"{start}/identity/lr=0.01/seed=0",
        f"{start}/identity/lr=0.1/seed=0",
        f"{start}/identity/lr=0.01/seed=0/frame-shuffle",
        f"{start}/identity/lr=0.1/seed=0/frame-shuffle",
        f"{start}/identity(jitter=0.0)/lr=0.01/seed=0",
    ]
    assert loaded.protocol.training == Training(6, 3, 40, 20, 20)


def test_too_many_trainings_are_counted_without_listing_them(suite: str) -> None:
    with pytest.raises(SuiteError, match=r"training: 24,000,000,000 trainings \(2 models x 2 controls x 3 tasks"):
        load(suite, ["quality=train", f"training.seeds={10**9}"])


def test_evaluated_variants_have_no_controls_and_count_once(suite: str) -> None:
    """Two models with a control, and their two variants without, give 6 trainings per task, rate and seed."""
    names = ["quality=train", "matrix.variant=[eager, int8]", "training.tasks=[identity]", "training.seeds=2000"]
    with pytest.raises(
        SuiteError, match=r"24,000 trainings \(\(2 models x 2 controls \+ 2 evaluated in variants\) x 1 "
    ):
        load(suite, names)


def test_three_learning_rates_are_the_default(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SUITE.replace("  learning_rates: [0.01, 0.1]\n", ""))
    trials = [case.trial for case in load(str(tmp_path / "small.yaml"), ["quality=train"]).cases]
    assert {trial.learning_rate for trial in trials if trial} == {0.0005, 0.002, 0.008}


def test_later_seeds_use_the_rate_chosen_by_the_first(suite: str, tmp_path: Path) -> None:
    """Two models, two rates for two seeds, then the best rate from the third: 8 and 2 trainings, not 12."""
    out = tmp_path / "out"
    words = ["run", suite, "quality=train", "training.seeds=3", "training.tasks=[identity]", "matrix.variant=eager"]
    words += ["training.controls=null", "protocol.visits=1", "metrics=params", "head=null"]
    plan = CliRunner().invoke(app, [*words, "--dry-run"])
    assert "10 cases to measure, of 14 combinations in the suite, and 2 trainings more" in plan.stderr
    assert "seed=2" not in plan.stdout
    assert CliRunner().invoke(app, [*words, "--out", str(out), "--quiet"]).exit_code == 0
    run, records = store.load(out)
    assert len(run.planned) == 10
    assert [name.rpartition("/")[2] for name in run.later] == ["seed=2"] * 2
    assert run.open_ids(records) == []
    trained = [record.case for record in records if record.case.trial]
    trained_qualities = qualities(records)
    assert [(quality.ended, len(quality.by_rate)) for quality in trained_qualities] == [(3, 2), (3, 2)]
    later = {case.architecture.reducer.name: case.trial.learning_rate for case in trained if case.trial.seed == 2}
    assert later == {quality.architecture.reducer.name: quality.learning_rate for quality in trained_qualities}
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(lines[:-1]))
    again = CliRunner().invoke(app, [*words, "--out", str(out), "--resume"])
    assert again.exit_code == 0
    assert "[12/12]" in again.stderr, "of 10 planned trainings and models, and 2 trainings at the best rate"
    assert len(store.load(out)[1]) == len(records) == 12


def test_seeds_that_were_not_selected_are_not_trained_later(suite: str, tmp_path: Path) -> None:
    words = ["run", suite, "quality=train", "training.seeds=3", "matrix.variant=eager", "--only", "seed=0", "--dry-run"]
    assert "more" not in CliRunner().invoke(app, words).stderr


@pytest.mark.parametrize(("more", "trains"), [([], False), (["quality=train"], True), (["training.seeds=1"], True)])
@pytest.mark.parametrize("words", [["--metrics", "params"], ["metrics=params"]])
def test_command_line_metrics_exclude_trainings_not_requested_there(
    words: list[str], more: list[str], trains: bool, tmp_path: Path
) -> None:
    """``run quality --metrics params``, a matter of seconds, used to train for ten minutes."""
    (tmp_path / "trains.yaml").write_text(f"{SUITE}quality: train\n")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "trains.yaml"), *words, "--dry-run", *more])
    assert done.exit_code == 0, done.stderr
    assert ("/learn/" in done.stdout) is trains
    assert ("convbench: the metrics leave out " in done.stderr) is not trains


def test_metrics_of_a_call_exclude_trainings_unlike_a_suites(tmp_path: Path) -> None:
    """``convbench.run("quality", metrics="params")`` used to train for ten minutes."""
    (tmp_path / "trains.yaml").write_text(f"{SUITE}quality: train\n")
    written = load(str(tmp_path / "trains.yaml"))
    assert any(case.trial for case in written.cases)
    assert (written.left_out, written.overrides) == ((), ())
    called = load(str(tmp_path / "trains.yaml"), ["metrics=[params]"])
    assert not any(case.trial for case in called.cases)
    assert called.overrides == ("metrics=[params]", "quality=none")
    assert len(called.cases) + len(called.left_out) == len(written.cases)
    assert load(str(tmp_path / "trains.yaml"), called.overrides).cases == called.cases


@pytest.mark.parametrize("quality", ["probe", "train"])
def test_the_hint_for_excluded_trials_names_the_suites_quality(quality: str, tmp_path: Path) -> None:
    """For a suite that probes, the hint used to be to train."""
    (tmp_path / "own.yaml").write_text(f"{SUITE}quality: {quality}\n")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "own.yaml"), "--metrics", "params", "--dry-run"])
    assert f"of quality: add quality={quality} for them" in done.stderr


def test_the_trainings_of_a_model_on_a_task_share_a_shard(suite: str) -> None:
    """The learning rate is chosen among them. Together, the two shards hold every case."""
    cases = [case for case in load(suite, ["quality=train", "training.seeds=3"]).cases if case.trial]
    shards = [Selection(shard=(index, 2)).part(cases) for index in (1, 2)]
    assert sorted(case.id for shard in shards for case in shard) == sorted(case.id for case in cases)
    kinds = [{(case.architecture, case.trial.task, case.trial.control) for case in shard} for shard in shards]
    assert not kinds[0] & kinds[1]


PROFILES = sorted(path.stem for path in Path("suites").glob("*.yaml") if "quality: train" in path.read_text("utf-8"))


@pytest.mark.parametrize("name", PROFILES)
def test_every_published_profile_trains_at_three_rates_or_more(name: str) -> None:
    rates: dict[object, set[float | None]] = defaultdict(set)
    for case in load(f"suites/{name}.yaml").cases:
        if case.trial and case.trains:
            rates[case.architecture, case.trial.task, case.trial.seed].add(case.trial.learning_rate)
    assert rates
    assert min(map(len, rates.values())) >= 3


@pytest.mark.parametrize("name", ["quality", "quality-full", "claims"])
def test_quality_profiles_train_with_and_without_layer_norm(name: str) -> None:
    models = [case.architecture for case in load(f"suites/{name}.yaml").cases if case.trial]
    pooled = {model for model in models if isinstance(model, Parts) and model.reducer.name == "gap"}
    assert {model.layer_norm for model in pooled} == {False, True}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("quality=yes", "quality"),
        ("training.tasks=identiy", "unknown 'identiy'; did you mean 'identity'?"),
        ("training.tasks=identity(jiter=1)", "identity has no option 'jiter'; did you mean 'jitter'?"),
        ("training.controls=shuffle", "training.controls"),
        ("training.steps=2", "2 steps are fewer than 3 checkpoints"),
        ("training.learning_rates=0", "training.learning_rates"),
        ("training.lr=1", "lr"),
    ],
)
def test_mistakes_in_the_training_section_are_reported(suite: str, override: str, words: str) -> None:
    with pytest.raises(SuiteError) as error:
        load(suite, ["quality=train", override])
    assert words in str(error.value)


def test_every_parameter_of_an_own_clips_function_is_an_option(suite: str) -> None:
    """``def clips(count=40)`` used to have "no option 'count': it takes none"."""
    at = "training.tasks=plugins.own_clips:plainly"
    cases = load(suite, ["quality=train", f"{at}(count=60)"]).cases
    assert {str(case.trial.task) for case in cases if case.trial} == {"plugins.own_clips:plainly(count=60)"}
    with pytest.raises(SuiteError, match="no option 'size'"):
        load(suite, ["quality=train", f"{at}(size=60)"])
    with pytest.raises(SuiteError, match="no option 'seed'"):
        load(suite, ["quality=train", "training.tasks=convbench.plugins.tasks.direction:direction(seed=1)"])


def test_a_glob_selects_the_architectures_to_train(suite: str) -> None:
    cases = load(suite, ["quality=train", "training.only=[gmp]"]).cases
    assert {str(case.architecture).split("/")[1] for case in cases if case.trial} == {"gmp"}


def test_a_glob_that_matches_no_architecture_is_an_error(suite: str) -> None:
    """A typo beside a good pattern, or an id from a report, in which sizes are resolved."""
    resolved = "conv(channels=4)/gap/4/lstm8/1x3x1x16x16/eager/inference/cpu"
    for pattern in ("gem", resolved):
        said = rf"training.only: '{re.escape(pattern[:40])}.* matches no case: ids are matched as .*/map/"
        with pytest.raises(SuiteError, match=said):
            load(suite, ["quality=train", f"training.only=[gmp, '{pattern}']"])


def test_quality_without_any_architecture_is_an_error(suite: str) -> None:
    with pytest.raises(SuiteError, match="no architecture to try"):
        load(suite, ["matrix={model: plugins.needs_option:model}", "quality=train"])


def test_a_run_with_trainings_is_stored_resumed_and_reported(suite: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["run", suite, "--out", str(out), "quality=train", "training.tasks=[identity]", "matrix.variant=eager"]
    words += ["training.controls=null", "training.learning_rates=0.01", "protocol.visits=1", "--quiet"]
    assert CliRunner().invoke(app, words).exit_code == 0
    records = store.load(out)[1]
    trials = [record for record in records if record.case.trial]
    assert [record.status for record in records] == ["ok"] * len(records)
    assert (len(records) - len(trials), len(trials)) == (4, 4)
    lines = (out / "results.jsonl").read_text().splitlines(keepends=True)
    (out / "results.jsonl").write_text("".join(lines[:-1]))
    assert CliRunner().invoke(app, [*words, "--resume"]).exit_code == 0
    again = json.loads((out / "results.jsonl").read_text().splitlines()[-1])
    before = json.loads(lines[-1])
    assert again["case"] == before["case"]
    assert _accuracies(again) == _accuracies(before)


def _accuracies(record: dict[str, object]) -> list[object]:
    readings: list[dict[str, object]] = record["readings"]  # type: ignore[assignment]
    return [reading["samples"] for reading in readings if reading["metric"]["name"] != "train_seconds"]  # type: ignore[index]


def test_an_impossible_task_is_refused_before_anything_runs(suite: str, tmp_path: Path) -> None:
    words = ["run", suite, "--out", str(tmp_path / "out"), "quality=train", "clip=1x3x1x8x8"]
    ended = CliRunner().invoke(app, words)
    assert isinstance(ended.exception, Impossible)
    assert "48 of the suite's cases" in str(ended.exception)
    assert str(ended.exception).count("too small for a digit") == 1
    assert "seed=0 and 47 more: " in str(ended.exception)
    assert not (tmp_path / "out").exists()


def test_checking_cases_allows_time_to_load_their_clips(suite: str) -> None:
    """Own clips that took over two minutes to load gave "no result", whatever protocol.timeout was."""
    limits: list[float] = []

    class Answering(Processes):
        def __init__(self) -> None:
            """Starts nothing."""

        def run(self, call: ProcessCall[str]) -> str:
            limits.append(call.timeout)
            return call.work(*call.args)

    for quality in ("none", "train"):
        cases = load(suite, [f"quality={quality}"]).cases
        assert user_code.call_safely(Answering(), str, (1,), "checking", cases) == "1"
        limits[-1] -= user_code.SECONDS + user_code.SECONDS_A_CASE * len(cases)
    assert limits == pytest.approx([0, 3 * 300], abs=1e-6)
