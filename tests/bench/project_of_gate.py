"""The project that every gate of the bench is given: article models, and a head commit that does real extra work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KINDS = ("gap", "hybrid")
NETS = '''
import torch
from torch import nn

WORK = {work!r}


class Net(nn.Module):
    """The article's model; ``WORK`` says how many matmuls of which size its forward pass does besides."""

    def __init__(self, kind="gap"):
        super().__init__()
        torch.manual_seed(0)
        self.count, size = WORK[kind]
        self.left, self.right, self.out = (torch.full((size, size), 0.5) for _ in range(3))
        self.conv = nn.Conv2d(3, 32, 3, padding=1)
        self.reducer = nn.Linear(32, 64) if kind == "hybrid" else nn.Identity()
        self.lstm = nn.LSTM(64 if kind == "hybrid" else 32, 128, batch_first=True)

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
    "suite.yaml": 'matrix: {model: {name: "nets:Net", kind: [gap, hybrid]}, clip: 1x16x3x64x64}\n',
    "test_speed.py": """
import pytest
from nets import call

@pytest.mark.parametrize("kind", ["gap", "hybrid"])
def test_speed(benchmark, kind):
    benchmark(call(kind))
""",
    "perf.py": """
import pyperf
from nets import call

runner = pyperf.Runner()
for kind in ("gap", "hybrid"):
    runner.bench_func(kind, call(kind) if runner.parse_args().worker else len)
""",
    "benchmarks/__init__.py": "",
    "benchmarks/speed.py": """
from nets import call

class Speed:
    params = ["gap", "hybrid"]
    param_names = ["kind"]

    def setup(self, kind):
        self.run = call(kind)

    def time_net(self, kind):
        self.run()
""",
    ".gitignore": "reports/\n.asv/\n.benchmarks/\n__pycache__/\n",
}


def make(folder: Path, work: dict[str, tuple[int, int]]) -> Path:
    """A repository whose tag ``base`` does no extra work and whose ``head`` does ``work``; both trees lie beside it."""
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
