"""What happened to probes on their way, and that every figure a measurement prints is that."""
