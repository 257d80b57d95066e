"""The shelf of scenarios: (Subject) -> the one call that is timed. One file per scenario.

To add one, register a function that returns a callable without arguments; what that returns is the model's output.
"""
