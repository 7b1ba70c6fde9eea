"""Annotation files of others: their tiers' names, what is missing in them, and what is wrong with them."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus.readers import annotation_files, eaf, textgrid
from bemerc.corpus.reading import FaultyCorpusError, Reading
from tests.errors import raises

TIERS = {"words": "{speaker}-utterance", "label": "{speaker}-mood"}


def eaf_text(*tiers: tuple[str, list[tuple[Any, Any, str]]], head: str = "", media: str = "") -> str:
    """An EAF of tiers of aligned annotations, without types and vocabularies."""
    slots, body = [], []
    for name, spans in tiers:
        body.append(f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="t">')
        for onset, offset, value in spans:
            first = len(slots)
            slots += [onset, offset]
            body.append(
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{first}" TIME_SLOT_REF1="t{first}" '
                f'TIME_SLOT_REF2="t{first + 1}"><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
            )
        body.append("</TIER>")
    order = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="t{number}"' + ("/>" if time is None else f' TIME_VALUE="{time}"/>')
        for number, time in enumerate(slots)
    )
    header = f'<HEADER TIME_UNITS="milliseconds">{media}</HEADER>'
    return f"{head}<ANNOTATION_DOCUMENT>{header}<TIME_ORDER>{order}</TIME_ORDER>{''.join(body)}</ANNOTATION_DOCUMENT>"


def read(folder: Path, **params: Any) -> Reading:
    return annotation_files.read(annotation_files.Params(**{"folder": str(folder), "labels": "meld"} | params))


def reasons(reading: Reading) -> str:
    return "\n".join(f"{finding.id}: {finding.reason}" for finding in reading.findings)


def test_tiers_of_other_names_become_speakers_words_and_labels(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "visit.mp4").touch()
    text = eaf_text(
        ("K-utterance", [(0, 1500, "oh no"), (3000, 4000, "yes")]),
        ("M-utterance", [(1200, 2900, "what?")]),
        ("K-mood", [(100, 1400, "Happiness"), (5000, 6000, "sad")]),
        ("gesture", [(0, 10, "nod")]),
    )
    (tmp_path / "train" / "visit.eaf").write_text(text, encoding="utf-8")
    reading = read(tmp_path, tiers=TIERS, speakers={"K": "Kim"})
    assert [(u.id, u.speaker, u.text, u.label, u.start_s, u.end_s, u.split) for u in reading.utterances] == [
        ("annotations/train/visit/0000", "Kim", "oh no", "joy", 0.0, 1.5, "train"),
        ("annotations/train/visit/0001", "M", "what?", None, 1.2, 2.9, "train"),
        ("annotations/train/visit/0002", "Kim", "yes", None, 3.0, 4.0, "train"),
    ]
    assert {u.clip for u in reading.utterances} == {str(tmp_path / "train" / "visit.mp4")}
    assert "1 labels of its tier K-mood overlap no words" in reasons(reading)


def test_files_that_would_share_a_dialogue_are_two(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    for path in (tmp_path / "x.eaf", tmp_path / "test" / "x.eaf"):
        path.write_text(eaf_text(("words@A", [(0, 1000, "hi")])), encoding="utf-8")
    turns = read(tmp_path).utterances
    assert [u.index for u in turns] == [0, 0]
    assert sorted(u.dialogue for u in turns) == ["annotations/test/x", "annotations/test/x (2)"]


def test_a_linked_recording_is_found_with_its_offset(tmp_path: Path) -> None:
    (tmp_path / "my film.mp4").touch()
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///gone/my%20film.mp4" RELATIVE_MEDIA_URL="./my%20film.mp4" TIME_ORIGIN="250"/>'
    (tmp_path / "a.eaf").write_text(eaf_text(("words@A", [(0, 1000, "hi")]), media=media), encoding="utf-8")
    (one,) = read(tmp_path).utterances
    assert (one.clip, one.start_s, one.end_s) == (str(tmp_path / "my film.mp4"), 0.25, 1.25)


def test_recordings_that_lie_elsewhere_are_looked_up_by_the_end_of_their_path(tmp_path: Path) -> None:
    (tmp_path / "films" / "day1").mkdir(parents=True)
    (tmp_path / "films" / "day1" / "x.mp4").touch()
    (tmp_path / "eaf").mkdir()
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/videos/day1/x.mp4" RELATIVE_MEDIA_URL="../../videos/day1/x.mp4"/>'
    (tmp_path / "eaf" / "a.eaf").write_text(eaf_text(("words@A", [(0, 1000, "hi")]), media=media), encoding="utf-8")
    assert "set prepare.annotations.clips" in reasons(read(tmp_path / "eaf"))
    (one,) = read(tmp_path / "eaf", clips=str(tmp_path / "films")).utterances
    assert one.clip == str(tmp_path / "films" / "day1" / "x.mp4")


GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2\n<exists>\n1\n"IntervalTier"\n"words@A"\n0\n2\n1\n0\n2\n"{}"\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_a_textgrid_in_any_encoding_of_praat(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.TextGrid").write_bytes(GRID.format('größe ""x""').encode(encoding))
    (one,) = read(tmp_path).utterances
    assert (one.text, one.speaker, one.end_s) == ('größe "x"', "A", 2.0)


def test_points_and_comments_of_a_textgrid_are_passed_over(tmp_path: Path) -> None:
    points = '"TextTier"\n"tones"\n0\n2\n1\n0.5\n"H*"\n'
    text = GRID.format("hi").replace("<exists>\n1\n", f'<exists> ! two tiers "x" 3\n2\n{points}')
    (tmp_path / "a.TextGrid").write_text(text, encoding="utf-8")
    reading = read(tmp_path)
    assert [u.text for u in reading.utterances] == ["hi"]
    assert "1 points" in reasons(reading)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<ANNOTATION_DOCUMENT><HEADER/>&b;</ANNOTATION_DOCUMENT>"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><ANNOTATION_DOCUMENT>&a;</ANNOTATION_DOCUMENT>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no element found"),
        (b"not XML", "no valid XML"),
        (b"<ANNOTATION_DOCUMENT><HEADER>", "no element found"),
        (b"<html/>", "another kind"),
        (BOMB.encode(), "declares entities"),
        (OUTSIDE.encode(), "declares entities"),
        (b'<?xml version="1.0" encoding="big5"?><ANNOTATION_DOCUMENT/>', "encoding"),
        (b'<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="PAL-frames"/></ANNOTATION_DOCUMENT>', "frames"),
    ],
)
def test_a_damaged_eaf_is_a_sentence_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.eaf").write_bytes(content)
    with pytest.raises(CorpusError, match=r"bad\.eaf.*" + message):
        eaf.read(tmp_path / "bad.eaf")
    with pytest.raises(CorpusError, match=r"not one utterance.*bad\.eaf"):
        read(tmp_path)
    (tmp_path / "good.eaf").write_text(eaf_text(("words@A", [(0, 9, "hi")])), encoding="utf-8")
    reading = read(tmp_path)
    assert [u.text for u in reading.utterances] == ["hi"]
    assert any(finding.needs_you and finding.id.endswith("bad.eaf") for finding in reading.findings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no TextGrid|ends where"),
        (b"ooBinaryFile\x08TextGrid", "binary"),
        (b'"ooTextFile" "Pitch 1" 0 1', "no TextGrid"),
        (GRID.encode()[:-10], "ends where"),
        (GRID.replace("IntervalTier", "FormantTier").encode(), "FormantTier"),
        (GRID.replace("\n1\n0\n", "\n99999999999\n0\n").encode(), "number of intervals"),
        (GRID.replace('"words@A"', "words").encode(), "in quotes"),
    ],
)
def test_a_damaged_textgrid_is_a_sentence_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.TextGrid").write_bytes(content)
    with pytest.raises(CorpusError, match=rf"bad\.TextGrid.*({message})"):
        textgrid.read(tmp_path / "bad.TextGrid")


def test_what_cannot_be_an_utterance_is_left_out_and_named(tmp_path: Path) -> None:
    odd = [
        (0, 1000, "a"),
        (500, 1500, "b"),
        (900, 800, "back"),
        (None, 2000, "open"),
        ("9" * 40, 3, "far"),
        (-5, 9, "minus"),
    ]
    (tmp_path / "a.eaf").write_text(
        eaf_text(("words@A", odd), ("words@B", []), ("label@a", [(0, 900, "joy")])), encoding="utf-8"
    )
    (tmp_path / "a.TextGrid").write_text(GRID.format("twin"), encoding="utf-8")
    (tmp_path / "empty.eaf").write_text(eaf_text(("words@A", [])), encoding="utf-8")
    (tmp_path / "other.eaf").write_text(eaf_text(("Sprecher", [(0, 9, "x")])), encoding="utf-8")
    reading = read(tmp_path)
    assert [u.text for u in reading.utterances] == ["a", "b"]
    for message in (
        "a.eaf: 4 of its annotations have no times",
        "1 intervals of its tier words@A begin before",
        "a.eaf: Its tier label@a has 1 labels, and no tier of words belongs to it.",
        "a.TextGrid: a.eaf is read instead",
        "empty.eaf: Its tiers of words have no intervals",
        "other.eaf: None of its tiers is one of words; they are called Sprecher. Set prepare.annotations.tiers.words.",
        "links no recording",
    ):
        assert message in reasons(reading), message


@pytest.mark.parametrize("suffix", [".eaf", ".TextGrid"])
def test_mutated_files_end_in_sentences_with_their_name(tmp_path: Path, suffix: str) -> None:
    spans = [(0, 1500, "oh no"), (3000, 4000, "yes")]
    whole = eaf_text(("words@A", spans), ("label@A", spans[:1])) if suffix == ".eaf" else GRID.format("hi")
    chance = random.Random(0)
    path, refusals = tmp_path / f"file{suffix}", []
    for _ in range(300):
        data = bytearray(whole.encode())
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 30)] = chance.choice(
                [b"", b'"', b"<", b"\0", b"9" * 20, b"1e308 ", b"\xff"]
            )
        path.write_bytes(bytes(data))
        try:
            read(tmp_path)
        except CorpusError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(f"file{suffix}" in refusal for refusal in refusals)


def test_labels_must_be_of_a_declared_set(tmp_path: Path) -> None:
    text = eaf_text(("words@A", [(0, 9, "x")]), ("label@A", [(0, 9, "froh")]))
    (tmp_path / "a.eaf").write_text(text, encoding="utf-8")
    with pytest.raises(FaultyCorpusError, match="label 'froh' is unknown"):
        read(tmp_path)
    with pytest.raises(FaultyCorpusError, match=r"set prepare\.annotations\.labels"):
        read(tmp_path, labels=None)
    assert read(tmp_path, aliases={"froh": "joy"}).utterances[0].label == "joy"


@pytest.mark.parametrize(
    "record",
    [
        *("", "{}", "[1]", '{"id": "../../x"}', '{"id": 3, "span": 2}', "[" * 5000),
        '{"id": "a", "dialogue": "d", "index": 0, "split": "train", "clip": null, "start_s": null, "end_s": null, "span": [0, "x"]}',
        '{"id": "a", "dialogue": "../d", "index": 0, "split": "train", "clip": null, "start_s": 1e99, "end_s": null, "span": [0, 9]}',
    ],
)
def test_a_record_that_is_none_leaves_a_new_utterance(tmp_path: Path, record: str) -> None:
    text = eaf_text(("words@A", [(0, 9, "x")]), ("turn@A", [(0, 9, record)]))
    (tmp_path / "a.eaf").write_text(text, encoding="utf-8")
    (one,) = read(tmp_path).utterances
    assert (one.id, one.start_s, one.end_s) == ("annotations/test/a/0000", 0.0, 0.009)


def test_a_copied_annotation_is_a_turn_of_its_own(tmp_path: Path) -> None:
    record = '{"id": "x/1", "dialogue": "x/d", "index": 4, "split": "dev", "clip": null, "start_s": null, "end_s": null, "span": [0, 9]}'
    text = eaf_text(("words@A", [(0, 9, "x"), (20, 29, "y")]), ("turn@A", [(0, 9, record), (20, 29, record)]))
    (tmp_path / "a.eaf").write_text(text, encoding="utf-8")
    assert [(u.id, u.dialogue, u.index, u.split) for u in read(tmp_path).utterances] == [
        ("x/1", "x/d", 0, "dev"),
        ("annotations/test/a/0001", "x/d", 1, "dev"),
    ]


def test_settings_name_their_faults(tmp_path: Path) -> None:
    params = annotation_files.Params(tiers={"turns": "x", "words": "{speaker}{speaker}"})
    assert len(list(params.check())) == 2
    with raises(CorpusError, path=tmp_path, missing=True):
        read(tmp_path)
    with raises(CorpusError, path=tmp_path / "none", missing=True):
        read(tmp_path / "none")


@pytest.mark.parametrize("suffix", [".eaf", ".TextGrid"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    with raises(CorpusError, path=pipe):
        (eaf if suffix == ".eaf" else textgrid).read(pipe)
