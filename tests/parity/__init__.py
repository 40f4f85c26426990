"""The simulated network against the kernel, behaviour by behaviour."""
