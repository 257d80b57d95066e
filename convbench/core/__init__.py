"""The nouns that all sub-packages share. Imports nothing else of convbench, and never torch.

``record`` describes what is measured, how, and with which result; ``storage`` keeps it on disk; ``metrics`` declares
every metric once. ``registry`` finds plug-ins, ``installed`` those of other packages; ``traits`` are what plug-ins
declare of themselves. ``comparability`` decides which numbers may be compared, ``statistics`` how certain they are;
``errors`` are the errors that users see.
"""
