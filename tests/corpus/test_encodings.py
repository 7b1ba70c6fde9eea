"""What subtitles of players and spreadsheets of other countries are written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bemerc.corpus.encodings import decode
from bemerc.corpus.readers import subtitles

CHINESE = ("你好，世界", "今天天气很好，我们走吧", "没关系，我不知道")
TAIWANESE = ("你好，世界", "今天天氣很好，我們走吧", "沒關係，我不知道")
JAPANESE = ("こんにちは世界", "お元気ですか", "今日はとても天気がいいですね")
KOREAN = ("안녕하세요 세계", "오늘 날씨가 좋네요", "아니요, 괜찮아요")
RUSSIAN = ("Привет, мир", "Как дела сегодня?", "Не знаю, почему он так сказал")
FRENCH = ("Où êtes-vous allé, hélas ?", "Ça a été très agréable… à côté", "« déjà » — ÉTÉ")
ENGLISH = ("It’s “fine”…", "naïve café", "£5")


@pytest.mark.parametrize(
    ("encoding", "lines"),
    [
        ("gb18030", CHINESE),
        ("big5", TAIWANESE),
        ("cp932", JAPANESE),
        ("euc_jp", JAPANESE),
        ("cp949", KOREAN),
        ("cp1251", RUSSIAN),
        ("koi8_r", RUSSIAN),
        ("cp1252", FRENCH),
        ("cp1252", ENGLISH),
    ],
)
def test_lines_are_read_as_what_they_are(encoding: str, lines: tuple[str, ...]) -> None:
    decoded = decode("\n".join(("plain", *lines)).encode(encoding))
    assert decoded.text.split("\n") == ["plain", *lines]
    assert decoded.odd_lines == (2, 3, 4)
    assert decoded.encoding == encoding
    assert encoding.upper() in decoded.describe_odd_lines()


@pytest.mark.parametrize("lines", [CHINESE, JAPANESE, KOREAN, RUSSIAN])
def test_lines_of_utf8_among_them_stay(lines: tuple[str, ...]) -> None:
    encoding = {CHINESE: "gb18030", JAPANESE: "cp932", KOREAN: "cp949", RUSSIAN: "cp1251"}[lines]
    raw = "\n".join(lines).encode(encoding) + "\ncafé 你好\n".encode()
    assert decode(raw).text == "\n".join(lines) + "\ncafé 你好\n"


def test_greek_is_not_taken_for_another_script() -> None:
    assert decode("Γειά σου κόσμε, τι κάνεις σήμερα;".encode("cp1253")).encoding == "cp1252"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_whatever_the_words_are(encoding: str) -> None:
    text = f"1\r\n00:00:00,000 --> 00:00:01,000\r\n{'一万年太久，' * 40}\r\n"
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("damage", [b"He\0llo", b"He\0\0\0\0\0\0\0\0\0\0llo"])
def test_zeros_in_a_text_make_no_utf16_of_it(damage: bytes) -> None:
    assert decode(damage + b" there\n" * 30).text.endswith("there\n")


@pytest.mark.parametrize(
    "times",
    [
        "\u200e00:00:01,000 --> 00:00:02,000\u200e",
        "\u202a00:00:01,000\u202c --> \u202a00:00:02,000\u202c",
        "00:00:01,000\u00a0-->\u00a000:00:02,000",
        "００:００:０１，０００ --> ００:００:０２，０００",
        "00：00：01，000 --> 00：00：02，000",
        "٠٠:٠٠:٠١,٠٠٠ --> ٠٠:٠٠:٠٢,٠٠٠",
        "\ufeff00:00:01,000 --> 00:00:02,000",
    ],
)
def test_times_in_the_characters_of_other_scripts(tmp_path: Path, times: str) -> None:
    path = tmp_path / "a.srt"
    path.write_text(f"1\n{times}\nHello\n\n\ufeff2\n00:00:03,000 --> 00:00:04,000\nyou\n", encoding="utf-8")
    cues, findings = subtitles.read(path)
    assert [(cue.start_s, cue.end_s, cue.text) for cue in cues] == [(1, 2, "Hello"), (3, 4, "you")]
    assert not findings
