"""Texts of a large corpus take little memory, written and read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import Choice, Features, Head, Rows, TrackSpan, guard, open_cache, split_other, write_cache
from bemerc.cache.texts import SpooledTexts, Texts, TextTable

ROWS = 16
NOBODY = Features(np.zeros((ROWS, 1), np.float32), np.arange(ROWS) / 25, ("x",))
TEXTS = {"a": "eins", "b": "", "c": "drüben"}


def write(path: Path, count: int, notes: Mapping[str, str], choices: SpooledTexts | None = None) -> Path:
    chosen = Choice("speaking", "alone", 1, 0.5, False, (TrackSpan(0, ROWS, 0, 0.5, 1),)).as_json()

    def clips():  # type: ignore[no-untyped-def]
        for i in range(count):
            if choices is not None:
                choices.add(f"{i:06d}", chosen)
            yield f"{i:06d}", NOBODY, 1.0, None

    rows = Rows(clips(), notes=notes, choices={} if choices is None else choices)
    write_cache(path, Head("face", ("x",), 25.0, "made/1", {}), rows)
    return path


def test_texts_come_back_as_they_were() -> None:
    texts = Texts(TEXTS.values())
    assert list(texts) == [*TEXTS.values()]
    assert texts[-1] == "drüben"
    assert texts[1:] == ["", "drüben"]
    with pytest.raises(IndexError):
        texts[3]
    assert TextTable({id_: i for i, id_ in enumerate(TEXTS)}, texts) == TEXTS


def test_spooled_texts_are_read_while_more_are_added(tmp_path: Path) -> None:
    with SpooledTexts(tmp_path) as texts:
        for id_, text in TEXTS.items():
            texts.add(id_, text)
            assert texts[id_] == text
        assert texts == TEXTS
        assert "bb" not in texts
        with pytest.raises(AssertionError):
            texts.add("b", "too late")
    assert not [*tmp_path.iterdir()]


def test_spooled_texts_in_the_order_of_other_people(tmp_path: Path) -> None:
    with SpooledTexts(tmp_path, split_other) as texts:
        for id_ in ("a#1", "a b#0", "b#0"):  # not the order of the whole texts
            texts.add(id_, id_)
        assert dict(texts) == {id_: id_ for id_ in ("a#1", "a b#0", "b#0")}


def test_one_long_text_does_not_fill_the_room_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = {f"{i:06d}": "short" for i in range(100)} | {"000007": "long " * 400}
    path = write(tmp_path / "face.h5", 100, notes)
    monkeypatch.setattr(guard, "MOST_HEAD_BYTES", 1 << 16)
    with open_cache(path) as cache:
        assert cache.notes == notes


def test_writing_takes_little_memory_for_each_utterance(tmp_path: Path) -> None:
    peaks = []
    for count in (1500, 4500):
        with SpooledTexts(tmp_path) as choices:
            tracemalloc.start()
            write(tmp_path / "face.h5", count, {}, choices)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # The id itself is 55 bytes, and its checksum 64.
    assert peaks[1] - peaks[0] < 3000 * 400
