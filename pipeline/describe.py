"""Stage describe: frames -> sentences, by rules; and by a vision-language model, where one is named."""

from bemerc.cli.main import main

COMMAND = "describe data/manifest.jsonl"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
