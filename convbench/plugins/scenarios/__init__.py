"""Scenarios, one per file: each is a function (Subject) -> the call that is timed.

To add one, register a function that returns a callable without arguments. This callable returns the model's output.
"""
