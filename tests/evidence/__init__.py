"""The large figures, for what a hundred examples a test are too few to show: `python -m tests.evidence`."""
