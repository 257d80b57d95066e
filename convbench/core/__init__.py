"""The nouns that every room shares. Imports nothing of ours outside this room, and never torch.

``record`` holds what is measured, how, and what came out; ``store`` keeps it on disk; ``metrics`` has every metric
once. ``registry`` finds plug-ins, ``installed`` those of other packages, ``traits`` what they declare of themselves.
``comparability`` says which numbers may be compared, ``statistics`` how sure they are, ``errors`` what went wrong.
"""
