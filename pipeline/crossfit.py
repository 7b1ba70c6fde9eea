"""Stage crossfit: the align model's own descriptions, where they are read."""

from bemerc.cli.main import main

COMMAND = "crossfit"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
