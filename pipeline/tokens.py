"""Stage tokens: frames -> K behavior tokens per utterance."""

from bemerc.cli.main import main

COMMAND = "tokens"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
