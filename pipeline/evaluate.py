"""Stage evaluate: numbers, pictures, report."""

from bemerc.cli.main import main

COMMAND = "evaluate"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
