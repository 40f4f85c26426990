"""`python -m trio_udp`, and the script `trio-udp`."""

import sys

from ._cli import main_until_exit as main

if __name__ == "__main__":
    sys.exit(main())
