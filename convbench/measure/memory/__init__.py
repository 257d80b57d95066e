"""Peak memory of a call: measured from every allocation, and predicted from shapes.

``allocations`` follows what the profiler saw, by kind and stage; ``prediction`` runs fake tensors instead, with what
``onednn`` takes beside them; ``largest`` searches for the largest size that still fits.
"""
