"""The simulated network, module by module."""
