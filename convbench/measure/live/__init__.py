"""Count and measure a user's live module in this process as it is: its mode, its device, its weights.

Nothing is isolated here: other work of this process, before and during the measurement, affects the numbers.
"""
