"""The shelf of backbones: in_channels -> module, (N, C, H, W) -> (N, C', H', W'). One file per backbone.

Keyword-only parameters of a factory are its options.
"""
