"""Check on the simulated GPU that peaks are predicted as when they were proven, in training and streaming too.

``python peaks.py``, under ``rehearse.py``. It prints the cases that differ from ``tests/golden/gpu/peaks.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from convbench.core.record import Case, Choice, Clip, Parts
from convbench.measure.memory import cudnn
from convbench.measure.memory.prediction import predict

PEAKS = Path(__file__).parents[2] / "golden/gpu/peaks.json"
SIZES = {"gap": None, "hybrid": 64, "fc": 128, "flatten": None}


def case_of(name: str) -> Case:
    """The article's case with this id, such as ``conv/fc/128/lstm128/32x16x3x64x64/eager/train/cuda``."""
    _, reducer, _, _, clip, _, scenario, device = name.split("/")
    parts = Parts(Choice("conv"), Choice(reducer), SIZES[reducer])
    return Case(parts, Clip(batch=int(clip.partition("x")[0])), (), scenario, device)


def main() -> int:
    # cuDNN's operator, which torch chooses for gradients only if it has been built with it
    torch._VF.lstm = cudnn.COMPOSED[torch.ops.aten.lstm.input]
    recorded = json.loads(PEAKS.read_text())
    peaks = {name: predict(case_of(name)).peak for name in recorded}
    differences = {name: peak for name, peak in peaks.items() if peak != recorded[name]["predicted"]}
    for name, peak in differences.items():
        print(f"{name}: predicted {peak:,} B, on the day of the proof {recorded[name]['predicted']:,} B")
    print(f"{len(peaks) - len(differences)} of {len(peaks)} predicted peaks are as proven")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
