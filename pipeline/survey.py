"""Stage survey: what lies in a corpus's folder."""

import sys

from bemerc.cli.main import main

COMMAND = "corpus survey {}"

if __name__ == "__main__":  # worker processes import this file anew
    main(*COMMAND.format(*sys.argv[1:]).split())
