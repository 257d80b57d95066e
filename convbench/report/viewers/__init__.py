"""Traces in other people's viewers, served on loopback only: Perfetto and TensorBoard."""
