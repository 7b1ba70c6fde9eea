"""The truth of the synthetic corpus: what each utterance was made to show, as truth.jsonl and truth.h5.

For checks only: nothing of it may reach a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import CorpusError
from bemerc.sample.cases import SILENT
from bemerc.sample.plan import Planned, speaker_name
from bemerc.sample.recipes import Performance

TRUTH_SCHEMA = "bemerc-sample-truth"


def write_truth(out: Path, plan: Sequence[Planned], performances: Mapping[str, Performance]) -> None:
    lines = [
        json.dumps(_truth_line(p, performances[p.id]), ensure_ascii=False) for p in sorted(plan, key=lambda p: p.id)
    ]
    _write_intensities(out / "truth.h5", {key: performances[key] for key in sorted(performances)})
    (out / "truth.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _truth_line(planned: Planned, performance: Performance) -> dict[str, Any]:
    role = planned.roles
    return {
        "id": planned.id,
        "split": planned.split,
        "label": role.label,
        "case": role.case,
        "words": role.words,
        "face": role.face,
        "voice": role.voice,
        "recipe": performance.recipe,
        "face_strength": round(planned.face_strength, 4),
        "voice_strength": round(planned.voice_strength, 4),
        "silent": [
            name for name, shown in zip(("words", "face", "voice"), role.modalities(), strict=True) if shown == SILENT
        ],
        "speaker": speaker_name(planned.speaker),
        "look": planned.speaker,
        "frames": planned.frames,
        "seed": planned.seed,
        "events": list(performance.events),
    }


def _write_intensities(path: Path, performances: Mapping[str, Performance]) -> None:
    import h5py

    from bemerc.sample.recipes import BODY_NAMES, UNIT_NAMES

    ids = list(performances)
    offsets = np.cumsum([0, *(len(performances[key].units) for key in ids)])
    with h5py.File(path, "w") as file:
        file.attrs["schema"] = TRUTH_SCHEMA
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
        file.create_dataset("offsets", data=offsets.astype(np.int64))
        file.create_dataset("unit_names", data=list(UNIT_NAMES), dtype=h5py.string_dtype())
        file.create_dataset("body_names", data=list(BODY_NAMES), dtype=h5py.string_dtype())
        file.create_dataset("units", data=np.concatenate([performances[key].units for key in ids]), compression="gzip")
        file.create_dataset("body", data=np.concatenate([performances[key].body for key in ids]), compression="gzip")


@dataclass(frozen=True)
class Intensities:
    """The truth of one clip: units (T, len(unit_names)), 0 to about 1, and body (T, len(body_names)), both float32.

    Body as the picture shows it: pitch + nods down, yaw + turns to the image's right, roll + tilts clockwise (degrees);
    gaze + looks right and down; lean + comes nearer; slump, shrug, sway, tilt and head position in shares of our own.
    """

    units: NDArray[np.float32]
    body: NDArray[np.float32]
    unit_names: tuple[str, ...]
    body_names: tuple[str, ...]

    def unit(self, name: str) -> NDArray[np.float32]:
        """One unit's intensity per frame, (T,)."""
        return self.units[:, self.unit_names.index(name)]


def read_intensities(out: Path) -> dict[str, Intensities]:
    """truth.h5 by utterance id. For checks only: nothing of it may reach a model."""
    import h5py

    if not (out / "truth.h5").exists():
        raise CorpusError(f"{out}: there is no sample here. Run 'bemerc sample' first.")
    with h5py.File(out / "truth.h5", "r") as file:
        units, body, offsets = file["units"][()], file["body"][()], file["offsets"][()]
        ids, unit_names, body_names = (tuple(file[key].asstr()[()]) for key in ("ids", "unit_names", "body_names"))
    parts = pairwise(offsets)
    return {
        key: Intensities(units[a:b], body[a:b], unit_names, body_names) for key, (a, b) in zip(ids, parts, strict=True)
    }
