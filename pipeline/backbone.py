"""Stage backbone: the tiny LLM of the embedded default."""

from bemerc.cli.main import main

COMMAND = "backbone"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.split())
