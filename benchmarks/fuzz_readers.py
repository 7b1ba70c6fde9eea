"""The readers that fuzz.py attacks: how sound files are made, and how a file is read as the commands read it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.core.errors import BemercError


@dataclass(frozen=True)
class Reader:
    """A reader: what makes its undamaged files, and what reads a damaged one. text: damage characters, not bytes."""

    name: str
    seeds: Callable[[Path], Sequence[Path]]
    read: Callable[[Path], object]
    text: bool = False


def _clips(folder: Path) -> list[Path]:
    from tests.clips import write_clip

    names = ("a.mp4", "b.mkv", "c.avi", "d.mov", "e.webm", "f.ts")
    made = [write_clip(folder / name, 0.6) for name in names[:4]]
    if shutil.which("ffmpeg"):
        for name in names[4:]:
            os.system(f"ffmpeg -nostdin -v quiet -y -i '{made[0]}' '{folder / name}'")
            made.append(folder / name)
    return [path for path in made if path.exists()]


def _read_clip(path: Path) -> None:
    from bemerc.media.audio import read_sound
    from bemerc.media.video import Video, probe

    probe(path)
    for sound_first in (False, True):
        try:
            if sound_first:
                read_sound(path)
                continue
            with Video(path) as video:
                for frame in video:
                    frame.rgb()
        except BemercError:
            if sound_first:
                raise


def _features(columns: int, rows: int = 40) -> Any:
    from bemerc.cache import Features

    rng = np.random.default_rng(0)
    names = tuple(f"AU{i:02d}_r" for i in range(columns))
    return Features(rng.normal(size=(rows, columns)).astype(np.float32), np.arange(rows) / 25, names)


def _frame_caches(folder: Path) -> list[Path]:
    from bemerc.cache import Head, Rows, write_cache

    face = _features(5)
    points = np.random.default_rng(1).uniform(0, 300, (40, 478, 3)).astype(np.float32)
    for name, landmarks in (("face.h5", points), ("plain.h5", None)):
        write_cache(
            folder / name,
            Head("face", face.columns, "clip", "made/1", {"a": 1}),
            Rows(
                [("d/a", face, 1.6, landmarks), ("d/b", face, 1.6, landmarks)],
                {"d/c": "The clip is empty (0 bytes)."},
                notes={"d/b": "The picture ends at 1.00 of 2.00 s."},
                sources={"d/a": "0" * 64},
            ),
        )
    return [folder / "face.h5", folder / "plain.h5"]


def _read_frame_cache(path: Path) -> None:
    from bemerc.behavior.describe import rules, run
    from bemerc.cache import open_cache
    from bemerc.cache.summary import summary

    with open_cache(path) as cache:
        summary(cache)
        for id_ in cache:
            if id_ in cache.failures:
                continue
            cache.landmarks(id_)
            rules.describe(run.read_clip({"face": cache}, id_)[0])


def _world(folder: Path) -> Any:
    from tests import toy_language as language

    return language.manifest({"train": 2, "dev": 1, "test": 1})


def _token_files(folder: Path) -> list[Path]:
    from tests import toy_language as language

    language.write(folder / "tokens.h5", _world(folder))
    return [folder / "tokens.h5"]


def _read_tokens(path: Path) -> None:
    from bemerc.behavior.tokens.file import open_tokens

    file = open_tokens(path)
    for id_ in file.ids:
        file[id_]


def _pieces(folder: Path) -> list[Path]:
    from bemerc.extraction.store import Result, Store

    store = Store(folder / "store")
    store.put("face", "a" * 40, Result(_features(5), 1.6, note="One frame was left out."))
    return sorted((folder / "store").rglob("*.npz"))


def _read_piece(path: Path) -> None:
    from bemerc.extraction.store import Store

    store = Store(path.parent / "store")
    kept = store.folder / "face" / "aa" / f"{'a' * 40}.npz"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, kept)
    store.result("face", "a" * 40, _features(5).columns)


def _pickles(folder: Path) -> list[Path]:
    rng = np.random.default_rng(2)
    split = {
        "id": ["v1$_$0", "v1$_$1"],
        "vision": rng.normal(size=(2, 9, 4)).astype(np.float32),
        "audio": rng.normal(size=(2, 9, 3)),
        "vision_lengths": [9, 5],
        "raw_text": np.array(["hello", "größe"]),
    }
    paths = []
    for protocol in (2, 4, 5):
        paths.append(folder / f"mmsa{protocol}.pkl")
        paths[-1].write_bytes(pickle.dumps({"train": split, "valid": split | {"id": ["w$_$0", "w$_$1"]}}, protocol))
    return paths


def _read_pickle(path: Path) -> None:
    from bemerc.interop.importers import from_mmsa

    from_mmsa(path, path.parent / "out", None, 25.0)


def _arrays(folder: Path) -> list[Path]:
    for i, dtype in enumerate((np.float32, np.float64, np.int16)):
        np.save(folder / f"u{i}.npy", np.arange(60).reshape(20, 3).astype(dtype))
    return sorted(folder.glob("*.npy"))


def _read_array(path: Path) -> None:
    from bemerc.interop.importers import from_mertools

    from_mertools(path, path.parent / "out", None, "face", 25.0)


def _openface(folder: Path) -> list[Path]:
    head = "frame, face_id, timestamp, confidence, success, pose_Rx, pose_Ry, pose_Rz, AU01_r, AU12_r, AU12_c"
    rows = [f"{i + 1}, 0, {i / 25:.3f}, 0.98, 1, 0.1, 0.0, -0.1, 0.5, {i % 5}.25, 1" for i in range(50)]
    (folder / "of.csv").write_text("\n".join([head, *rows]) + "\n")
    return [folder / "of.csv"]


def _read_openface(path: Path) -> None:
    from bemerc.interop.importers import from_openface

    from_openface(path, path.parent / "out", None)


def _subtitles(folder: Path) -> list[Path]:
    cues = [
        ("00:00:00,500", "00:00:01,500", "<v Ann>Hello <i>there</i>"),
        ("00:00:02,000", "00:00:03,000", "{\\an8}BO: Hi &amp; bye"),
    ]
    srt = "".join(f"{i + 1}\n{a} --> {b}\n{text}\n\n" for i, (a, b, text) in enumerate(cues * 20))
    vtt = "WEBVTT\n\nNOTE made\n\n" + "".join(
        f"{a.replace(',', '.')} --> {b.replace(',', '.')} align:start\n{t}\n\n" for a, b, t in cues * 20
    )
    (folder / "a.srt").write_text(srt, encoding="utf-8")
    (folder / "b.vtt").write_text(vtt, encoding="utf-8")
    (folder / "c.srt").write_text(srt, encoding="utf-16")
    return sorted(folder.glob("?.*"))


def _read_subtitles(path: Path) -> None:
    from bemerc.corpus.readers.recording import read_dir

    video = path.with_suffix(".mp4")
    video.write_bytes(b"")
    try:
        read_dir(path.parent)
    finally:
        video.unlink()


def _tables(folder: Path) -> list[Path]:
    head = "id,dialogue,index,speaker,text,label,split,clip,start_s,end_s,crop"
    rows = [
        f'u{i},d{i // 4},{i % 4},Ann,"Hello, {i}",joy,{("train", "dev", "test")[i // 4 % 3]},,{i}.5,{i + 1}.25,left'
        for i in range(24)
    ]
    text = "\n".join([head, *rows]) + "\n"
    (folder / "a.csv").write_text(text, encoding="utf-8-sig")
    (folder / "b.csv").write_text(text.replace(",", ";").replace("Hello;", "Hello,"), encoding="utf-8")
    (folder / "c.csv").write_text(text.replace(",", "\t"), encoding="utf-16")
    return sorted(folder.glob("?.csv"))


def _read_table(path: Path) -> None:
    from bemerc.corpus.readers import table

    table.read(table.Params(file=str(path)))


def _manifests(folder: Path) -> list[Path]:
    from bemerc.corpus.manifest import write_manifest

    of = _world(folder)
    write_manifest(folder / "manifest.jsonl", of.utterances, of.labels, of.corpora)
    return [folder / "manifest.jsonl"]


def _read_manifest(path: Path) -> None:
    from bemerc.corpus.manifest import read_manifest

    read_manifest(path)


def _params(folder: Path) -> list[Path]:
    shutil.copy(Path(__file__).parents[1] / "params.yaml", folder / "params.yaml")
    return [folder / "params.yaml"]


def _read_params(path: Path) -> None:
    from bemerc.behavior.tokens import file as tokens
    from bemerc.core.config import load
    from bemerc.corpus.prepare import Params as Prepare
    from bemerc.extraction.params import AudioParams, VideoParams

    for section, cls in (
        ("prepare", Prepare),
        ("extract_video", VideoParams),
        ("extract_audio", AudioParams),
        ("tokens", tokens.Params),
    ):
        load(path, section, cls)


def _lines_of_json(folder: Path) -> list[Path]:
    from bemerc.behavior.describe.description import write_descriptions
    from bemerc.language.predict.records import Prediction, write_predictions
    from tests import toy_language as language

    of = _world(folder)
    write_descriptions(folder / "descriptions.jsonl", language.describe(of))
    scores = {"neutral": 0.25, "joy": 0.5, "anger": 0.25}
    write_predictions(folder / "predictions.jsonl", [Prediction(u.id, u.label, "joy", scores) for u in of.utterances])
    return sorted(folder.glob("*.jsonl"))


def _read_json_lines(path: Path) -> None:
    from bemerc.behavior.describe.description import read_descriptions
    from bemerc.language.predict.records import read_predictions

    (read_predictions if "predictions" in path.name else read_descriptions)(path)


def _references(folder: Path) -> list[Path]:
    from bemerc.behavior.describe.references import GENERAL

    (folder / "references.json").write_text(GENERAL.to_json())
    return [folder / "references.json"]


def _read_references(path: Path) -> None:
    from bemerc.behavior.describe.references import References

    References.from_json(path.read_text(encoding="utf-8", errors="replace"))


READERS = (
    Reader("clips", _clips, _read_clip),
    Reader("frame caches", _frame_caches, _read_frame_cache),
    Reader("tokens", _token_files, _read_tokens),
    Reader("finished clips", _pieces, _read_piece),
    Reader("pickles", _pickles, _read_pickle),
    Reader("arrays", _arrays, _read_array),
    Reader("OpenFace tables", _openface, _read_openface, text=True),
    Reader("subtitles", _subtitles, _read_subtitles, text=True),
    Reader("tables", _tables, _read_table, text=True),
    Reader("manifests", _manifests, _read_manifest, text=True),
    Reader("params", _params, _read_params, text=True),
    Reader("JSON lines", _lines_of_json, _read_json_lines, text=True),
    Reader("references", _references, _read_references, text=True),
)
