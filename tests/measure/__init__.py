"""Tests of the measuring package."""
