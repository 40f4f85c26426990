"""`python -m tests.fuzz.one NAME [libFuzzer's options]`: what `tests.fuzz.run` runs in a process of its own."""

import sys

import atheris

with atheris.instrument_imports(include=["trio_udp.proto", "trio_udp._net"]):
    from .targets import target

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, target(name))
    atheris.Fuzz()
