"""Stage conflict_build: utterances whose face and voice disagree."""

from bemerc.cli.main import main

COMMAND = "conflict build --or-empty"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
