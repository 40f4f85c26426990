"""Every function that first touches bytes from the network, under a fuzzer that watches which branches they take.

Hypothesis knows the format and tries what is nearly right (tests/properties/test_untrusted.py). atheris knows nothing,
sees which lines a datagram reaches, and tries a hundred thousand of them a second. Both judge by the same `TRIALS`.
"""
