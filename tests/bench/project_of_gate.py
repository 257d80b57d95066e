"""The project that the bench gives every gate: the article's models, and a head commit that does real extra work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KINDS = ("gap32", "hybrid32", "gap16", "hybrid16", "gap8", "hybrid8")
NETS = '''
import torch
from torch import nn

WORK = {work!r}


class Net(nn.Module):
    """The article's model, with as many filters as ``kind`` ends in; ``WORK`` is what its forward pass does besides."""

    def __init__(self, kind="gap32"):
        super().__init__()
        torch.manual_seed(0)
        reducer, filters = kind.rstrip("0123456789"), int(kind.lstrip("gaphybrid"))
        lstm_input = 64 if reducer == "hybrid" else filters
        self.count, size = WORK[kind]
        self.left, self.right, self.out = (torch.full((size, size), 0.5) for _ in range(3))
        self.conv = nn.Conv2d(3, filters, 3, padding=1)
        self.reducer = nn.Linear(filters, 64) if reducer == "hybrid" else nn.Identity()
        self.lstm = nn.LSTM(lstm_input, 128, batch_first=True)

    def forward(self, clip):
        with torch.no_grad():
            for _ in range(self.count):
                torch.mm(self.left, self.right, out=self.out)
        maps = self.conv(clip.flatten(0, 1)).relu()
        vectors = self.reducer(maps.mean((2, 3)))
        return self.lstm(vectors.unflatten(0, clip.shape[:2]))[0]


def call(kind):
    torch.set_num_threads(1)
    model, clip = Net(kind).eval(), torch.randn(1, 16, 3, 64, 64)

    @torch.inference_mode()
    def run():
        return model(clip)

    run()
    return run
'''
FILES = {
    "suite.yaml": f'matrix: {{model: {{name: "nets:Net", kind: [{", ".join(KINDS)}]}}, clip: 1x16x3x64x64}}\n',
    "test_speed.py": f"""
import pytest
from nets import call

@pytest.mark.parametrize("kind", {KINDS})
def test_speed(benchmark, kind):
    benchmark(call(kind))
""",
    "perf.py": f"""
import pyperf
from nets import call

runner = pyperf.Runner()
for kind in {KINDS}:
    runner.bench_func(kind, call(kind) if runner.parse_args().worker else len)
""",
    "benchmarks/__init__.py": "",
    "benchmarks/speed.py": f"""
from nets import call

class Speed:
    params = {KINDS}
    param_names = ["kind"]

    def setup(self, kind):
        self.run = call(kind)

    def time_net(self, kind):
        self.run()
""",
    "tango.py": """
import importlib.util, json, random, sys, time
from statistics import mean

def call(side):
    spec = importlib.util.spec_from_file_location(side, f"{sys.argv[1]}/{side}/nets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.call(sys.argv[2])

def timed(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start

runs = {side: call(side) for side in ("base", "head")}
for run in runs.values():
    for _ in range(5):
        run()
pairs, end = [], time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end or len(pairs) < 20:
    pairs.append({side: timed(runs[side]) for side in random.sample(["base", "head"], 2)})
print(json.dumps([mean(pair["base"] for pair in pairs), [pair["head"] - pair["base"] for pair in pairs]]))
""",
    ".gitignore": "reports/\n.asv/\n.benchmarks/\n__pycache__/\n",
}


def make(folder: Path, work: dict[str, tuple[int, int]]) -> Path:
    """Make a repository whose ``head`` does ``work`` and whose ``base`` does none, and a worktree of each beside it."""
    project = folder / "project"
    (project / "benchmarks").mkdir(parents=True)
    _git(project, "init", "-q", "-b", "main")
    for name, text in FILES.items():
        (project / name).write_text(text)
    for tag, doing in (("base", dict.fromkeys(KINDS, (0, 16))), ("head", work)):
        (project / "nets.py").write_text(NETS.replace("{work!r}", repr(doing)))
        _git(project, "add", "-A")
        _git(project, "commit", "-q", "--allow-empty", "-m", tag)
        _git(project, "tag", tag)
        _git(project, "worktree", "add", "-q", "--detach", str(folder / tag), tag)
    return project


def _git(cwd: Path, *words: str) -> None:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    subprocess.run(["git", *identity, *words], cwd=cwd, check=True, stdout=sys.stderr)
