"""Subtitles as tools write them, damaged ones, and two other readers as judges: no good cue is ever lost."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pysubs2
import pytest
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import LONGEST_TEXT
from bemerc.corpus.readers import subtitle_files, subtitles
from bemerc.corpus.readers.recording import SUFFIXES, read_dir
from bemerc.corpus.reading import Finding

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)


def read(
    folder: Path, content: str | bytes, suffix: str = ".srt"
) -> tuple[list[tuple[float, float, str]], list[Finding]]:
    path = folder / f"talk{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    cues, findings = subtitles.read(path)
    return [(cue.start_s, cue.end_s, cue.text) for cue in cues], list(findings)


def about(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(f.kind, f.id.rpartition("/")[2], f.action) for f in findings]


THREE = [(0.5, 1.5, "Hello there"), (2.0, 3.0, "Second line"), (3.1, 4.0, "Third")]
NUMBERED = "1\n00:00:00,500 --> 00:00:01,500\nHello there\n{}2\n00:00:02,000 --> 00:00:03,000\nSecond line\n{}3\n00:00:03,100 --> 00:00:04,000\nThird\n"


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".srt", NUMBERED.format("\n", "\n")),
        (".srt", NUMBERED.format("", "")),
        (".srt", NUMBERED.format("\n\n\n", " \t\n")),
        (".vtt", "WEBVTT\n\n" + NUMBERED.format("", "")),
        (".vtt", NUMBERED.format("\n", "")),
        (".srt", NUMBERED.format("\n", "\n").replace("\n", "\r\r\n")),
        (".srt", NUMBERED.format("\n", "\n").replace("\n", "\n\n")),
        (".srt", NUMBERED.format("\n", "\n").replace("\n", "\r")),
        (".srt", NUMBERED.format("\n", "\n").replace(",500", ",500000").replace(",100", ".100000000")),
        (".srt", NUMBERED.format("\n", "\n").replace("00:00:02,000", "00: 00: 02, 000").replace("-->", "-- >", 1)),
        (".srt", NUMBERED.format("\n", "\n").replace("-->", "->")),
        (".srt", re.sub(r"^\d\n", "", NUMBERED.format("\n", "\n"), flags=re.MULTILINE)),
        (".srt", re.sub(r"^\d\n", "", NUMBERED.format("", ""), flags=re.MULTILINE)),
        (".srt", "\ufeff" + NUMBERED.format("\n", "\n").rstrip("\n")),
        (".srt", NUMBERED.format("\n", "\n").replace("Hello", "{\\an8}<font color='red'>Hello</font>").replace(" there", "\\Nthere")),
        (".vtt", "WEBVTT\n\n" + NUMBERED.format("\n", "\n").replace("00:0", "0").replace("0,", "0 line:0,")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_three_cues_however_they_are_written(tmp_path: Path, suffix: str, content: str, encoding: str) -> None:
    if "line:0" in content:
        content = content.replace("0 line:0,", "0,")
    parsed, findings = read(tmp_path, content.encode(encoding), suffix)
    assert parsed == THREE
    assert findings == []


YOUTUBE = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.389 align:start position:0%
\x20
hello<00:00:00.480><c> everyone</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello everyone
\x20

00:00:02.399 --> 00:00:04.230 align:start position:0%
hello everyone
welcome<00:00:02.800><c> back</c>

00:00:04.230 --> 00:00:04.240 align:start position:0%
welcome back
\x20

00:00:04.240 --> 00:00:05.500 align:start position:0%
welcome back
back
"""


def test_rolling_captions_keep_each_line_once(tmp_path: Path) -> None:
    parsed, findings = read(tmp_path, YOUTUBE, ".vtt")
    assert parsed == [(0.16, 2.389, "hello everyone"), (2.399, 4.23, "welcome back"), (4.24, 5.5, "back")]
    assert about(findings) == [("rolling", "talk.vtt", "keeps, repaired")]
    converted = (
        re.sub(r"<[^>]*>", "", YOUTUBE).partition("\n\n")[2].replace(" align:start position:0%", "").replace(".", ",")
    )
    assert read(tmp_path, converted, ".srt")[0] == parsed


def test_who_says_the_same_twice_says_it_twice(tmp_path: Path) -> None:
    content = "".join(
        f"{i}\n00:00:0{i},000 --> 00:00:0{i + 1},000\n{word}\n\n"
        for i, word in enumerate(["No", "No", "Why", "So", "Oh"])
    )
    parsed, findings = read(tmp_path, content)
    assert [text for _, _, text in parsed] == ["No", "No", "Why", "So", "Oh"]
    assert findings == []


@pytest.mark.parametrize(
    ("bad", "action"),
    [
        ("00:00:02,000 --> 00:00:02,000", "leaves out"),
        ("00:00:03,000 --> 00:00:02,000", "leaves out"),
        ("-00:00:03,000 --> -00:00:02,000", "leaves out"),
        ("-00:00:00,100 --> 00:00:01,000", "keeps, repaired"),
        ("A --> B", "leaves out"),
        ("00:00:02,000 --> ", "leaves out"),
        ("00:00:02,000", "leaves out"),
        ("00:00:02,000 - 00:00:03,000", "leaves out"),
        ("00:00:02,000 --> 00:00:0x,000", "leaves out"),
        ("00:00:02:000 --> 00:00:03:000", "leaves out"),
        ("", "leaves out"),
        ("-->", "leaves out"),
        ("99999:00:00,000 --> 99999:00:01,000", "leaves out"),
    ],
)
@pytest.mark.parametrize("gap", ["\n", ""])
def test_one_bad_cue_costs_itself_and_is_named(tmp_path: Path, bad: str, action: str, gap: str) -> None:
    if not bad and not gap:
        pytest.skip("without blank lines and without times it cannot be told from words")
    lines = NUMBERED.format(gap, gap).replace("00:00:02,000 --> 00:00:03,000", bad).replace("\n\nSecond", "\nSecond")
    parsed, findings = read(tmp_path, lines)
    others = [cue for cue in parsed if cue[2] != "Second line"]
    assert others == [THREE[0], THREE[2]]
    assert [a for k, _, a in about(findings) if k == "cue"] == [action]
    line = lines.split("\n").index(bad if bad else "2") + 1
    assert about(findings)[0][1] == f"talk.srt, line {line}"


def test_an_arrow_in_the_words_and_after_them(tmp_path: Path) -> None:
    content = "1\n00:00:00,500 --> 00:00:01,500\nfrom\nA --> B\n\n2\n00:00:02,000 --> 00:00:03,000\nto\n\nA --> B\n"
    parsed, findings = read(tmp_path, content)
    assert parsed == [(0.5, 1.5, "from A --> B"), (2.0, 3.0, "to")]
    assert about(findings) == [("cue", "talk.srt, line 10", "leaves out")]


def test_blocks_of_webvtt_that_are_no_cues(tmp_path: Path) -> None:
    content = (
        "WEBVTT - a title\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000\n\nNOTE one\ntwo\n\nSTYLE\n::cue {}\n\n"
        "REGION\nid:fred\n\nintro\n00:01.000 --> 00:02.000 region:fred align:left\nNOTE this is said\n\nNOTE that is not\n\n"
        "STYLE\n\nlost words\n\nWEBVTT\n\n123:00:00.000 --> 123:00:01.000\n<v.loud Ann Lee>Tom &amp; J&#233;r &bogus; &copy 5 &lt; 6</v>\n"
    )
    parsed, findings = read(tmp_path, content, ".vtt")
    assert parsed == [
        (1.0, 2.0, "NOTE this is said"),
        (442800.0, 442801.0, "Tom & Jér &bogus; &copy 5 < 6"),
    ]
    assert about(findings) == [("times", "talk.vtt, line 2", "keeps"), ("cue", "talk.vtt, line 21", "leaves out")]


def test_overlaps_are_counted_once(tmp_path: Path) -> None:
    content = "1\n00:00:00,000 --> 00:00:03,000\na\n\n2\n00:00:01,000 --> 00:00:02,000\nb\n\n3\n00:00:05,000 --> 00:00:06,000\nc\n"
    parsed, findings = read(tmp_path, content)
    assert len(parsed) == 3
    assert about(findings) == [("overlap", "talk.srt", "keeps")]


def test_findings_of_one_file_end_and_are_counted(tmp_path: Path) -> None:
    bad = "".join(f"{i}\n00:00:09,000 --> 00:00:09,000\nx\n\n" for i in range(1, 1001))
    _, findings = read(tmp_path, NUMBERED.format("\n", "\n") + "\n" + bad)
    assert len(findings) == subtitles.LISTED + 1
    assert findings[-1].reason.startswith("900 more")


# ---- damaged files

words = (
    st.text(st.sampled_from("abc éß漢ñ.,!?'-"), min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda text: text and not text[0].isdigit() and ":" not in text and text.strip("-.,!?' "))
)
kind = st.sampled_from([".srt", ".vtt"])


def blocks_of(texts: list[str], suffix: str) -> list[str]:
    mark = "," if suffix == ".srt" else "."
    return [
        (f"{i + 1}\n" if suffix == ".srt" else "")
        + f"00:00:{2 * i:02d}{mark}000 --> 00:00:{2 * i + 1:02d}{mark}500\n{text}"
        for i, text in enumerate(texts)
    ]


def file_of(blocks: list[str], suffix: str) -> str:
    return ("WEBVTT\n\n" if suffix == ".vtt" else "") + "\n\n".join(blocks) + "\n"


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, str, list[str], int]:
    """A file in which the times of one cue were spoiled; its suffix, all texts, and which cue it is."""
    suffix = draw(kind)
    texts = draw(st.lists(words, min_size=2, max_size=8, unique=True))
    at = draw(st.integers(0, len(texts) - 1))
    blocks = blocks_of(texts, suffix)
    times = blocks[at].split("\n")[-2]
    spoiled = list(times)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(spoiled) - 1))
        spoiled[place : place + 1] = draw(
            st.sampled_from([[], ["x"], ["-"], ["\0"], ["é"], ["9"], [":"], [">"], [" "]])
        )
        spoiled = spoiled or ["x"]
    blocks[at] = blocks[at].replace(times, "".join(spoiled))
    return suffix, file_of(blocks, suffix), texts, at


@QUICK
@given(damaged())
def test_damage_to_one_cue_leaves_the_others_as_they_were(
    tmp_path: Path, made: tuple[str, str, list[str], int]
) -> None:
    suffix, content, texts, at = made
    expected = [(2.0 * i, 2 * i + 1.5, " ".join(text.split())) for i, text in enumerate(texts) if i != at]
    parsed, findings = read(tmp_path, content, suffix)
    kept = [cue for cue in parsed if cue in expected]
    assert kept == expected
    assert len(parsed) == len(expected) + 1 or about(findings)[0][0] == "cue"


@QUICK
@given(st.binary(max_size=400), kind)
def test_no_bytes_raise_anything_but_a_sentence(tmp_path: Path, content: bytes, suffix: str) -> None:
    whole = file_of(blocks_of(["one", "two"], suffix), suffix).encode()
    for data in (content, whole + b"\n" + content, content + b"\n\n" + whole):
        try:
            read(tmp_path, data, suffix)
        except CorpusError as error:
            assert "talk" in str(error)  # noqa: PT017


# ---- other readers as judges


@QUICK
@given(st.lists(words, min_size=1, max_size=8))
def test_what_pysubs2_writes_is_read_as_pysubs2_reads_it(tmp_path: Path, texts: list[str]) -> None:
    made = pysubs2.SSAFile()
    for i, text in enumerate(texts):
        made.append(pysubs2.SSAEvent(start=1500 * i, end=1500 * i + 1234, text=text))
    for suffix, name in ((".srt", "srt"), (".vtt", "vtt")):
        made.save(str(tmp_path / f"talk{suffix}"), format_=name)
        judged = pysubs2.load(str(tmp_path / f"talk{suffix}"))
        cues, findings = subtitles.read(tmp_path / f"talk{suffix}", speakers=False)
        assert [(round(1000 * c.start_s), round(1000 * c.end_s), c.text) for c in cues] == [
            (event.start, event.end, " ".join(event.plaintext.split())) for event in judged
        ]
        assert findings == ()


@QUICK
@given(st.lists(words, min_size=1, max_size=8))
def test_what_webvtt_py_writes_is_read_as_webvtt_py_reads_it(tmp_path: Path, texts: list[str]) -> None:
    made = webvtt.WebVTT()
    for i, text in enumerate(texts):
        made.captions.append(
            webvtt.Caption(f"00:00:{2 * i:02d}.000", f"00:00:{2 * i + 1:02d}.750", text, identifier=f"id {i}")
        )
    made.save(str(tmp_path / "talk.vtt"))
    judged = webvtt.read(str(tmp_path / "talk.vtt"))
    cues, findings = subtitles.read(tmp_path / "talk.vtt", speakers=False)
    assert [(c.start_s, c.end_s, c.text) for c in cues] == [
        (c.start_in_seconds, c.start_in_seconds + 1.75, " ".join(c.text.split())) for c in judged
    ]
    assert findings == ()


# ---- bounds


@pytest.mark.parametrize(
    "mark", ["<v ", "{\\", "<", "&#", "<v.a", "<v" + " " * 50, "{\\an8", "[", "<1", "a" * 50 + " "]
)
def test_a_megabyte_of_opening_marks_takes_no_time(tmp_path: Path, mark: str) -> None:
    words = mark * (LONGEST_TEXT // len(mark))
    content = "".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i + 1:02},000\n{words}\n\n" for i in range(10))
    began = time.monotonic()
    read(tmp_path, content)
    assert time.monotonic() - began < 3  # a fraction of a second; quadratic patterns took hours


def test_words_without_end_cost_their_cue(tmp_path: Path) -> None:
    """Longer than the words of any utterance may be in the files that come later."""
    endless = NUMBERED.format("\n", "\n").replace("Second line", "word " * (LONGEST_TEXT // 4))
    cues, findings = read(tmp_path, endless)
    assert cues == [THREE[0], THREE[2]]
    assert about(findings) == [("cue", "talk.srt, line 6", "leaves out")]


def test_a_number_of_five_thousand_digits_is_no_character(tmp_path: Path) -> None:
    parsed, _ = read(tmp_path, f"1\n00:00:00,000 --> 00:00:01,000\n&#{'9' * 5000}; &#x110000; &#65;\n")
    assert parsed[0][2].endswith("A")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtitles, "MAX_CUES", 2)
    with pytest.raises(CorpusError, match="more than 2 cues"):
        read(tmp_path, NUMBERED.format("\n", "\n"))
    monkeypatch.setattr("bemerc.corpus.text.MAX_BYTES", 20)
    with pytest.raises(CorpusError, match="larger than"):
        read(tmp_path, NUMBERED.format("\n", "\n"))


# ---- which file belongs to which clip


@pytest.mark.parametrize(
    "tags",
    ["en", "en-US", "zh-Hans", "es-419", "zh-Hant-TW", "EN", "en.forced", "English", "pt_BR", "en-orig", "de.sdh", "fra", "Deutsch.cc"],
)  # fmt: skip
def test_a_language_in_the_name(tmp_path: Path, tags: str) -> None:
    (tmp_path / "talk.mp4").touch()
    (tmp_path / f"talk.{tags}.vtt").write_text(f"WEBVTT\n\n{blocks_of(['one'], '.vtt')[0]}\n")
    reading = read_dir(tmp_path)
    assert [u.text for u in reading.utterances] == ["one"]
    assert reading.findings == ()


@pytest.mark.parametrize(
    "order",
    [
        ("talk.vtt", "talk.srt", "talk.en.vtt"),
        ("talk.de-orig.srt", "talk.en.vtt", "talk.de.vtt"),
        ("talk.en-US.srt", "talk.de.vtt", "talk.de.forced.vtt"),
        ("talk.de.vtt", "talk.de.srt", "talk.fr.vtt", "talk.en.forced.vtt"),
        ("talk.English.srt", "talk.EN.sdh.vtt"),
    ],
)
def test_one_of_several_is_read_by_the_rule_and_the_others_are_named(tmp_path: Path, order: tuple[str, ...]) -> None:
    files = [tmp_path / name for name in sorted(order, reverse=True)]
    chosen, findings = subtitle_files.pair([tmp_path / "talk.mp4"], files, SUFFIXES)
    assert chosen == {tmp_path / "talk.mp4": tmp_path / order[0]}
    assert {Path(f.id).name for f in findings} == set(order[1:])
    assert all(order[0] in f.reason for f in findings)


def test_what_belongs_to_no_clip_or_is_of_another_format_is_named(tmp_path: Path) -> None:
    for name in ("talk.mp4", "talk.en.mp4", "talk.part2.srt", "other.srt", "talk.ass", "talk.en.srt"):
        (tmp_path / name).write_text(NUMBERED.format("\n", "\n"))
    reading = read_dir(tmp_path)
    assert {u.id for u in reading.utterances} == {"talk", "talk.en/0000", "talk.en/0001", "talk.en/0002"}
    assert {Path(f.id).name for f in reading.findings if f.kind == "subtitles"} == {
        "talk.part2.srt",
        "other.srt",
        "talk.ass",
    }
