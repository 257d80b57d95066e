"""Peak memory of a call: measured from every allocation, and predicted from shapes.

``allocations`` follows the profiler's allocations by kind and stage. ``prediction`` runs fake tensors instead and adds
the memory that libraries take beside them (``onednn``, ``cudnn``). ``largest`` searches for the largest size that still
fits.
"""
