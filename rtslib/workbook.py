"""`python -m rtslib.workbook run`, for scripts that have it so: the same as `python -m rtslib workbook run`."""

import sys

from rtslib.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["workbook", *sys.argv[1:]]))
