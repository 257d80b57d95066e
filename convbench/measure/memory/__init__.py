"""Peak memory of a call: measured from every allocation, and predicted from shapes.

``allocations`` follows the profiler's allocations by kind and stage. ``prediction`` runs the model on ``fakes``, and
``peak`` follows their storages and adds the memory that operators take beside them (``operators``, ``cudnn``). Some of
it is known only from running the operator alone (``rehearsal``). Operators that torch computes otherwise without values
run as with values (``with_values``). ``largest`` searches for the largest size that still fits.
"""
