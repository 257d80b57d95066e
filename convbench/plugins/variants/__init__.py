"""Variants, one per file: each is a function (Subject) -> Subject that runs the same mathematics another way.

To add one, register a function that replaces ``forward`` or the layout of model and inputs, and describe it with
``@declares(VariantTraits(...))``: stages, isolation, memory and comparability follow from that alone. Import torch
inside functions: a report reads the traits of variants on machines without torch.
"""
