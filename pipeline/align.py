"""Stage align: stage 1, behavior tokens -> description."""

from bemerc.cli.main import main

COMMAND = "train --stage 1"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
