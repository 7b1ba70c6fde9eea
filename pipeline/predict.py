"""Stage predict: a probability for every label."""

import sys

from bemerc.cli.main import main

COMMAND = "predict data/manifest.jsonl --model models/merc/{}"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.format(*sys.argv[1:]).split())
