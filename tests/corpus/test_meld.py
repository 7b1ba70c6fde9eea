"""The MELD reader on corpora of the same shape made here, and on the real tables where they are at hand."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import SPLITS, read_manifest, write_manifest
from bemerc.corpus.readers import meld
from bemerc.corpus.reading import FaultyCorpusError, Reading

REAL = Path(__file__).parents[3] / "shared" / "meld"
HEAD = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
HEAD += ["Season", "Episode", "StartTime", "EndTime"]
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}

Row = dict[str, object]


def row(dialogue: int, number: int, words: str = "Fine.", **other: object) -> Row:
    """A row of 1.5 s; its start follows from its number."""
    times = f"00:00:{2 * number:02d},000", f"00:00:{2 * number + 1:02d},500"
    cells = [1, words, "Ann", "neutral", "neutral", dialogue, number, 1, 1, *times]
    return dict(zip(HEAD, cells, strict=True)) | other


def write(path: Path, rows: list[Row], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else HEAD)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two dialogues in each split; dialogue 0 skips number 1, and every row has its clip."""
    for split in SPLITS:
        rows = [row(0, 0), row(0, 2, "Really?", Emotion="surprise", Speaker="Bob"), row(1, 0, "Ha!", Emotion="joy")]
        write(tmp_path / f"{split}_sent_emo.csv", rows)
        for cells in rows:
            clip(tmp_path / FOLDERS[split], cells)
    return tmp_path


def clip(folder: Path, cells: Row, prefix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}dia{cells['Dialogue_ID']}_utt{cells['Utterance_ID']}.mp4"
    path.write_bytes(b"not looked into")
    return path


def read(root: Path, **settings: object) -> Reading:
    return meld.read(meld.Params(folder=str(root), **settings))  # type: ignore[arg-type]


def findings(reading: Reading, kind: str) -> list[str]:
    return [finding.id for finding in reading.findings if finding.kind == kind]


def test_keys_hold_the_split_and_positions_are_counted(root: Path) -> None:
    reading = read(root)
    assert len({u.id for u in reading.utterances}) == 9
    turns = [u for u in reading.utterances if u.dialogue == "meld/test/dia0"]
    assert [(u.id, u.index, u.speaker, u.label) for u in turns] == [
        ("meld/test/dia0_utt0", 0, "Ann", "neutral"),
        ("meld/test/dia0_utt2", 1, "Bob", "surprise"),
    ]
    assert turns[1].clip == str(root / "output_repeated_splits_test/dia0_utt2.mp4")
    assert reading.spans_s["meld/test/dia0_utt2"] == 1.5
    assert findings(reading, "gap") == [f"meld/{split}/dia0" for split in SPLITS]
    write(root / "dev_sent_emo.csv", [row(0, 999_999)])
    gap = next(f for f in read(root).findings if f.kind == "gap" and f.id == "meld/dev/dia0")
    assert gap.reason.startswith(
        "No row has the utterance 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 999989 more of 0 to 999999;"
    )
    assert not any(finding.needs_you for finding in reading.findings)


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("train", "dev", "test"),
        ("train/train_splits", "dev/dev_splits_complete", "test/output_repeated_splits_test"),
        ("MELD.Raw/train_splits", "MELD.Raw/dev_splits_complete", "MELD.Raw/output_repeated_splits_test"),
        ("videos/train", "videos/val", "videos/test_splits"),
    ],
)
def test_all_usual_folder_names(root: Path, train: str, dev: str, test: str) -> None:
    for split, name in (("train", train), ("dev", dev), ("test", test)):
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (root / FOLDERS[split]).rename(place)
    clips = [Path(u.clip or "") for u in read(root).utterances]
    assert all(path.is_file() for path in clips)
    assert {path.parent for path in clips} == {root / train, root / dev, root / test}


def test_another_folder_name_is_a_finding(root: Path) -> None:
    (root / FOLDERS["dev"]).rename(root / "my clips")
    assert next(f for f in read(root).findings if f.kind == "missing").needs_you
    assert not findings(read(root, clips={"dev": "my clips"}), "missing")


def test_tables_in_the_repositorys_folder(root: Path) -> None:
    (root / "data/MELD").mkdir(parents=True)
    for split in SPLITS:
        (root / f"{split}_sent_emo.csv").rename(root / f"data/MELD/{split}_sent_emo.csv")
    assert len(read(root).utterances) == 9


def test_the_dyadic_variant_finds_its_clips_by_their_old_numbers(root: Path) -> None:
    for split in SPLITS:
        rows = [
            row(0, 0, Old_Dialogue_ID=0, Old_Utterance_ID=0, StartTime="0:00:01,5"),
            row(1, 0, Old_Dialogue_ID=0, Old_Utterance_ID=2),
            row(1, 1, Old_Dialogue_ID=0, Old_Utterance_ID=2),
        ]
        write(
            root / f"data/MELD_Dyadic/{split}_sent_emo_dya.csv", [{k: r[k] for k in r if k != "Sr No."} for r in rows]
        )
    reading = read(root, variant="dyadic")
    train = {u.id: Path(u.clip or "").name for u in reading.utterances if u.split == "train"}
    assert train == {
        "meld-dyadic/train/dia0_utt0": "dia0_utt0.mp4",
        "meld-dyadic/train/dia1_utt0": "dia0_utt2.mp4",
        "meld-dyadic/train/dia1_utt1": "dia0_utt2.mp4",
    }


def test_missing_and_extra_clips(root: Path) -> None:
    folder = root / FOLDERS["train"]
    (folder / "dia1_utt0.mp4").unlink()
    for name in ("dia7_utt7.mp4", "._dia0_utt0.mp4", "final_videos_testdia0_utt0.mp4", "notes.txt", "dia0_utt0.avi"):
        (folder / name).write_bytes(b"")
    reading = read(root)
    missing = [f for f in reading.findings if f.kind == "missing"]
    assert [(f.id, f.action, f.needs_you) for f in missing] == [("meld/train/dia1_utt0", "keeps without video", True)]
    assert {Path(i).name for i in findings(reading, "extra")} == {
        "dia7_utt7.mp4",
        "._dia0_utt0.mp4",
        "final_videos_testdia0_utt0.mp4",
        "dia0_utt0.avi",
    }
    by_id = {u.id: u for u in reading.utterances}
    assert by_id["meld/train/dia1_utt0"].clip is None
    assert Path(by_id["meld/train/dia0_utt0"].clip or "").name == "dia0_utt0.mp4"
    assert Path(reading.twins["meld/train/dia0_utt0"]).name == "final_videos_testdia0_utt0.mp4"
    final = {u.id: u.clip for u in read(root, twins="final").utterances}
    assert Path(final["meld/train/dia0_utt0"] or "").name == "final_videos_testdia0_utt0.mp4"
    assert Path(final["meld/train/dia0_utt2"] or "").name == "dia0_utt2.mp4"


def test_documented_faults_need_nobody_and_only_in_meld_itself(root: Path) -> None:
    write(root / "dev_sent_emo.csv", [row(110, 6), row(110, 7)])
    clip(root / FOLDERS["dev"], row(110, 6))
    mine = [f for f in read(root).findings if f.id == "meld/dev/dia110_utt7"]
    assert {(f.kind, f.action, f.needs_you) for f in mine} == {
        ("missing", "keeps without video", False),
        ("known", "keeps without video", False),
    }
    other = meld.read(meld.Params(folder=str(root)), "sample")
    assert not findings(other, "known")
    assert [f.needs_you for f in other.findings if f.id == "sample/dev/dia110_utt7"] == [True]


def test_an_utterance_of_minutes_keeps_its_words_alone(root: Path) -> None:
    write(root / "test_sent_emo.csv", [row(0, 0, EndTime="00:05:04,940"), row(0, 1)])
    clip(root / FOLDERS["test"], row(0, 1))
    long, short = (u for u in read(root).utterances if u.split == "test")
    assert long.clip is None
    assert short.clip is not None
    assert findings(read(root), "mis-cut") == ["meld/test/dia0_utt0"]
    assert not findings(read(root, longest_s=400.0), "mis-cut")


def test_words_are_repaired_or_kept_and_reported_either_way(root: Path) -> None:
    words = ["I\x92m “fine”", "Iâ€™m fine", "", "lost \ufffd"]
    write(root / "train_sent_emo.csv", [row(0, i, w) for i, w in enumerate(words)])
    repaired, kept = read(root), read(root, text="keep")
    assert [u.text for u in repaired.utterances[:4]] == ['I\'m "fine"', "I'm fine", "", "lost \ufffd"]
    assert [u.text for u in kept.utterances[:4]] == words
    ids = [f"meld/train/dia0_utt{i}" for i in (0, 1, 3)]
    assert findings(repaired, "mojibake") == findings(kept, "mojibake") == ids
    needs = [f.id for f in repaired.findings if f.kind == "mojibake" and f.needs_you]
    assert needs == ["meld/train/dia0_utt3"]
    assert findings(repaired, "empty") == ["meld/train/dia0_utt2"]
    assert findings(repaired, "quotes") == ["meld/train"]


def test_a_table_in_cp1252_is_read_and_reported(root: Path) -> None:
    write(root / "train_sent_emo.csv", [row(0, 0, "It’s"), row(0, 1, "café")], encoding="cp1252")
    reading = read(root, text="keep")
    assert [u.text for u in reading.utterances[:2]] == ["It’s", "café"]
    assert findings(reading, "encoding") == ["meld/train"]


def test_unknown_labels_and_clashes_stop_at_once_and_other_bad_rows_are_findings(root: Path) -> None:
    good = row(0, 0)
    rows = [good, good, row(0, 1, Emotion="joyfull"), row(0, 2, Dialogue_ID="x"), row(0, 0, "Other words.")]
    write(root / "train_sent_emo.csv", rows)
    with (root / "train_sent_emo.csv").open("a", encoding="utf-8") as file:
        file.write("too,short\r\n")
    write(root / "dev_sent_emo.csv", [row(5, 5, Emotion="")])
    with pytest.raises(FaultyCorpusError) as error:
        read(root)
    lines = [fault.replace(str(root), "") for fault in error.value.faults]
    assert [line.split(":")[0] for line in lines] == [
        "/train_sent_emo.csv, line 4, dia0_utt1",
        "/train_sent_emo.csv, line 6",
        "/dev_sent_emo.csv, line 2, dia5_utt5",
    ]
    assert "the known ones are neutral, joy" in lines[0]
    assert "Did you mean 'joy'?" in lines[0]
    assert "stands on line 2 already" in lines[1]
    rows_left_out = [f.id.replace(str(root), "") for f in error.value.findings if f.kind == "row" and f.needs_you]
    assert sorted(rows_left_out) == ["/train_sent_emo.csv, line 5", "/train_sent_emo.csv, line 7"]


def test_a_bad_row_stops_no_other(root: Path) -> None:
    write(root / "train_sent_emo.csv", [row(0, 0), row(0, 2, Dialogue_ID="x"), row(0, 1, Dialogue_ID="0.0")])
    reading = read(root)
    train = [u.id for u in reading.utterances if u.split == "train"]
    assert train == ["meld/train/dia0_utt0", "meld/train/dia0_utt1"]
    assert [(f.action, f.needs_you) for f in reading.findings if f.kind == "row"] == [("leaves out", True)]


def test_a_row_that_stands_twice_is_left_out_once(root: Path) -> None:
    write(root / "train_sent_emo.csv", [row(0, 0), row(0, 0), row(0, 1)])
    reading = read(root)
    assert sum(u.split == "train" for u in reading.utterances) == 2
    assert findings(reading, "duplicate") == ["meld/train/dia0_utt0"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / "dev_sent_emo.csv").unlink(), "there is no dev_sent_emo.csv"),
        (
            lambda root: (root / "dev_sent_emo.csv").write_text("Utterance,Speaker\n"),
            "Emotion, Dialogue_ID, Utterance_ID",
        ),
    ],
)
def test_files_that_are_not_there(root: Path, spoil, says: str) -> None:  # type: ignore[no-untyped-def]
    spoil(root)
    with pytest.raises(CorpusError, match=says):
        read(root)
    with pytest.raises(CorpusError, match=r"prepare\.meld\.folder"):
        read(root / "nowhere")


# ---- the real tables


@pytest.fixture(scope="module")
def real() -> Reading:
    if not REAL.is_dir():
        pytest.skip("the real MELD tables are not here")
    return read(REAL)


def test_the_real_tables_have_the_documented_counts(real: Reading) -> None:
    assert Counter(u.split for u in real.utterances) == {"train": 9989, "dev": 1109, "test": 2610}
    dialogues = {(u.split, u.dialogue) for u in real.utterances}
    assert Counter(split for split, _ in dialogues) == {"train": 1038, "dev": 114, "test": 280}
    turns = Counter(u.dialogue for u in real.utterances)
    speakers = Counter(d for d, _ in {(u.dialogue, u.speaker) for u in real.utterances})
    assert max(turns.values()) == 33
    assert max(speakers.values()) == 9
    assert Counter(u.label for u in real.utterances if u.split == "test") == {
        "neutral": 1256, "joy": 402, "anger": 345, "surprise": 281, "sadness": 208, "disgust": 68, "fear": 50,
    }  # fmt: skip
    assert sum(real.spans_s.values()) / 3600 == pytest.approx(12.066, abs=0.001)


def test_the_real_tables_have_the_documented_findings(real: Reading) -> None:
    gaps = [f for f in real.findings if f.kind == "gap"]
    absent = [f.id for f in gaps if f.action == "leaves out"]
    assert absent == ["meld/train"]
    assert gaps[0].reason == "No row has the dialogue 60 of 0 to 1038."
    assert Counter(f.id.split("/")[1] for f in gaps if f.id not in absent) == {"train": 72, "dev": 2, "test": 2}
    assert findings(real, "mis-cut") == ["meld/train/dia309_utt0", "meld/test/dia38_utt4", "meld/test/dia220_utt0"]
    assert sorted(findings(real, "known")) == [
        "meld/dev/dia110_utt7",
        "meld/test/dia155_utt3",
        "meld/test/dia220_utt0",
        "meld/test/dia38_utt4",
        "meld/train/dia125_utt3",
        "meld/train/dia309_utt0",
        "meld/train/dia338_utt3",
    ]
    short = Counter(id_.split("/")[1] for id_, span in real.spans_s.items() if span < 0.5)
    assert short == {"train": 283, "test": 89, "dev": 34}
    assert real.spans_s["meld/test/dia155_utt3"] == 0.0
    assert real.spans_s["meld/train/dia338_utt3"] == 0.006
    assert not findings(real, "mojibake") + findings(real, "empty") + findings(real, "encoding")
    assert "2618 utterances" in next(f.reason for f in real.findings if f.id == "meld/train" and f.kind == "quotes")


def test_the_real_tables_repeat_moments_once_across_splits(real: Reading) -> None:
    repeated = [f for f in real.findings if f.kind == "repeated"]
    assert len(repeated) == 11
    assert [f.id for f in repeated if "so test holds" in f.reason] == ["meld/test/dia85_utt0"]


# ---- damage


def mangled(content: bytes, random: Random) -> bytes:
    """A few bytes changed, removed, doubled, or the rest cut off."""
    out = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(out) or 1)
        piece = random.choice([b'"', b"\n", b",", b"\0", b"\xff", b"\xe2\x80\x99", b"9" * 40, out[at : at + 50]])
        match random.randrange(4):
            case 0:
                out[at : at + random.randint(1, 20)] = b""
            case 1:
                out[at:at] = piece
            case 2:
                out[at : at + 1] = bytes([random.randrange(256)])
            case 3:
                del out[max(at, len(out) // 2) :]
    return bytes(out)


def test_a_mangled_table_is_read_or_refused_in_words(root: Path) -> None:
    table = (root / "train_sent_emo.csv").read_bytes()
    head = table.index(b"\n") + 1
    outcomes = Counter[str]()
    for seed in range(200):
        (root / "train_sent_emo.csv").write_bytes(table[:head] + mangled(table[head:], Random(seed)))
        try:
            reading = read(root)
        except CorpusError as error:
            outcomes["refused"] += "train_sent_emo.csv" in str(error)
            continue
        write_manifest(root / "manifest.jsonl", reading.utterances, reading.labels, ("meld",))
        assert len(read_manifest(root / "manifest.jsonl").utterances) == len(reading.utterances)
        outcomes["read"] += 1
    assert sum(outcomes.values()) == 200
    assert min(outcomes["read"], outcomes["refused"]) > 20
