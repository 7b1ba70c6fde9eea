"""Stage sample: the embedded corpus, in MELD's shape."""

from bemerc.cli.main import main

COMMAND = "sample"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
