"""Sound of a speaker's own: another file, or another track of the same file, and keys that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import open_cache
from bemerc.extraction.fingerprint import Segment, fingerprint
from bemerc.extraction.jobs import Job
from bemerc.extraction.params import AudioParams
from bemerc.extraction.run import extract_audio
from tests.clips import ffmpeg

PITCHES_HZ = (120, 240, 330)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """call.mka with two tracks, ann.wav beside it, each a tone of its own pitch."""
    out = tmp_path_factory.mktemp("own_sound")
    tones = [part for hz in PITCHES_HZ for part in ("-f", "lavfi", "-i", f"sine={hz}:r=16000:d=1")]
    ffmpeg(*tones, "-map", "0:a", "-map", "1:a", out / "call.mka", "-map", "2:a", out / "ann.wav")
    return out


def test_everybody_has_the_pitch_of_their_own_sound(folder: Path) -> None:
    call, own = folder / "call.mka", Segment(crop=(0.0, 0.0, 0.5, 1.0))
    jobs = [
        Job("a", call, Segment(track=1)),
        Job("b", call, Segment(track=2)),
        Job("c", call, own, folder / "ann.wav"),
    ]
    outcome = extract_audio(jobs, folder / "out", folder / "store", AudioParams(), 1)
    assert outcome.complete == 3
    with open_cache(outcome.paths["audio"]) as cache:
        for id_, hz in zip("abc", PITCHES_HZ, strict=True):
            assert np.nanmedian(cache[id_].column("pitch_hz")) == pytest.approx(hz, rel=0.05)


def test_what_has_no_sound_of_its_own_has_the_key_that_it_had() -> None:
    keys = {
        fingerprint("c" * 64, segment, "audio", "v", {})
        for segment in (Segment(1.0, 2.0), Segment(1.0, 2.0, track=1), Segment(1.0, 2.0, sound="d" * 64))
    }
    assert len(keys) == 3
    assert Segment(1.0, 2.0).as_key() == {"start_s": 1.0, "end_s": 2.0, "crop": None}
