"""What all tests share.

One thread, so that small models are not slowed by the machine's other work; and a Ctrl-C that arrives, which a shell's
background jobs ignore, they and all that they start.
"""

from __future__ import annotations

import signal

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
