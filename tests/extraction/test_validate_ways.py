"""Every way to make a cache passes ``cache validate --deep``; every way to damage one does not, and each bad row is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bemerc.cache import Choice, TrackSpan, open_cache, state_of
from bemerc.core.errors import BemercError, BusyError, CacheError
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.corpus.readers import folder
from bemerc.extraction import fingerprint, recompute, validate
from bemerc.extraction.audio import speech_encoder
from bemerc.extraction.face import extractor, openface
from bemerc.extraction.jobs import ExtractorSpec, extractor_spec, jobs_from_manifest
from bemerc.extraction.run import run
from bemerc.interop.exporters import to_csv, to_mmsa, to_npy
from bemerc.interop.importers import from_mertools, from_mmsa, from_openface
from tests import loudness, mean_color
from tests.clips import write_clip
from tests.extraction.test_openface import binary
from tests.extraction.test_recompute import face_cache
from tests.extraction.test_validate import cache_of

COLOR, SOUND = (
    extractor_spec("face", "tests.mean_color", mean_color.Params()),
    extractor_spec("audio", "tests.loudness", loudness.Params()),
)


def clips(tmp_path: Path) -> Manifest:
    """Two clips, one that lacks its sound, one that is no clip, and two parts of a clip."""
    write_clip(tmp_path / "clips" / "a.mp4", 0.6)
    write_clip(tmp_path / "clips" / "b.mp4", 0.6, tone_hz=None, color=(10, 90, 90))
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no clip")
    manifest = folder.read(tmp_path / "clips").manifest(tmp_path / "clips")
    parts = [Utterance(f"part/{i}", "part", i, "", "", None, "test", "a.mp4", 0.2 * i, 0.2 * i + 0.2) for i in range(2)]
    return Manifest((*manifest.utterances, *parts), manifest.labels, manifest.corpora, manifest.folder)


def issues(path: Path, manifest: Manifest | None = None, finished: Path | None = None) -> list[validate.Issue]:
    """What ``cache validate --deep`` finds in one cache."""
    try:
        with open_cache(path) as cache:
            also = validate.check_against_clips(cache, manifest, finished) if manifest is not None else []
            return list(validate.check_rows(cache, also).issues)
    except BemercError as error:
        return list(validate.unopenable(path, error).issues)


def passes(path: Path, manifest: Manifest | None = None, finished: Path | None = None) -> None:
    assert [issue for issue in issues(path, manifest, finished) if issue.severity == "error"] == []


# ------------------------------------------------------------------------------------------------------ ways to make one


def test_extracted_with_and_without_landmarks_and_without_after_with(tmp_path: Path) -> None:
    manifest, out = clips(tmp_path), tmp_path / "features"
    for landmarks in (True, False, True):
        params = {"landmarks": landmarks}
        one = ExtractorSpec(
            "face",
            "bemerc.extraction.face.extractor",
            extractor.Params(**params),
            extractor.VERSION,
            extractor.columns(extractor.Params()),
        )
        run(jobs_from_manifest(manifest), (one,), out, out / "store", 1, 1.0)
        passes(out / "face.h5", manifest, out / "store")
        # Nothing was finished under another name: the store is found again.
        assert not [i for i in issues(out / "face.h5", manifest, out / "store") if i.kind in ("store", "fingerprint")]
    assert state_of(out / "face.h5").kind == "sound"


@pytest.mark.slow
def test_openfaces_own_and_a_speech_encoders(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.encoders import tiny_encoder

    manifest, out = clips(tmp_path), tmp_path / "features"
    model = speech_encoder.Params(str(tiny_encoder(tmp_path / "encoder")))
    encoder = speech_encoder.resolve(model, dict.fromkeys(speech_encoder.files(model), "0" * 64))
    for one in (
        extractor_spec("face", "bemerc.extraction.face.openface", openface.Params(str(binary(tmp_path)))),
        extractor_spec("speech", "bemerc.extraction.audio.speech_encoder", encoder),
        SOUND,
    ):
        run(jobs_from_manifest(manifest), (one,), out, out / "store", 1, 1.0)
        passes(out / f"{one.modality}.h5", manifest, out / "store")


def test_a_clip_that_went_and_came_back_and_a_store_that_is_gone(tmp_path: Path) -> None:
    manifest, out = clips(tmp_path), tmp_path / "features"
    run(jobs_from_manifest(manifest), (COLOR,), out, out / "store", 1, 1.0)
    shutil.move(tmp_path / "clips" / "b.mp4", tmp_path / "b.mp4")
    run(jobs_from_manifest(manifest), (COLOR,), out, out / "store", 1, 1.0)
    passes(out / "face.h5", manifest, out / "store")
    shutil.rmtree(out / "store")
    passes(out / "face.h5", manifest, out / "store")


def test_imported_recomputed_and_of_an_earlier_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, out = clips(tmp_path), tmp_path / "features"
    made = face_cache(tmp_path / "face.h5")
    passes(made)
    recompute.run(made, tmp_path / "again" / "face.h5", None)
    with open_cache(made) as cache:
        to_csv(cache, tmp_path / "csv")
        to_npy(cache, tmp_path / "npy")
        to_mmsa({"face": cache}, tmp_path / "mmsa.pkl", None)
    from_openface(tmp_path / "csv", tmp_path / "of", None)
    from_mmsa(tmp_path / "mmsa.pkl", tmp_path / "mmsa", None, 25.0)
    from_mertools(tmp_path / "npy", tmp_path / "mer", None, "face", 25.0)
    for where in ("again", "of", "mmsa", "mer"):
        passes(tmp_path / where / "face.h5", manifest)
        assert state_of(tmp_path / where / "face.h5").kind == "imported"
    run(jobs_from_manifest(manifest), (COLOR,), out, out / "store", 1, 1.0)
    later = fingerprint.DECODING + 1
    monkeypatch.setattr(validate.clips, "DECODING", later)
    monkeypatch.setattr(fingerprint.fingerprint, "__defaults__", (later,))
    passes(out / "face.h5", manifest, out / "store")
    assert "decoding" in {issue.kind for issue in issues(out / "face.h5", manifest, out / "store")}


# ---------------------------------------------------------------------------------------------------- ways to damage one


def put(name: str, at: object, value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        file[name][at] = value

    return spoil


def flip(name: str, at: object, bits: int = 1) -> Callable[[h5py.File], None]:
    """One bit of one number, written again so that gzip's own checksum is right."""

    def spoil(file: h5py.File) -> None:
        block = np.atleast_1d(file[name][at])
        raw = bytearray(block.tobytes())
        raw[0] ^= bits
        file[name][at] = np.frombuffer(bytes(raw), block.dtype).reshape(np.shape(file[name][at]))

    return spoil


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value

    return spoil


def swap(first: int, second: int, *names: str) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        for name in names:
            file[name][[first, second]] = file[name][[first, second]][::-1]

    return spoil


def without(name: str) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        del file[name]

    return spoil


def renamed(file: h5py.File) -> None:
    for group in ("", "sources/", "choices/"):
        ids = file[f"{group}ids"]
        ids[...] = [b"A" if id_ == b"a" else id_ for id_ in ids[()]]


def thinned(file: h5py.File) -> None:
    """Every second row of the first 50 is gone, as where a reader passes over frames."""
    keep = np.r_[np.arange(0, 50, 2), np.arange(50, 150)]
    for name in ("values", "timestamps_s", "landmarks", "landmarks_scale"):
        rows = file[name][()][keep]
        del file[name]
        file[name] = rows
    offsets = file["offsets"][()]
    file["offsets"][...] = np.where(offsets >= 50, offsets - 25, offsets)


WAYS: dict[str, tuple[Callable[[h5py.File], None], set[str]]] = {
    "a bit of a value": (flip("values", (55, 0)), {"b"}),
    "a bit of a landmark": (flip("landmarks", (120, 3, 1)), {"größe"}),
    "a bit of a landmark's scale": (flip("landmarks_scale", (120, 3)), {"größe"}),
    "a bit of a time": (flip("timestamps_s", 60), {"b"}),
    "a bit of a duration": (flip("duration_s", 1), {"b"}),
    "bits of several": (lambda f: [flip("values", (row, 1))(f) for row in (3, 60, 120)] and None, {"a", "b", "größe"}),
    "a nan": (put("values", (55, 0), np.nan), {"b"}),
    "an infinity": (put("values", (55, 0), np.inf), {"b"}),
    "a time that is no number": (put("timestamps_s", 60, np.nan), {"b"}),
    "times that do not grow": (put("timestamps_s", slice(60, 63), 2.44), {"b"}),
    "rows swapped": (swap(55, 56, "values"), {"b"}),
    "rows swapped with their times": (swap(15, 65, "values", "timestamps_s"), {"a", "b"}),
    "an id changed": (renamed, {"A"}),
    "a row moved to the next": (put("offsets", 1, 49), {"a", "b"}),
    "half of the rows gone": (thinned, {"a"}),
    "another rate": (attribute("rate", 25.0), {""}),
    "other params": (attribute("params", "{}"), {""}),
    "another extractor": (attribute("extractor", "mesh/2"), {""}),
    "another fingerprint": (attribute("contents", "0" * 64), {""}),
    "another failure": (put("failures/reasons", 0, b"It is fine"), {""}),
    "another note": (put("notes/reasons", 0, b"It is fine"), {""}),
    "another choice": (put("choices/json", 0, json.dumps({"no": 1}).encode()), {""}),
    "no sources": (without("sources"), {""}),
    "no choices": (without("choices"), {""}),
    "no landmarks": (lambda f: [without(n)(f) for n in ("landmarks", "landmarks_scale")] and None, {"a", "b", "größe"}),
    "no values": (without("values"), {""}),
    "no ids": (without("ids"), {""}),
    "no timestamps": (without("timestamps_s"), {""}),
    "no durations": (without("duration_s"), {""}),
    "no notes": (without("notes"), {""}),
    "no checksums": (without("sha256"), {""}),
    "no checksum of the head": (attribute("sha256", None), {""}),
    "no rate": (attribute("rate", None), {""}),
}


def whole(path: Path) -> Path:
    """Three utterances of 50 rows (a 0-49, b 50-99, größe 100-149) with landmarks, a note and a choice, and a failure."""
    choice = Choice("speaking", "speaking", 2, 0.9, False, (TrackSpan(0, 50, 1, 0.9, 2),))
    return cache_of(path, notes={"b": "It was noted."}, choices={"a": choice}, params={"faces": 2}, contents="1" * 64)


def test_the_cache_that_is_damaged_below_is_sound(tmp_path: Path) -> None:
    path = whole(tmp_path / "face.h5")
    assert [i.kind for i in issues(path)] == ["note"]
    assert state_of(path).kind == "sound"
    assert state_of(path).contents == "1" * 64


@pytest.mark.parametrize("way", WAYS)
def test_what_is_damaged_is_found_with_every_bad_row(tmp_path: Path, way: str) -> None:
    path = whole(tmp_path / "face.h5")
    spoil, ids = WAYS[way]
    with h5py.File(path, "a") as file:
        spoil(file)
    assert ids <= {issue.id for issue in issues(path) if issue.severity == "error"}
    assert {issue.id for issue in issues(path) if issue.severity == "error"} <= {*ids, ""}
    assert state_of(path).kind in ("damaged", "foreign")


@pytest.mark.parametrize("name", ["values", "timestamps_s", "landmarks"])
def test_damaged_pieces_of_the_file_name_every_row_that_lies_in_them(tmp_path: Path, name: str) -> None:
    path = whole(tmp_path / "face.h5")
    with h5py.File(path) as file:
        places = [file[name].id.get_chunk_info(i) for i in range(file[name].id.get_num_chunks())]
    data = bytearray(path.read_bytes())
    for place in places:
        data[place.byte_offset + 20] ^= 255
    path.write_bytes(data)
    assert {i.id for i in issues(path) if i.severity == "error"} == {"a", "b", "größe"}
    assert state_of(path).kind == "damaged"
    with open_cache(path) as cache, pytest.raises(CacheError):
        cache["b"], cache.landmarks("b")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_what_was_copied_in_part_is_refused(tmp_path: Path, share: float) -> None:
    path = whole(tmp_path / "face.h5")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert [i.severity for i in issues(path)] == ["error"]
    assert state_of(path).kind == "foreign"


@pytest.mark.slow
def test_bits_anywhere_in_the_file_show_or_change_nothing(tmp_path: Path) -> None:
    """Bytes that hold data: a flip is found, or what is read is what was written (some bytes of HDF5 are read by nobody)."""
    path = whole(tmp_path / "face.h5")
    data, generator = path.read_bytes(), np.random.default_rng(0)
    with open_cache(path) as cache:
        right = {id_: (cache[id_].values.tobytes(), cache[id_].timestamps_s.tobytes()) for id_ in cache}
        head = (cache.ids, cache.columns, cache.params, cache.failures, cache.notes, cache.rate, cache.contents)
    for at in generator.integers(0, len(data), 150):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << int(generator.integers(8))
        path.write_bytes(spoilt)
        if any(issue.severity == "error" for issue in issues(path)):
            continue
        with open_cache(path) as cache:
            assert head == (
                (cache.ids, cache.columns, cache.params, cache.failures, cache.notes, cache.rate, cache.contents)
            )
            for id_ in cache:
                assert right[id_] == (cache[id_].values.tobytes(), cache[id_].timestamps_s.tobytes())


def test_frames_that_are_missing_show_beside_the_clip(tmp_path: Path) -> None:
    """Half of the frames of a clip at a step that never changes: only the clip says that there are more."""
    manifest, out = clips(tmp_path), tmp_path / "features"
    one = extractor_spec("face", "tests.mean_color", mean_color.Params(rate_hz=12.5))
    run(jobs_from_manifest(manifest), (one,), out, out / "store", 1, 1.0)
    with h5py.File(out / "face.h5", "a") as file:
        file.attrs["rate"] = "clip"
    assert {i.id for i in issues(out / "face.h5", manifest) if i.kind == "frames" and i.severity == "error"} >= {
        "a",
        "b",
        "part/0",
    }


def test_times_with_gaps_are_odd(tmp_path: Path) -> None:
    path = whole(tmp_path / "face.h5")
    with h5py.File(path, "a") as file:
        file["timestamps_s"][0:50] = np.delete(np.arange(60), np.arange(3, 60, 6))[:50] / 25
        file["duration_s"][0] = 2.4
    assert {(i.id, i.severity) for i in issues(path) if i.kind == "rate"} == {("a", "warning")}


def test_what_was_made_of_other_clips_shows_beside_them(tmp_path: Path) -> None:
    manifest, out = clips(tmp_path), tmp_path / "features"
    run(jobs_from_manifest(manifest), (COLOR,), out, out / "store", 1, 1.0)
    write_clip(tmp_path / "clips" / "a.mp4", 0.6, color=(1, 2, 3))
    assert {i.id for i in issues(out / "face.h5", manifest, out / "store") if i.severity == "error"} >= {
        "a",
        "part/0",
        "part/1",
    }


# ------------------------------------------------------------------------------------------------ busy, and whose it is


def test_a_file_that_another_program_writes_is_busy_and_not_damaged(tmp_path: Path) -> None:
    path = whole(tmp_path / "face.h5")
    hold = f"import h5py, sys; f = h5py.File({str(path)!r}, 'r+'); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(BusyError) as busy:
            open_cache(path)
        assert busy.value.path == path
        with pytest.raises(BusyError):
            state_of(path)
        other.communicate()
    assert state_of(path).kind == "sound"


def test_whose_a_file_is_shows_in_any_schema_version(tmp_path: Path) -> None:
    ours = whole(tmp_path / "face.h5")
    imported = tmp_path / "of" / "face.h5"
    with open_cache(face_cache(tmp_path / "made.h5")) as cache:
        to_csv(cache, tmp_path / "csv")
    from_openface(tmp_path / "csv", tmp_path / "of", None)
    text = tmp_path / "text.h5"
    text.write_text("words")
    for path in (ours, imported):
        with h5py.File(path, "a") as file:
            file.attrs["schema_version"] = 9
    assert [state_of(path).kind for path in (ours, imported, text)] == ["damaged", "imported", "foreign"]
    assert state_of(tmp_path / "nothing.h5").kind == "missing"
