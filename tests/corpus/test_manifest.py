"""A manifest that somebody else wrote, or that was damaged: a sentence with the line, never a trace, never half a corpus."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bemerc.core.errors import BemercError, CorpusError
from bemerc.corpus import manifest, provenance
from bemerc.corpus.manifest import Manifest, Utterance, read_manifest, write_manifest
from tests.errors import raises

MADE = (
    Utterance("a/1", "a", 0, "Ann", "Hi\u2028there", "joy", "train", "../x.mp4", 0.0, 1.5, (0.0, 0.0, 0.5, 1.0)),
    Utterance("a/2", "a", 1, "", "", None, "train", None),
    Utterance("b/1", "b", 0, "Bo", "Oh", "fear", "test", "/far/y.mp4"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "manifest.jsonl", MADE, ("joy", "fear"), ("mine",))
    return tmp_path / "manifest.jsonl"


def test_what_was_written_is_read_and_is_for_its_owner_alone(path: Path) -> None:
    assert read_manifest(path).utterances == MADE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_labels_of_one_modality_are_written_where_they_are_and_change_no_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    more = (replace(MADE[0], label_voice="fear", label_face="joy"), *MADE[1:])
    write_manifest(path, more, ("joy", "fear"), ("mine",))
    assert read_manifest(path).utterances == more
    keys = [set(json.loads(line)) & set(manifest.SIDE_LABELS) for line in path.read_text().rstrip("\n").split("\n")[1:]]
    assert keys == [{"label_voice", "label_face"}, set(), set()]
    with_them, without = (Manifest(us, ("joy", "fear"), ("mine",), tmp_path) for us in (more, MADE))
    assert provenance.learned(with_them) == provenance.learned(without)
    with pytest.raises(CorpusError, match="glee"):
        write_manifest(path, (replace(MADE[0], label_text="glee"), *MADE[1:]), ("joy", "fear"), ("mine",))


def changed(path: Path, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Put another value in place of line ``number``."""
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    value = json.loads(lines[number - 1])
    answer = change(value)
    lines[number - 1] = json.dumps(value if answer is None else answer)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


ODD = [
    None,
    True,
    7,
    1.5,
    "",
    "x" * 200_000,
    [],
    {},
    [1],
    -1,
    10**30,
    float("nan"),
    float("inf"),
    "exam",
    [0, 0, 2, 1],
    ["a"] * 4,
]
FINE = {
    ("speaker", ""),
    ("text", ""),
    ("label", None),
    *((name, None) for name in manifest.SIDE_LABELS),
    ("clip", None),
    ("start_s", None),
    ("end_s", None),
    ("crop", None),
    ("dialogue", "exam"),
    ("speaker", "exam"),
    ("text", "exam"),
    ("clip", "exam"),
    ("id", "exam"),
    ("end_s", 7),
    ("end_s", 1.5),
    ("end_s", True),
    ("start_s", True),
}


@pytest.mark.parametrize(
    "key",
    [
        "id",
        "dialogue",
        "index",
        "speaker",
        "text",
        "label",
        "split",
        "clip",
        "start_s",
        "end_s",
        "crop",
        *manifest.SIDE_LABELS,
    ],
)
@pytest.mark.parametrize("value", ODD, ids=lambda v: repr(v)[:12])
def test_a_value_of_another_kind_is_named_with_its_line(path: Path, key: str, value: Any) -> None:
    changed(path, 2, lambda line: line.update({key: value}))
    if any(key == fine and type(value) is type(of) and value == of for fine, of in FINE) and value is not True:
        if key == "dialogue":
            with pytest.raises(CorpusError, match="turns are numbered"):
                read_manifest(path)
        else:
            assert len(read_manifest(path).utterances) == 3
        return
    with pytest.raises(CorpusError, match=r"line 2|not in the label set|turns are numbered") as error:
        read_manifest(path)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (1, lambda head: []),
        (1, lambda head: {}),
        (1, lambda head: {"labels": "joy", "corpora": []}),
        (1, lambda head: {"labels": [1], "corpora": []}),
        (1, lambda head: {"labels": ["joy", "joy"], "corpora": []}),
        (1, lambda head: {"labels": ["joy"], "corpora": ["mine"]}),
        (3, lambda u: []),
        (3, lambda u: 5),
        (3, lambda u: u.pop("text") and None),
        (3, lambda u: u.update(extra=1)),
        (3, lambda u: u.update(id="a/1")),
        (3, lambda u: u.update(index=0)),
        (3, lambda u: u.update(index=2)),
        (3, lambda u: u.update(split="dev")),
        (3, lambda u: u.update(end_s=0.0)),
        (3, lambda u: u.update(start_s=2.0, end_s=1.0)),
        (3, lambda u: u.update(clip="a\0b")),
        (3, lambda u: u.update(crop=[0.5, 0, 0.5, 1])),
    ],
)
def test_a_line_that_does_not_go_with_the_others_is_a_sentence(
    path: Path, number: int, change: Callable[[dict[str, Any]], Any]
) -> None:
    changed(path, number, change)
    with pytest.raises(CorpusError):
        read_manifest(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\x89HDF\r\n\x1a\n\0\0",
        b"\xff\xfe\0",
        b'{"labels": [], "corpora": []}\n' + b"[" * 100_000,
        b'{"labels": [], "corpora": []}\n' + b"9" * 10_000,
        b'{"labels": [], "corpora": []}\n"' + b"x" * (2 << 20) + b'"',
        b'{"labels": [], "labels": [], "corpora": []}',
    ],
    ids=["empty", "blank", "binary", "no text", "deep", "digits", "a line without end", "a key twice"],
)
def test_what_is_no_manifest_at_all(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorpusError):
        read_manifest(path)


def test_no_file_a_folder_and_a_pipe(tmp_path: Path) -> None:
    with raises(CorpusError, path=tmp_path / "gone.jsonl", missing=True):
        read_manifest(tmp_path / "gone.jsonl")
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(BemercError):
            read_manifest(tmp_path / name)


def test_faults_and_utterances_have_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Utterance(f"{i:03d}", f"{i:03d}", 0, "", "", "bliss", "test", None) for i in range(200)]
    with pytest.raises(CorpusError) as error:
        write_manifest(path, many, ("joy",), ())
    assert len(str(error.value).splitlines()) == 51
    long = Utterance("long", "d", 0, "", "x" * 200_000, None, "test", None)
    with pytest.raises(CorpusError, match=r"prepare\.leave_out"):
        write_manifest(path, [long], ("joy",), ())
    monkeypatch.setattr(manifest, "MAX_UTTERANCES", 2)
    with pytest.raises(CorpusError, match="more than 2 utterances"):
        read_manifest(path)


def test_an_order_that_somebody_changed_is_put_right(path: Path) -> None:
    head, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    path.write_text("\n".join([head, *reversed(lines)]), encoding="utf-8")
    assert read_manifest(path).utterances == MADE
