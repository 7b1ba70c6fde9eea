"""Annotation files out and back: round trips without loss, and what others' readers make of them."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pympi
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid as praat

from bemerc.behavior.describe.marks import Mark
from bemerc.corpus import prepare
from bemerc.corpus.manifest import Manifest, Utterance, read_manifest, write_manifest
from bemerc.corpus.readers import annotation_files
from bemerc.corpus.reading import person
from bemerc.interop.annotations import eaf, textgrid
from bemerc.interop.annotations.recordings import Annotated, recordings
from bemerc.language.predict.records import Prediction, write_predictions
from tests.cli.test_cli import bemerc
from tests.interop.test_exchange import face_cache

LABELS = ("calm", "joy")
WRITERS = {"eaf": (eaf.write, ".eaf"), "textgrid": (textgrid.write, ".TextGrid")}

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=8).map(person)
NAMES = st.one_of(TEXT, st.sampled_from(["A", "A (2)", "A (2) (1)", "A (2) (2)"]))  # second tiers end in " (2)"
# What XML cannot hold becomes a replacement character, and Praat knows no text of blanks.
NOT_IN_XML = "".join({*map(chr, range(32)), "\ufffe", "\uffff"} - {*"\t\r\n"})
WORDS = st.text(st.characters(codec="utf-8", exclude_characters=NOT_IN_XML), max_size=12)
LABEL = st.sampled_from([*LABELS, None])
SPAN = st.one_of(
    st.tuples(st.none(), st.none()),
    st.tuples(st.floats(0, 9), st.none()),
    st.tuples(st.floats(0, 9), st.floats(9.01, 20)),
    st.tuples(st.integers(0, 5).map(float), st.integers(6, 9).map(float)),
)


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Utterance, ...]:
    """Dialogues with turns in one clip, in clips of their own, and without one; times overlap and are open."""
    utterances = []
    for dialogue in range(draw(st.integers(1, 3))):
        split = draw(st.sampled_from(["train", "dev", "test"]))
        for index in range(draw(st.integers(1, 4))):
            clip = draw(st.sampled_from([None, "a.mp4", f"d{dialogue}.mp4", f"u{dialogue}_{index}.wav"]))
            start_s, end_s = draw(SPAN) if clip else (None, None)
            crop = draw(st.sampled_from([None, (0.0, 0.0, 0.5, 1.0)]))
            words = draw(WORDS.filter(lambda text: not text or bool(text.strip())))
            labels = [draw(LABEL) for _ in range(4)]
            id_, name = f"x/{split}/d{dialogue}u{index}", f"x/{split}/d{dialogue}"
            place = (draw(NAMES), words, labels[0], split, clip, start_s, end_s)
            utterances.append(Utterance(id_, name, index, *place, crop, *labels[1:]))  # type: ignore[arg-type]
    return tuple(utterances)


def exported(utterances: Sequence[Utterance], folder: Path, layout: str) -> None:
    """Write the clips (empty files) and the recordings of ``utterances`` below ``folder``."""
    for u in utterances:
        if u.clip is not None:
            (folder / u.clip).touch()
    manifest = Manifest(tuple(utterances), LABELS, ("x",), folder)
    write, suffix = WRITERS[layout]
    annotated = [Annotated(u, 1.5 + i / 7, [Mark("blink", 0.1, 0.2, "blink")]) for i, u in enumerate(utterances)]
    for number, recording in enumerate(recordings(manifest, annotated)):
        write(recording, folder / "out" / f"{number}{suffix}")


def read_back(folder: Path, **params: Any) -> list[Utterance]:
    reading = annotation_files.read(annotation_files.Params(folder=str(folder / "out"), **params))
    clips = [None if u.clip is None else Path(u.clip).relative_to(folder).as_posix() for u in reading.utterances]
    return sorted((replace(u, clip=c) for u, c in zip(reading.utterances, clips, strict=True)), key=lambda u: u.id)


@pytest.mark.parametrize("layout", WRITERS)
@settings(deadline=None, max_examples=20)
@given(utterances=manifests())
def test_what_goes_out_comes_back(layout: str, utterances: tuple[Utterance, ...]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exported(utterances, folder, layout)
        assert read_back(folder, labels=LABELS) == sorted(utterances, key=lambda u: u.id)


@pytest.mark.parametrize("layout", WRITERS)
def test_a_name_that_ends_like_a_second_tier_is_a_speaker_of_its_own(layout: str, tmp_path: Path) -> None:
    names = ("A", "A", "A (2)", "A (2)", "A (2) (1)", "A (2) (2)")
    utterances = [
        Utterance(f"x/{n}", "x", n, name, f"words {n}", "joy", "test", "a.mp4", n / 10, n / 10 + 5)
        for n, name in enumerate(names)
    ]
    exported(utterances, tmp_path, layout)
    assert read_back(tmp_path, labels=LABELS) == utterances


def talk(folder: Path) -> tuple[Utterance, ...]:
    turns = (
        Utterance("x/train/t0", "x/train/t", 0, "Ann", 'She said "no" & left', "calm", "train", "talk.mp4", 0.5, 2.0),
        Utterance("x/train/t1", "x/train/t", 1, "Bo", "Größe <3 你好", None, "train", "talk.mp4", 1.8, 3.25),
        Utterance("x/train/t2", "x/train/t", 2, "Ann", "", "joy", "train", "talk.mp4", 4.0, 5.0),
    )
    (folder / "talk.mp4").touch()
    return turns


@pytest.mark.parametrize("layout", WRITERS)
def test_own_sound_and_listeners_come_back(layout: str, tmp_path: Path) -> None:
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    place = ("test", "a.mp4", 0.0, 1.0)
    utterances = [
        Utterance("x/0", "x", 0, "Ann", "one", "joy", *place, left, track=2, listeners=(("Bo", right),)),
        Utterance("x/1", "x", 1, "Bo", "two", None, *place, right, sound="bo.wav"),
        Utterance("x/2", "x", 2, "Bo", "three", None, *place[:2], 2.0, 3.0, right, sound="bo.wav"),
    ]
    (tmp_path / "bo.wav").touch()
    exported(utterances, tmp_path, layout)
    again = read_back(tmp_path, labels=LABELS)
    assert [u.sound and Path(u.sound).relative_to(tmp_path).as_posix() for u in again] == [None, "bo.wav", "bo.wav"]
    assert [replace(u, sound=utterances[n].sound) for n, u in enumerate(again)] == utterances
    (tmp_path / "bo.wav").unlink()
    reading = annotation_files.read(annotation_files.Params(folder=str(tmp_path / "out"), labels=LABELS))
    assert sum("the speaker's own sound" in finding.reason for finding in reading.findings) == 1


def test_who_speaks_after_all_has_their_own_tile(tmp_path: Path) -> None:
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    listeners = (("Bo", right), ("Cy", left))
    turns = [
        Utterance(f"x/{n}", "x", n, "Ann", "one", "joy", "test", "a.mp4", n, n + 1, left, track=2, listeners=listeners)
        for n in range(2)
    ]
    exported(turns, tmp_path, "eaf")
    (file,) = (tmp_path / "out").iterdir()
    file.write_text(file.read_text(encoding="utf-8").replace('"words@Ann"', '"words@Bo"'), encoding="utf-8")
    reading = annotation_files.read(annotation_files.Params(folder=str(tmp_path / "out"), labels=LABELS))
    assert [u.id for u in reading.utterances] == ["x/0", "x/1"]
    for u in reading.utterances:
        assert (u.speaker, u.crop, u.track, u.listeners) == ("Bo", right, None, (("Cy", left),))
    assert ["x/0 and 1 more are Bo's now" in finding.reason for finding in reading.findings] == [True]


@pytest.mark.parametrize("layout", WRITERS)
def test_a_tier_of_words_that_is_renamed_keeps_its_records_and_labels(layout: str, tmp_path: Path) -> None:
    utterances = talk(tmp_path)
    exported(utterances, tmp_path, layout)
    (file,) = (tmp_path / "out").iterdir()
    file.write_text(file.read_text(encoding="utf-8").replace('"words@Ann"', '"words@Zoe"'), encoding="utf-8")
    renamed = [replace(u, speaker="Zoe") if u.speaker == "Ann" else u for u in utterances]
    assert read_back(tmp_path, labels=LABELS) == renamed


def test_an_eaf_has_the_order_the_ids_and_the_references_of_the_schema(tmp_path: Path) -> None:
    exported(talk(tmp_path), tmp_path, "eaf")
    root = ET.parse(tmp_path / "out" / "0.eaf").getroot()
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LANGUAGE", "CONSTRAINT", "CONTROLLED_VOCABULARY"]
    assert list(dict.fromkeys(child.tag for child in root)) == order
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    ids = [
        element.attrib[name]
        for element in root.iter()
        for name in ("ANNOTATION_ID", "TIME_SLOT_ID", "LANG_ID", "STEREOTYPE", "CVE_ID")
        if name in element.attrib
    ]
    assert len(ids) == len(set(ids))
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    for one in root.iter("ALIGNABLE_ANNOTATION"):
        assert slots[one.attrib["TIME_SLOT_REF1"]] < slots[one.attrib["TIME_SLOT_REF2"]]
    annotations = {one.attrib["ANNOTATION_ID"] for one in root.iter("ALIGNABLE_ANNOTATION")}
    assert {one.attrib["ANNOTATION_REF"] for one in root.iter("REF_ANNOTATION")} <= annotations
    types = {one.attrib["LINGUISTIC_TYPE_ID"]: one for one in root.iter("LINGUISTIC_TYPE")}
    tiers = {tier.attrib["TIER_ID"]: tier for tier in root.iter("TIER")}
    for tier in tiers.values():
        of_parent = types[tier.attrib["LINGUISTIC_TYPE_REF"]].attrib["TIME_ALIGNABLE"] == "false"
        assert of_parent == ("PARENT_REF" in tier.attrib)
        assert tier.attrib.get("PARENT_REF", tier.attrib["TIER_ID"]) in tiers
    assert types["label"].attrib["CONTROLLED_VOCABULARY_REF"] == root.find("CONTROLLED_VOCABULARY").attrib["CV_ID"]  # type: ignore[union-attr]
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert (media.attrib["RELATIVE_MEDIA_URL"], media.attrib["MIME_TYPE"]) == ("./../talk.mp4", "video/mp4")


def test_a_correction_by_pympi_comes_back(tmp_path: Path) -> None:
    exported(talk(tmp_path), tmp_path, "eaf")
    path = tmp_path / "out" / "0.eaf"
    document = pympi.Elan.Eaf(str(path))
    assert document.get_annotation_data_for_tier("words@Bo") == [(1800, 3250, "Größe <3 你好")]
    assert [entry[0][0][0] for entry in document.get_cv_entries("labels").values()] == list(LABELS)
    document.add_ref_annotation("label@Bo", "words@Bo", 2000, "joy")
    document.remove_ref_annotation("label@Ann", 600)
    document.add_annotation("words@Ann", 2500, 3000, "wait")  # a turn that was overlooked
    document.to_file(str(path))
    before, turns = talk(tmp_path), read_back(tmp_path)
    new = turns[0]
    assert (new.dialogue, new.index, new.speaker, new.text, new.split) == ("x/train/t", 2, "Ann", "wait", "train")
    assert (new.start_s, new.end_s, new.label, new.clip) == (2.5, 3.0, None, "talk.mp4")
    assert turns[1:] == [replace(before[0], label=None), replace(before[1], label="joy"), replace(before[2], index=3)]


def test_praat_reads_the_textgrid(tmp_path: Path) -> None:
    exported(talk(tmp_path), tmp_path, "textgrid")
    path = tmp_path / "out" / "0.TextGrid"
    grid = praat.openTextgrid(str(path), includeEmptyIntervals=False)
    assert [tuple(one) for one in grid.getTier("words@Ann").entries] == [(0.5, 2.0, 'She said "no" & left')]
    assert [tuple(one) for one in grid.getTier("label@Ann").entries] == [(0.5, 2.0, "calm"), (4.0, 5.0, "joy")]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:8] == [
        *('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", "xmax = 5 "),
        *("tiers? <exists> ", f"size = {len(grid.tierNames)} ", "item []: "),
    ]
    before = sorted(talk(tmp_path), key=lambda u: u.id)
    for form in ("short_textgrid", "long_textgrid"):
        grid.save(str(path), form, includeBlankSpaces=True)
        assert read_back(tmp_path, labels=LABELS) == before
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    assert read_back(tmp_path, labels=LABELS) == before


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A manifest of two speakers with a face cache, and predictions of one of its turns."""
    face_cache(tmp_path / "cache" / "face.h5", ("x/train/t0", "x/train/t1"))
    write_manifest(tmp_path / "manifest.jsonl", talk(tmp_path), LABELS, ("x",))
    scores = {"calm": 0.25, "joy": 0.75}
    write_predictions(tmp_path / "p.jsonl", [Prediction("x/train/t0", "calm", "joy", scores)])
    return tmp_path


def test_the_command_writes_every_layout(project: Path) -> None:
    for layout in ("eaf", "textgrid", "webvtt", "bids", "long"):
        out = ("cache", "export", project / "cache", project / layout, "--to", layout)
        answer = bemerc(*out, "--predictions", project / "p.jsonl")
        assert answer.returncode == 0, answer.stderr
        assert "3 utterances in 1 recordings" in answer.stdout
    document = pympi.Elan.Eaf(str(project / "eaf" / "x" / "train" / "t.eaf"))
    assert document.get_annotation_data_for_tier("predicted@Ann")[0][:3] == (500, 2000, "joy")
    assert document.get_annotation_data_for_tier("probability@Ann")[0][2] == "0.750"
    assert "AU01@Ann" in document.get_tier_names()
    grid = praat.openTextgrid(str(project / "textgrid" / "x" / "train" / "t.TextGrid"), includeEmptyIntervals=False)
    assert set(grid.tierNames) == set(document.get_tier_names())
    cues = webvtt.read(project / "webvtt" / "x" / "train" / "t.vtt").captions
    assert [(cue.start, cue.end, cue.voice) for cue in cues[:2]] == [
        ("00:00:00.500", "00:00:02.000", "Ann"),
        ("00:00:01.800", "00:00:03.250", "Bo"),
    ]
    assert cues[0].text.splitlines()[1] == "[joy 0.75]"
    with (project / "long").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["tier"] == "words"]
    assert [(row["speaker"], row["onset"], row["offset"]) for row in rows] == [
        ("Ann", "0.500", "2.000"),
        ("Ann", "4.000", "5.000"),
        ("Bo", "1.800", "3.250"),
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (project / "eaf").rglob("*.eaf"))


def test_somebodys_bids_dataset_is_never_replaced(project: Path) -> None:
    about = project / "study" / "participants.tsv"
    about.parent.mkdir()
    about.write_text("participant_id\tage\nsub-01\t30\n")
    answer = bemerc("cache", "export", project / "cache", about.parent, "--to", "bids")
    assert (answer.returncode, list(about.parent.iterdir())) == (1, [about]), answer.stderr
    assert about.read_text() == "participant_id\tage\nsub-01\t30\n"
    assert bemerc("cache", "export", project / "cache", about.parent, "--to", "bids", "--force").returncode == 2


def test_a_bids_dataset_names_its_columns_and_steps(project: Path) -> None:
    answer = bemerc("cache", "export", project / "cache", project / "bids", "--to", "bids")
    assert answer.returncode == 0, answer.stderr
    folder = project / "bids" / "sub-Ann" / "beh"
    assert json.loads((project / "bids" / "dataset_description.json").read_text())["BIDSVersion"]
    about = json.loads((folder / "sub-Ann_task-xtraint_recording-face_physio.json").read_text())
    with gzip.open(folder / "sub-Ann_task-xtraint_recording-face_physio.tsv.gz", "rt") as file:
        rows = [line.split("\t") for line in file.read().splitlines()]
    assert (about["SamplingFrequency"], about["StartTime"], len(rows)) == (25.0, 0.5, 30)
    assert {len(row) for row in rows} == {len(about["Columns"])}
    assert rows[2][0] == "n/a"
    assert float(rows[29][0]) == pytest.approx(3.0)
    with (folder / "sub-Ann_task-xtraint_events.tsv").open(newline="") as file:
        events = list(csv.DictReader(file, delimiter="\t"))
    assert [row["onset"] for row in events] == [f"{o:.3f}" for o in sorted(float(row["onset"]) for row in events)]
    assert {"words", "label", "AU01"} <= {row["trial_type"] for row in events}


def test_prepare_trains_on_what_was_corrected(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    export = ("cache", "export", project / "cache", project / "eaf", "--to", "eaf")
    assert bemerc(*export).returncode == 0
    (file,) = (project / "eaf").rglob("*.eaf")
    corrected = file.read_bytes()
    again = bemerc(*export)
    assert (again.returncode, "add --force" in again.stderr, file.read_bytes()) == (1, True, corrected)
    assert bemerc(*export, "--force").returncode == 0
    params = prepare.Params(corpora=("annotations",), annotations=annotation_files.Params(folder="eaf"), labels=LABELS)
    manifest, findings = prepare.run(params, Path("manifest2.jsonl"))
    assert manifest.utterances == read_manifest(project / "manifest.jsonl").utterances
    assert not findings


def test_predictions_are_those_beside_the_caches(project: Path) -> None:
    shutil.copy(project / "p.jsonl", project / "cache" / "predictions.jsonl")
    answer = bemerc("cache", "export", project / "cache", project / "out", "--to", "webvtt", "--json")
    assert {key: json.loads(answer.stdout)[key] for key in ("utterances", "words", "emotions")} == {
        "utterances": 3,
        "words": 2,
        "emotions": 2,
    }
    assert "[joy 0.75]" in (project / "out" / "x" / "train" / "t.vtt").read_text()


def test_subtitles_without_a_word_are_no_silent_success(tmp_path: Path) -> None:
    face_cache(tmp_path / "cache" / "face.h5", ("a",))
    (tmp_path / "a.wav").touch()
    answer = bemerc("cache", "export", tmp_path / "cache", tmp_path / "out", "--to", "webvtt", "--video-dir", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert all(way in answer.stdout for way in ("--asr", "--predictions"))


def test_the_command_says_what_it_lacks(project: Path) -> None:
    alone = face_cache(project / "far" / "away" / "face.h5")
    for arguments, message in (
        ((alone, "out", "--to", "eaf"), "--manifest or --video-dir"),
        ((project / "cache", "out", "--to", "csv", "--predictions", project / "p.jsonl"), "eaf, textgrid"),
    ):
        answer = bemerc("cache", "export", *arguments)
        assert answer.returncode in (1, 2)
        assert message in " ".join(answer.stderr.split())
