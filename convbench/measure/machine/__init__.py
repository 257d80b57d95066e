"""The machine and the software that a number belongs to.

``environment`` describes both; ``doctor`` reports what can be measured here; ``malloc`` controls the C allocator;
``cgroup`` reads a container's limits, ``nvml`` the GPU's state, ``precision`` and ``toolchain`` torch's settings and
compiler.
"""
