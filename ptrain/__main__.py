"""``python -m ptrain``: the command line, as the ranks of ``ptrain --ranks`` run it."""

import os
import sys

from ptrain.cli import main
from ptrain.launch.orphans import follow_launcher

if __name__ == "__main__":
    follow_launcher(os.environ)
    sys.exit(main())
