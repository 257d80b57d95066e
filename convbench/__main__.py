"""The command ``convbench``, also as ``python -m convbench``: Ctrl-C may come while its modules are imported.

With ``python -m``, nothing of the working directory is imported that is named like the standard library.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]

import signal


def main() -> None:
    """Run the command line. Until it handles signals, Ctrl-C ends the process as the system does, without a traceback.

    An interrupted import may raise anything, such as pydantic's SchemaError, with exit code 1: a regression.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if the parent ignores it (nohup)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from convbench.cli import main as run

    run()


if __name__ == "__main__":
    main()
