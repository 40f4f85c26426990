"""Tests of trio_udp.testing, and of the rules of trio_udp._chaos."""
