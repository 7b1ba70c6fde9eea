"""``python -m bemerc``: the console script where it is not on the PATH."""

from bemerc.cli.main import main

if __name__ == "__main__":  # a worker process imports this module anew, under another name
    main()
