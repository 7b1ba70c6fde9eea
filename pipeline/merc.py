"""Stage merc: stage 2, conversation and behavior -> label."""

import sys

from bemerc.cli.main import main

COMMAND = "train --stage 2 --variant {}"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.format(*sys.argv[1:]).split())
