"""The numbers on pages and in READMEs are those of the stored files that they come from."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import binomtest
from stored_tables import MARKED, PAGES, REPORTS, ROOT, TABLES, gate_figures, read, rows_of, with_tables

from convbench.core.scales import percent

METHOD = ROOT / "docs" / "method"
README, TUTORIAL = ROOT / "README.md", ROOT / "docs" / "tutorial.md"


def says(page: Path, sentence: str) -> None:
    """Assert that the page has the sentence, wherever its lines end."""
    assert sentence in " ".join(re.sub(r"^(> ?|- )", "", page.read_text(), flags=re.MULTILINE).split())


def ends(values, places: int = 0) -> str:
    return f"{min(values):.{places}f} to {max(values):.{places}f}"


def whole(share: float) -> str:
    return percent(share, places=0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_marked_tables_are_those_of_the_stored_files(page):
    assert page.read_text() == with_tables(page.read_text()), "run make tables"


def test_every_table_is_on_one_page():
    assert sorted(mark[1] for page in PAGES for mark in MARKED.finditer(page.read_text())) == sorted(TABLES)


def test_the_gate_page_counts_the_pairs_that_are_recorded():
    logs = [log for trial in rows_of("gate/trials.jsonl") if not trial["slowdown"] for log in trial.get("logs", ())]
    tenth, fourth, second = (percent(sum(log > math.log1p(by) for log in logs) / len(logs)) for by in (0.1, 0.04, 0.02))
    slower = f"{tenth} were 10 % slower, {fourth} were 4 % slower, and {second} were 2 % slower"
    says(METHOD / "gate.md", f"{len(logs):,} recorded pairs of the same code, {slower}")


def test_the_gates_verdicts_and_seconds():
    page, rows = METHOD / "gate.md", gate_figures()
    verdicts = {key: int(row["verdicts"].split()[0]) for key, row in rows.items() if key[0] == "convbench"}
    quiet, beside = (verdicts["convbench", "+0 %", hogs] for hogs in "01")
    slowed = sum(verdicts["convbench", "+5 %", hogs] for hogs in "01")
    assert {rows[key]["undecided"] for key in verdicts} == {"0"}
    says(page, f"of {sum(verdicts.values()):,} verdicts none was undecided and none wrong")
    bounds = [percent(binomtest(0, count // 6).proportion_ci(method="exact").high) for count in (quiet, beside)]
    says(page, f"none of {quiet // 6} was red on the same code (at most {bounds[0]})")
    says(page, f"none of {beside // 6} beside hogs (at most {bounds[1]})")
    says(README, f"{quiet + beside:,} verdicts on unchanged code, {beside} of them beside CPU hogs")
    says(README, f"found all {slowed} slowdowns of 5 %")
    alone = {put_in: row for (tool, put_in, _), row in rows.items() if tool == "convbench, one case"}
    same, *seconds = (alone[put_in]["s a case, median"] for put_in in ("+0 %", "+25 %", "+10 %", "+5 %"))
    says(page, f"it takes {same} s on the same code, and {seconds[0]}, {seconds[1]} and {seconds[2]} s to red")
    says(page, f"All {sum(int(row['verdicts'].split()[0]) for row in alone.values())} such checks were right too")
    says(page, f"The ten smoke cases took {ends([line['seconds'] for line in rows_of('gate/smoke.jsonl')])} s")
    searches = [line for line in rows_of("gate/searches.jsonl") if line.get("looks", True)]
    named, seconds = sum(line["named"] for line in searches), ends([line["seconds"] for line in searches])
    says(page, f"the right commit in {named} of {len(searches)} searches, which took {seconds} s each")


def test_how_well_two_runs_agree():
    page, stored = METHOD / "measuring.md", read("repeat/repeat.json")
    minutes = {name: f"{run['seconds'] / 60:.1f}" for name, run in stored["seconds"].items()}
    walls = (("quiet-1", "quiet-2"), ("quiet-1", "hogs-1"), ("hogs-1", "hogs-2"))
    for run, (first, second) in zip(stored["runs"].values(), walls, strict=True):
        factors = ", ".join(f"{factor:.2f}" for factor in run["factors"])
        agreed = f"| {whole(run['meet'])} | {factors} | {run['contradicted']} of {run['apart']:,} |"
        says(page, f"{agreed} {percent(run['half_width'])} | {minutes[first]} and {minutes[second]} |")
    pairs = stored["every_two"]
    assert (pairs["contradicted"], pairs["same_pick"]) == (0, pairs["pairs"])
    says(page, f"In the worst of the {pairs['pairs']} pairs, {whole(pairs['least_meet'])} of the intervals meet")
    says(page, f"medians differ by a factor of {pairs['worst_factor']:.2f}. None of {pairs['apart']:,} pairs")
    ours, timer, script, optimum = (
        f"{stored['side_by_side'][name]['seconds_a_case']:.0f} s"
        for name in ("convbench", "timer", "script", "optimum")
    )
    says(page, f"{stored['side_by_side']['convbench']['seconds_a_process']:.1f} s, {ours} in all.")
    says(page, f"takes {timer}, a script that hyperfine starts takes {script}, and")
    says(page, f"optimum-benchmark's scenario takes {optimum}")


def test_how_often_the_advice_is_right():
    page, stored = METHOD / "quality.md", read("bench/advice.json")
    kinds = stored["known"] | stored["blind"]
    says(page, f"{stored['runs']} of each kind (`reports/bench/advice.json`).")
    says(page, f"{len(stored['blind'])} of the {len(kinds)} kinds are *blind*")
    bounds = [100 * row["bounds"] for row in kinds.values() if row["bounds"] is not None]
    says(page, f"holds in {ends(bounds)} % of the answers")
    rates = {name: row["rates"] for name, row in kinds.items() if row["rates"] is not None}
    names = ("10 test clips", "15 of 100 own clips", "15 of 100 own clips, 20 seeds")
    ten, fifteen, twenty = (whole(rates.pop(name)) for name in names)
    says(page, f"collapses holds in {ends([100 * rate for rate in rates.values()])} %")
    says(
        page,
        f"With ten test clips it holds in {ten}, and with fifteen in {fifteen} (five seeds) or {twenty} (20 seeds)",
    )
    noisy = kinds["noise of all sizes, close together"]
    right, lost, wrong = (whole(noisy[name]) for name in ("exact", "none", "wrong"))
    says(page, f"{right} of the answers are right, {lost} have no pick and {wrong} are wrong")
    says(page, f"{percent(noisy['sure_and_wrong'])} are wrong and graded sure")
    own, own_twenty = kinds["15 of 100 own clips"], kinds["15 of 100 own clips, 20 seeds"]
    right, none, wrong = whole(own["exact"] + own["valid"]), whole(own["none"]), percent(own["wrong"])
    interval = binomtest(round(own["wrong"] * stored["runs"]), stored["runs"]).proportion_ci(method="wilson")
    low, high = percent(interval.low).removesuffix(" %"), percent(interval.high)
    says(page, f"{right} of the answers are right, {none} have no pick and {wrong} are wrong ({low} to {high})")
    says(page, f"with 20 seeds, {percent(own_twenty['wrong'])} are wrong")
    few = kinds["four seeds, two noisy"]
    says(page, f"in {percent(few['wrong'])} of the answers, and grades it sure in {percent(few['sure_and_wrong'])}")


def test_the_quality_pages_examples():
    page, text = METHOD / "quality.md", (REPORTS / "example" / "quality.html").read_text()
    seen = re.findall(r"a difference of ([\d.]+) points[^.]*four times in five", text)
    identity, direction = (f"{float(points):.0f}" for points in seen[:2])
    says(page, f"three seeds detect a difference of {identity} points on `identity` and of {direction} on `direction`")
    trials = [
        line
        for name in ("claims", "claims-dials")
        for line in rows_of(f"{name}/results.jsonl")
        if line["case"]["trial"]
    ]
    says(page, f"# {len(trials)} trainings")
    reached = {_trained(line): _accuracy(line) for line in rows_of("claims/results.jsonl") if line["case"]["trial"]}
    fc = [reached["fc", 64, False, "identity", 0, rate] for rate in (0.0005, 0.002)]
    says(page, f"reaches {percent(fc[0])} with a rate of 0.0005, {percent(fc[1])} with 0.002")
    with_norm, without = (
        [100 * reached["gap", 64, norm, "direction", seed, 0.002] for seed in range(5)] for norm in (True, False)
    )
    says(page, f"reaches {ends(with_norm, 1).replace('100.0', '100')} % in the five seeds, and {ends(without, 1)} %")


def _trained(line):
    """Return what a plain training was of; None for a control and for options of the task or the reducer."""
    parts, trial = line["case"]["architecture"], line["case"]["trial"]
    if trial["control"] or trial["task"]["options"] or parts["reducer"]["options"]:
        return None
    reducer, size, norm = parts["reducer"]["name"], parts["lstm_input"], parts["layer_norm"]
    return reducer, size, norm, trial["task"]["name"], trial["seed"], trial["learning_rate"]


def _accuracy(line):
    return next((of["samples"][-1] for of in line["readings"] if of["metric"]["name"] == "test_accuracy"), None)


def test_the_history_pages_numbers_are_those_of_its_table():
    page = METHOD / "history.md"
    false = dict(re.findall(r"^\| ([\w ]+) \| convbench \|.* (\d+) false \|$", page.read_text(), re.MULTILINE))
    says(page, f"{false['nothing']} false changes in 800 series of noise alone, {false['spikes']} with spikes, ")
    says(page, f"{false['drift']} with drift. Runs at two speeds and wandering cases have more: ")
    says(page, f"{false['two speeds']} and {false['wandering']}.")


def test_the_cluster_readmes_numbers():
    page = REPORTS / "cluster" / "README.md"
    costs, hosts, trials, scaling = (read(f"cluster/{name}.json") for name in ("costs", "hosts", "trials", "scaling"))
    says(page, f"a worker's start ({costs['worker_start_s']:.0f} s)")
    says(page, f"the gaps between visits ({costs['between_visits_s']:.2f} s)")
    for rows in scaling["hosts"].values():
        *shares, last = (f"{100 * row['utilisation']:.1f}" for row in rows.values())
        says(page, f"{', '.join(shares)} and **{last} %**")
    worst, right = (percent(hosts[name], places=2) for name in ("error_worst", "right"))
    says(page, f"within {percent(hosts['error_median'])} (median) and {worst} (worst of 80)")
    says(page, f"{right} of the pairs are ranked right, and intervals cover {whole(hosts['covered'])}")
    first, second, third = trials["seconds"].values()
    says(page, f"{trials['trainings']} trainings on Ray clusters of 1, 2 and 4 workers here")
    says(page, f": {first}, {second} and {third} s on two cores")


def test_the_runtimes_readmes_numbers():
    page, html = REPORTS / "deploy" / "README.md", (REPORTS / "deploy" / "index.html").read_text()
    text = " ".join(re.sub("<[^>]+>", "", html).replace("&#39;", "'").split())
    answers = re.findall(r"^> ((?:.+\n)(?:> .+\n)*)", page.read_text(), re.MULTILINE)
    assert [answer for answer in answers if " ".join(answer.replace("\n>", "").split()) not in text] == []
    table = pd.read_csv(REPORTS / "deploy" / "results.csv").query("scenario == 'inference'")
    says(page, f"All {2 * len(table)} cases were measured")
    seconds = table.set_index(["variant", "reducer"]).latency_s_median
    slower = seconds.xs("fc", level=1) / seconds.xs("gap", level=1)
    says(page, f"{slower['eager']:.1f}× as slow as gap in eager, is {slower['onnxruntime']:.1f}× as slow in ONNX")
    says(page, f"Runtime and {slower['openvino']:.0f}× in OpenVINO")
    rows = pd.DataFrame(read("deploy/bench.json")["rows"])
    is_gap, is_clip = rows.case.str.contains("/gap/"), rows.case.str.contains("/inference/")
    off = 100 * (rows.ratio_held[is_gap] - 1).abs()
    assert sum(off <= 3) == 5
    says(page, f"the others are {ends(off[off > 3], 1)} % off")
    clips, frames = ends(rows.ratio_held[~is_gap & is_clip], 2), ends(rows.ratio_held[~is_gap & ~is_clip], 2)
    says(page, f"{clips} for a clip, {frames} for a frame")
    excluded = (rows.low_held > 1) | (rows.high_held < 1)
    assert (sum(excluded & is_gap), sum(excluded & ~is_gap)) == (0, 4)


def test_the_example_is_what_the_first_pages_quote():
    example = pd.read_csv(REPORTS / "example" / "results.csv")
    says(README, f"{example.variant.str.contains('compile').sum()} of the {len(example)} cases are compiled")
    eager = example.query("variant == 'eager' and scenario == 'inference'").set_index(["reducer", "lstm_input"])
    gap, flatten = eager.loc["gap", 32], eager.loc["flatten", 131072]
    sizes = f"{gap.params / 1e3:.0f} thousand parameters or {flatten.params / 1e6:.0f} million"
    says(README, sizes)
    takes = f"{1e3 * gap.latency_s_median:.0f} ms or {1e3 * flatten.latency_s_median:.0f}"
    says(ROOT / "docs" / "index.md", f"{sizes}, whether it takes {takes}")
    page = (REPORTS / "example" / "index.html").read_text()
    variant, name, latency = re.search(r"Faster in (\S+): (\S+) at LSTM input \d+, ([\d.]+ ms)", page).groups()
    says(TUTORIAL, f"`{name}` takes {latency} in `{variant}`")
    tied, low, high, pick = re.search(
        r"(\w+) reducers tie on conv at ([\d.]+) to ([\d.]+) ms; take (\S+)", page
    ).groups()
    says(TUTORIAL, f"{tied.lower()} reducers tie at {low} to {high} ms; of these, `{pick}`")
    verdicts = Counter(claim["verdict"] for claim in read("claims/claims.json")["claims"])
    says(TUTORIAL, f"quotes {verdicts.total()} claims")
    says(TUTORIAL, f"{verdicts['supported']} claims hold, {verdicts['refuted']} are refuted")
    says(TUTORIAL, f"and {verdicts['undecided']} are undecided")


def test_the_stored_runs_have_their_days():
    page = REPORTS / "README.md"
    (day,) = {read(f"{name}/run.json")["started"][:10] for name in ("example", "example/quality")}
    says(page, f"`convbench run quality` | {day} |")
    for name in ("claims", "claims-dials"):
        says(
            page,
            f"`convbench claims reports/claims reports/claims-dials` | {read(f'{name}/run.json')['started'][:10]} |",
        )
    (day,) = re.findall(r"(2026-\d\d-\d\d) \d\d:\d\d UTC", (REPORTS / "deploy" / "index.html").read_text())
    says(page, f"`tests/bench/deploy.py` | {day};")
    article = read("gpu/article/run.json")
    says(page, f"`gpu/article/index.html` is of {article['started'][:10]} (version {article['convbench']}")
    assert article["environment"]["commit"].startswith(re.search(r"0\.1\.0, commit `(\w+)`", page.read_text())[1])


def test_the_gpu_summarys_numbers():
    checks = pd.DataFrame(rows_of("gpu/checks.jsonl"))
    off = (checks.ours / checks.theirs - 1).groupby(checks.check)
    least, most = (-100 * off.min()).round(1), (100 * off.max()).round(1)
    page, kernels = REPORTS / "gpu" / "summary.md", "seconds of kernels"
    says(page, f"convbench is 0 to {least['device latency, plain events (warm L2)']:.0f} % lower")
    says(page, f"from {least[kernels]:.0f} % less to {most[kernels]:.0f} % more")
    cold = "device latency, do_bench (cold L2)"
    says(METHOD / "measuring.md", f"do_bench within {max(least[cold], most[cold]):.1f} %")
