"""Stage conflict: which side models follow where face and voice disagree."""

from bemerc.cli.main import main

COMMAND = "conflict evaluate"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
