"""What a user can get wrong, and the exit code each kind of mistake ends with."""

from __future__ import annotations


class ConvbenchError(Exception):
    """A mistake with one message that says what, where and what to do; never shown with a traceback."""

    exit_code = 2


class SuiteError(ConvbenchError):
    """A suite that cannot be run as written: its message lists every mistake, a line each."""


class StoreError(ConvbenchError):
    """A run directory that cannot be read or written."""


class Unavailable(ConvbenchError):
    """Something this machine does not have (an allocator, a device); the case is skipped with this reason."""


class Impossible(ConvbenchError):
    """A combination that cannot exist, such as a pooling grid larger than the feature map."""


class Interrupted(ConvbenchError):
    """Ctrl-C: what is finished is on disk."""

    exit_code = 130
