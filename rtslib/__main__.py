"""`python -m rtslib`: the command line (`rtslib.cli.main`)."""

import sys

from rtslib.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
