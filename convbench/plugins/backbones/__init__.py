"""Backbones, one per file: each is a factory (in_channels) -> module, (N, C, H, W) -> (N, C', H', W').

The keyword-only parameters of a factory are its options.
"""
