"""Make the embedded sample corpus: conversations of a warped portrait with a synthesised voice, in MELD's shape.

in: nothing.  out: data/sample (three CSV files, clips, and beside them the truth that no model is given); a word of
explanation instead where prepare.corpora does not ask for it
"""

from bemerc.core import atomic
from bemerc.core.config import load, read_section
from bemerc.core.progress import bar
from bemerc.sample import make
from pipeline import DATA, PARAMS, cores, stage


@stage
def main() -> None:
    params = load(PARAMS, "sample", make.Params)
    if "sample" not in read_section(PARAMS, "prepare")["corpora"]:
        atomic.write_text(
            DATA / "sample" / "README.txt", "Not made: prepare.corpora does not name it.\n", atomic.PUBLIC
        )
        return
    with bar("Making clips", params.dialogues * params.turns, "clips") as advance:
        ceilings = make.make(
            params, DATA / "sample", workers=cores(), progress=lambda done, total: advance(params.turns)
        )
    for where, found in ceilings.items():
        print(f"best possible accuracy ({where}): " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
