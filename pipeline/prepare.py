"""Stage prepare: corpora -> one manifest."""

from bemerc.cli.main import main

COMMAND = "prepare"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
