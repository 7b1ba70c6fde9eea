"""Importers of other tools' features into frame caches: OpenFace's tables, MMSA's pickles, MERTools' .npy folders.

What these files do not contain is asked for rather than guessed: MMSA and MERTools store no times and no column names,
so a rate must be given, and columns are numbered unless a file names them. Numbered columns go into behavior tokens as
they are; sentences need names.
"""

from bemerc.interop.importers.arrays import modality_of, read_names
from bemerc.interop.importers.mertools import from_mertools
from bemerc.interop.importers.mmsa import from_mmsa
from bemerc.interop.importers.openface import from_openface

__all__ = ["from_mertools", "from_mmsa", "from_openface", "modality_of", "read_names"]
