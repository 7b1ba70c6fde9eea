"""Stage extract_video: clips -> face and pose, one decode each."""

from bemerc.cli.main import main

COMMAND = "extract data/manifest.jsonl --only video --part-clips 0"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
