"""``corpus check`` on clips made here: every kind of trouble is detected and kept apart from what is harmless."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus import check, prepare
from bemerc.corpus.check_report import Report
from bemerc.corpus.manifest import Utterance
from bemerc.corpus.readers import folder, meld, recording
from bemerc.corpus.reading import Reading
from tests.clips import write_clip

REAL = Path(__file__).parents[3] / "shared" / "meld"
HEAD = ["Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID", "StartTime", "EndTime"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dialogue in MELD's shape: 0 fine, 1 mis-cut, 2 text called mp4, 3 missing, 4 near-empty, 5 without sound."""
    root = tmp_path_factory.mktemp("corpus")
    for split in ("train", "dev", "test"):
        spans = [1.5, 1.5, 1.0, 1.0, 0.2, 1.0] if split == "train" else [1.0]
        with (root / f"{split}_sent_emo.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(HEAD)
            for number, span in enumerate(spans):
                end = f"00:00:{10 * number + int(span):02d},{round(1000 * (span % 1)):03d}"
                speaker = "Ann" if number % 2 else "Bob"
                writer.writerow(["Hi", speaker, "joy", 0, number, f"00:00:{10 * number:02d},000", end])
    train = root / "train"
    write_clip(train / "dia0_utt0.mp4", 1.6)
    write_clip(train / "dia0_utt1.mp4", 3.0)
    write_clip(train / "final_videos_testdia0_utt1.mp4", 1.5)
    (train / "dia0_utt2.mp4").write_text("this is no film", encoding="utf-8")
    write_clip(train / "dia0_utt4.mp4", 0.2)
    write_clip(train / "dia0_utt5.mp4", 1.0, tone_hz=None)
    write_clip(root / "dev/dia0_utt0.mp4", 1.0)
    (root / "test").mkdir()
    shutil.copy(root / "dev/dia0_utt0.mp4", root / "test/dia0_utt0.mp4")
    return root


@pytest.fixture(scope="module")
def report(corpus: Path) -> Report:
    return check.run(prepare.Params(sample=meld.Params(folder=str(corpus))), "sample", quiet=True)


def about(report: Report, number: int) -> set[tuple[str, str, bool]]:
    return {(f.kind, f.action, f.needs_you) for f in report.findings if f.id == f"sample/train/dia0_utt{number}"}


def test_each_trouble_is_a_finding_with_an_action(report: Report) -> None:
    assert about(report, 0) == set()
    assert about(report, 1) == {("mis-cut", "keeps", True)}
    assert about(report, 2) == {("corrupt", "keeps without video", True)}
    assert about(report, 3) == {("missing", "keeps without video", True)}
    assert about(report, 4) == {("near-empty", "keeps", False)}
    assert about(report, 5) == {("track", "keeps", False)}
    assert report.kinds()["extra"] == 1
    assert report.exit_code == 1


def test_a_twin_that_fits_better_is_named(report: Report) -> None:
    (reason,) = [f.reason for f in report.findings if f.kind == "mis-cut"]
    assert "lasts 3.0" in reason
    assert "its times say 1.500 s" in reason
    assert "final_videos_testdia0_utt1.mp4 lasts 1.5" in reason


def test_counts_by_split_label_and_speaker(report: Report) -> None:
    assert report.counts["train"] == {"utterances": 6, "dialogues": 1, "speakers": 2, "labelled": 6, "with_clip": 5}
    assert report.labels["train"] == {"joy": 6}
    assert report.speakers["train"] == {"Ann": 3, "Bob": 3}
    assert report.hours["train"] == pytest.approx(6.2 / 3600, abs=1e-4)


def test_the_report_for_people_and_for_programs(report: Report) -> None:
    text = report.format_text(shown=1)
    assert text.startswith("sample\n  train      6 utterances")
    assert "corrupt: 1 (bemerc keeps without video)  needs you\n  sample/train/dia0_utt2: " in text
    assert text.endswith("under prepare.without_video or prepare.leave_out in params.yaml.")
    parsed = json.loads(report.to_json())
    assert parsed["needs_you"] is True
    assert parsed["kinds"]["missing"] == 1
    assert {"kind", "id", "reason", "action", "needs_you"} == set(parsed["findings"][0])
    urgent = [finding["needs_you"] for finding in parsed["findings"]]
    assert urgent == sorted(urgent, reverse=True)


def test_a_table_that_stops_is_a_report_too(corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(corpus, root)
    with (root / "dev_sent_emo.csv").open("a", encoding="utf-8") as file:
        file.write("Hi,Ann,bliss,0,9,,\r\nHi,Ann,joy,zero,9,,\r\n")
    report = check.run(prepare.Params(sample=meld.Params(folder=str(root))), "sample")
    assert len(report.faults) == 1
    assert ("row", True) in {(f.kind, f.needs_you) for f in report.findings}
    assert report.exit_code == 1
    assert "STOPS  " in report.format_text()


def test_a_name_that_is_no_corpus_is_an_error_and_no_report() -> None:
    with pytest.raises(CorpusError):
        check.run(prepare.Params(), "foo")


def test_a_sound_corpus_needs_nobody(corpus: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        shutil.copy(corpus / "dev/dia0_utt0.mp4", tmp_path / "clips" / name)
    report = check.check(folder.read(tmp_path / "clips"), quiet=True)
    assert report.findings == ()
    assert report.exit_code == 0
    assert report.format_text().endswith("0 findings, none of which needs you.")


def test_decoding_detects_a_truncated_clip(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clips/whole.mp4", 2.0, faststart=True)
    content = whole.read_bytes()
    (tmp_path / "clips/half.mp4").write_bytes(content[: len(content) // 2])
    reading = folder.read(tmp_path / "clips")
    assert check.check(reading, quiet=True).exit_code == 0
    report = check.check(reading, deep=True, quiet=True)
    assert {(f.kind, f.id, f.needs_you) for f in report.findings} == {("damaged", "half", True)}


def test_a_part_of_the_picture_that_is_too_small_for_a_face(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "a.mp4", 1.0))  # 64 x 48 pixels
    parts = {"tiny": (0.0, 0.0, 0.1, 1.0), "half": (0.0, 0.0, 0.5, 1.0)}
    utterances = [Utterance(id_, id_, 0, "Ann", "Hi", None, "test", clip, crop=crop) for id_, crop in parts.items()]
    report = check.check(Reading("x", tuple(utterances)), quiet=True)
    assert [(f.kind, f.id, f.needs_you) for f in report.findings] == [("crop", "tiny", True)]


def test_cues_beyond_the_end_of_a_recording(corpus: Path) -> None:
    video = corpus / "train/dia0_utt1.mp4"
    cues = [recording.Cue(0.0, 2.0, "a"), recording.Cue(2.0, 3.3, "b"), recording.Cue(3.0, 9.0, "c")]
    report = check.check(recording.from_cues(video, cues), quiet=True)
    assert [(f.kind, f.id, f.needs_you) for f in report.findings] == [("mis-cut", "dia0_utt1/0002", True)]


@pytest.mark.parametrize(
    ("length_s", "span_s", "mis_cut"),
    [(1.4, 1.0, False), (1.6, 1.0, True), (10.6, 10.0, False), (13.0, 10.0, True), (0.2, 1.0, True), (0.4, 0.0, False)],
)
def test_a_clip_is_mis_cut_by_seconds_and_by_share(length_s: float, span_s: float, mis_cut: bool) -> None:
    assert check._is_mis_cut(length_s, span_s) is mis_cut


def test_documented_faults_need_nobody() -> None:
    u = Utterance("a", "d", 0, "Ann", "Hi", None, "test", "gone.mp4")
    reading = Reading("x", (u,), errata={"a": "the published clip is corrupt"})
    report = check.check(reading, quiet=True)
    assert [(f.kind, f.needs_you) for f in report.findings] == [("corrupt", False)]
    assert report.exit_code == 0


def test_the_real_meld_tables() -> None:
    if not REAL.is_dir():
        pytest.skip("the real MELD tables are not here")
    report = check.run(prepare.Params(meld=meld.Params(folder=str(REAL))), "meld", quiet=True)
    assert report.kinds() == {
        "missing": 3, "quotes": 3, "gap": 77, "order": 31, "repeated": 11, "mis-cut": 3, "known": 7, "near-empty": 406,
    }  # fmt: skip
    assert [f.id for f in report.findings if f.needs_you] == ["meld/train", "meld/dev", "meld/test"]
    assert {split: c["speakers"] for split, c in report.counts.items()} == {"train": 260, "dev": 47, "test": 100}
    assert report.hours == {"train": 8.7063, "dev": 0.9603, "test": 2.3992}
