"""The corpora that can be read, by the names that params.yaml and the commands use."""

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
