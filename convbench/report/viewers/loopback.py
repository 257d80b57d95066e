"""Reserve a port of the loopback address, or refuse it with a reason. Never imports torch."""

from __future__ import annotations

import errno
import socket

from convbench.core.errors import ConvbenchError

LOOPBACK = "127.0.0.1"


def free_port(port: int) -> int:
    """Return ``port``, or any free port for 0. Raises ConvbenchError if it is in use or not allowed."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise port_error(port, error) from error
        return int(probe.getsockname()[1])


def port_error(port: int, error: OSError) -> ConvbenchError:
    """Return an error with the reason why a port cannot be used, and what to do."""
    why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return ConvbenchError(f"port {port} {why}: choose another with --port, or 0 for any free one")
