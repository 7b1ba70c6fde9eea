"""The folder of one corpus -> data/survey/NAME.json, the hash of every file in it.

in: data/NAME.  out: data/survey/NAME.json
"""

import argparse

from bemerc.core.config import load
from bemerc.core.progress import bar
from bemerc.corpus import prepare, survey
from pipeline import DATA, PARAMS, stage


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a name of prepare.corpora")
    name = parser.parse_args().corpus
    params = load(PARAMS, "prepare", prepare.Params)
    folder = DATA / name
    with bar(f"Surveying {folder}", survey.count(folder), "files") as advance:
        survey.run(params, name, folder, DATA / "survey" / f"{name}.json", advance)


if __name__ == "__main__":
    main()
