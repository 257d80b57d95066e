"""The shelf of variants: (Subject) -> Subject, the same mathematics another way. One file per variant.

To add one, register a function that replaces ``forward`` or the layout of model and inputs, and say what it is with
``@declares(VariantTraits(...))``: stages, isolation, memory and comparability follow from that alone. Import torch
inside functions: a report asks what a variant is where there is no torch.
"""
