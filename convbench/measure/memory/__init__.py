"""Peak memory of a call: measured from every allocation, and predicted from shapes.

``allocations`` follows the profiler's allocations by kind and stage. ``prediction`` runs fake tensors instead and adds
the memory that operators take beside them (``operators``, ``cudnn``). Some of it is known only from running the
operator alone (``rehearsal``). ``largest`` searches for the largest size that still fits.
"""
