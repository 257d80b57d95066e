"""Show traces in other projects' viewers, Perfetto and TensorBoard, served on loopback only."""
