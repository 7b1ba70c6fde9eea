"""Stage extract_audio: clips -> voice."""

from bemerc.cli.main import main

COMMAND = "extract data/manifest.jsonl --only audio --part-clips 0"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
