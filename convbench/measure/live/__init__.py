"""A live module of the user's, counted and measured in this process as it stands: its mode, its device, its weights.

Nothing is isolated here: what else this process does, and what it did before, is in the numbers.
"""
