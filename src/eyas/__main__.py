"""`python -m eyas` is `eyas`: what `torchrun -m eyas` starts."""

import sys

from eyas.cli import main

if __name__ == "__main__":
    sys.exit(main())
