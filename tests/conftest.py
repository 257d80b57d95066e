"""What all tests share: one thread, so that small models are not slowed by the machine's other work."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
