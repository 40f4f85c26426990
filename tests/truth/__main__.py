"""`python -m tests.truth`: see `page`."""

from .page import main

main()
