"""The corpora that can be read, by the names that params.yaml and the commands use."""

from collections.abc import Iterable

# Name -> what a report calls it. Each has a module in readers/, and its settings and reader in prepare.py.
CORPORA: dict[str, str] = {
    "sample": "the embedded sample",
    "meld": "MELD",
    "iemocap": "IEMOCAP",
    "ch_sims": "CH-SIMS",
    "table": "a table",
    "recording": "recordings",
    "annotations": "annotation files of ELAN or Praat",
    "folder": "a folder of clips",
}


def caveat(corpora: Iterable[str]) -> str:
    """What users must know of the predictions of a model that was trained on these corpora; empty where nothing."""
    if "sample" not in corpora:
        return ""
    return "This model was trained on the embedded sample, a warped portrait: on real people it says nothing."
