"""Write a newcomer's package with a file for each plug-in, and the dist-info that an installer would add."""

from __future__ import annotations

from pathlib import Path

REDUCER = '''
"""Mean and spread of each channel."""
import torch
from torch import nn

from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits


class MeanStd(nn.Module):
    def forward(self, maps):
        return torch.cat((maps.mean(dim=(2, 3)), maps.flatten(2).std(dim=2)), dim=1)


@reducers.register("mean-std")
@declares(ReducerTraits(position="lost"))
def mean_std(features, lstm_input, *, scale: float = 1.0, label: str | None = None):
    """Mean and standard deviation of each channel: D = 2C."""
    return MeanStd()
'''
FIGURE = '''
"""How many cases there are."""
from convbench.core.registry import figures
from convbench.report.drawing import Drawing
from convbench.report.drawing.style import canvas


@figures.register("shop-count")
def count(results):
    """A bar as long as the run has cases."""
    axes = canvas(height=120)
    axes.barh([0], [len(results)])
    yield Drawing("shop-count", "Cases in the shop", "How to read this: longer is more.", axes.figure)
'''
VARIANT = '''
"""The model as a TorchScript trace, which another engine runs."""
from dataclasses import replace

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits


@variants.register("traced")
@declares(VariantTraits(
    engine="torchscript", opaque=True, own_process=True, scenarios=("inference",), dtype="tf32",
    packages=("shop-plugins",),
))
def traced(subject, *, strict: bool = True):
    """torch.jit.trace of the whole model."""
    import torch

    forward = torch.jit.trace(subject.model, subject.inputs.args, strict=strict, check_trace=False)
    return replace(subject, forward=forward)
'''
VERB = '''
"""The verb that counts the records of a run."""
from pathlib import Path

from convbench.cli.app import app


@app.command()
def shop_count(run: Path) -> None:
    """How many records a run has."""
    from convbench.core.storage import store

    print(f"{len(store.load(run)[1])} records in the shop")


@app.command()
def fits() -> None:
    """A name that convbench has taken."""
    print("never called")
'''
TASK = '''
"""Whether a clip is bright or dark."""
import torch

from convbench.core.registry import tasks
from convbench.measure.quality.data import Labelled, Splits


@tasks.register("bright")
def bright(clip, training, seed, *, level: float = 0.5):
    """Which of 2 kinds a clip of one grey is: bright or dark."""
    def drawn(count, offset):
        labels = torch.arange(count) % 2
        noise = torch.rand(count, clip.frames, clip.channels, clip.height, clip.width,
                           generator=torch.Generator().manual_seed(3 * seed + offset))
        return Labelled(0.1 * noise + level * labels[:, None, None, None, None], labels)

    return Splits(drawn(training.train_clips, 0), drawn(training.val_clips, 1), drawn(training.test_clips, 2),
                  ("dark", "bright"))
'''
CLAIM = '''
"""What the shop says of its own reducer."""
from convbench.analysis.claims.claim import Judgement, Lacking, Number, claim


@claim(
    "shop-1",
    "mean-std has twice the LSTM input of GAP",
    quote="twice as wide, twice as wise",
    prediction="Its vector is twice as long.",
    experiment="The sizes of both are read from the records.",
)
def twice(evidence):
    sizes = {result.series: result.lstm_input for result in evidence.costs}
    if not {"mean-std", "gap"} <= set(sizes):
        raise Lacking("Run the shop's suite.")
    ratio = sizes["mean-std"] / sizes["gap"]
    return Judgement("supported" if ratio == 2 else "refuted", f"It is {ratio:g} times as long.",
                     (Number("Ratio of the sizes", ratio, "×"),))
'''
BROKEN = 'raise RuntimeError("the shop is closed")\n'
CLASHING = '''
from convbench.core.registry import reducers


@reducers.register("gap")
def gap(features, lstm_input):
    """Not the one that everybody means."""
'''
SUITE = """
name: shop
matrix:
  reducer: [gap, mean-std]
  variant: [eager, traced]
  clip: 1x2x1x8x8
metrics: [params, macs, prediction, latency, stages]
protocol: {max_warmup: 0.02, max_time: 0.05, target: 0.5, min_samples: 6, visits: 1}
quality: train
training:
  {tasks: bright, seeds: 1, learning_rates: 2.0e-3, only: mean-std, batch: 8, steps: 6, checkpoints: 3,
   train_clips: 24, val_clips: 12, test_clips: 12}
"""
FILES = {
    "reducer": REDUCER, "figure": FIGURE, "variant": VARIANT, "verb": VERB, "task": TASK, "claim": CLAIM,
    "broken": BROKEN, "clashing": CLASHING,
}  # fmt: skip


def package(folder: Path, name: str = "shop") -> Path:
    """Write the package ``shop`` without installing it: its plug-ins have import paths but no entry points."""
    for module, text in FILES.items():
        place = folder / name / f"{module}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (folder / name / "__init__.py").write_text("")
    (folder / "shop.yaml").write_text(SUITE)
    (folder / "loose.yaml").write_text(SUITE.partition("quality:")[0].replace("name: shop", "name: loose"))
    return folder


def install(folder: Path) -> Path:
    """Write the package and the entry points of its distribution, shop-plugins 1.2."""
    package(folder)
    info = folder / "shop_plugins-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-plugins\nVersion: 1.2\n")
    modules = [module for module in FILES if module != "verb"]
    plugins = "\n".join(f"{module} = shop.{module}" for module in modules)
    (info / "entry_points.txt").write_text(f"[convbench.plugins]\n{plugins}\n\n[convbench.verbs]\nverb = shop.verb\n")
    return folder
