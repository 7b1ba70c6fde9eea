"""The truth of the synthetic corpus: what each utterance was made to show, as truth.jsonl and truth.h5.

For checks only: nothing of it may reach a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
