"""The sample corpus on disk: MELD's shape, the truth beside it, the same bytes whoever draws, and nothing given away."""

import csv
import dataclasses
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc.core.config import from_mapping
from bemerc.core.errors import BemercError, ConfigError, CorpusError
from bemerc.corpus.manifest import SPLITS
from bemerc.sample.make import make
from bemerc.sample.plan import Params, plan_corpus, split_sizes, summary
from benchmarks.sample_truth import read_intensities
from tests.errors import raises

TINY = Params(dialogues=3, turns=2, speakers=4, unseen_speakers=1, min_s=0.8, max_s=1.0, width=160, height=160)
PLAN = plan_corpus(Params())


def read_truth(corpus: Path) -> list[dict[str, Any]]:
    """truth.jsonl, one mapping per utterance sorted by id."""
    return [json.loads(line) for line in (corpus / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("av", "cv2", "skimage", "espeakng_loader"):
        pytest.importorskip(module)
    out = tmp_path_factory.mktemp("made") / "sample"
    counted: list[tuple[int, int]] = []
    accuracies = make(TINY, out, workers=1, progress=lambda done, total: counted.append((done, total)))
    assert counted == [(2, 6), (4, 6), (6, 6)]
    assert accuracies == summary(plan_corpus(TINY), TINY)
    return out


def rows(out: Path, split: str) -> list[dict[str, str]]:
    with (out / f"{split}_sent_emo.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_tables_have_melds_shape(corpus: Path) -> None:
    for split in SPLITS:
        raw = (corpus / f"{split}_sent_emo.csv").read_bytes()
        assert raw.startswith(
            b"Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
        )
        assert raw.count(b"\r\n") == raw.count(b"\n") == 3
        for row in rows(corpus, split):
            assert (corpus / split / f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4").is_file()
            assert re.fullmatch(r"\d\d:\d\d:\d\d,\d{3}", row["StartTime"])
            assert seconds(row["EndTime"]) - seconds(row["StartTime"]) == pytest.approx(0.9, abs=0.15)


def seconds(time: str) -> float:
    hours, minutes, rest = time.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def test_clips_hold_what_the_truth_says(corpus: Path) -> None:
    import av

    intensities = read_intensities(corpus)
    truth = {line["id"]: line for line in read_truth(corpus)}
    assert list(truth) == sorted(truth)
    assert set(truth) == set(intensities)
    sizes = set()
    for key, line in truth.items():
        path = corpus.joinpath(*key.split("/")[1:]).with_suffix(".mp4")
        sizes.add(path.stat().st_size)
        with av.open(str(path)) as clip:
            assert (clip.streams.video[0].codec.name, clip.streams.audio[0].codec.name) == ("h264", "aac")
            frames = sum(1 for _ in clip.decode(video=0))
        with av.open(str(path)) as clip:
            samples = sum(frame.samples for frame in clip.decode(audio=0))
        assert frames == line["frames"] == len(intensities[key].units) == len(intensities[key].body)
        assert samples / 22050 == pytest.approx(frames / 25, abs=0.12)
    assert len(sizes) == 1, "every clip has the same number of bytes"


def test_the_truth_is_beside_the_corpus_and_not_in_it(corpus: Path) -> None:
    assert {p.name for p in corpus.iterdir()} == {
        "train", "dev", "test", "truth.jsonl", "truth.h5", *(f"{s}_sent_emo.csv" for s in SPLITS)
    }  # fmt: skip
    labels = {
        f"sample/{s}/dia{r['Dialogue_ID']}_utt{r['Utterance_ID']}": r["Emotion"]
        for s in SPLITS
        for r in rows(corpus, s)
    }
    assert {line["id"]: line["label"] for line in read_truth(corpus)} == labels
    clip = next(corpus.glob("train/*.mp4")).read_bytes()
    words = {word.encode() for line in read_truth(corpus) for word in (line["label"], line["recipe"], line["case"])}
    assert not [word for word in words if len(word) > 4 and word in clip]


@pytest.mark.slow
def test_two_workers_make_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    again = tmp_path / "sample"
    make(TINY, again, workers=2)
    assert digest(again) == digest(corpus)


def digest(out: Path) -> dict[str, str]:
    files = sorted(p for p in out.rglob("*") if p.is_file())
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("two years of work")
    with raises(CorpusError, path=tmp_path):
        make(TINY, tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_a_missing_extra_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "espeakng_loader" else find_spec(name)
    )
    with pytest.raises(BemercError, match=r'espeak-ng: pip install "bemerc\[extract,sample\]"'):
        make(TINY, tmp_path / "sample")
    assert not list(tmp_path.iterdir())


def test_no_sample_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="bemerc sample"):
        read_intensities(tmp_path)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dialogues": 2}, "at least 3"),
        ({"min_s": 3.0}, "min_s first"),
        ({"fps": 12}, "15 frames"),
        ({"width": 321}, "multiples of 4"),
        ({"speakers": 3}, "more than unseen_speakers"),
        ({"test_share": 0.9}, "nothing is left"),
        ({"micro_share": 1.5}, "micro_share"),
    ],
)
def test_params_that_cannot_be_made_are_refused(change: dict[str, object], fault: str) -> None:
    values = dataclasses.asdict(Params()) | change
    with pytest.raises(ConfigError, match=fault):
        from_mapping(values, Params, where="params.yaml: sample")


# ---- the plan: fast, so on the default size -------------------------------------------------------------------------


def test_the_default_corpus_is_split_by_dialogue_with_new_speakers_in_test() -> None:
    assert split_sizes(Params()) == {"train": 36, "dev": 9, "test": 15}
    speakers = {s: {p.speaker for p in PLAN if p.split == s} for s in SPLITS}
    assert len(speakers["test"] - speakers["train"] - speakers["dev"]) == 3
    assert speakers["test"] & speakers["train"]
    assert len(speakers["train"]) == 9
    for key in {(p.split, p.dialogue) for p in PLAN}:
        turns = [p for p in PLAN if (p.split, p.dialogue) == key]
        assert [p.turn for p in turns] == list(range(6))
        assert len({p.speaker for p in turns}) == 2
        assert all(a.start_s + a.frames / 25 < b.start_s for a, b in pairwise(turns))
    assert len({p.id for p in PLAN}) == 360


def test_one_in_ten_holds_a_micro_expression() -> None:
    assert sum(p.micro for p in PLAN) == pytest.approx(36, abs=2)


def test_lengths_are_drawn_before_emotions() -> None:
    """Another share of hints deals other emotions; frames, speakers and times stay what they were."""
    other = plan_corpus(Params(hint_share=0.9))
    assert [p.roles for p in other] != [p.roles for p in PLAN]
    assert [(p.frames, p.speaker, p.start_s) for p in other] == [(p.frames, p.speaker, p.start_s) for p in PLAN]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_metadata_does_not_predict_the_label(seed: int) -> None:
    """Nearest centroid over length, position, speaker, dialogue and text length; against shuffled labels."""
    plan = plan_corpus(Params(seed=seed))
    table = np.array(
        [
            [p.frames, p.dialogue, len(p.text), len(p.text.split()), *np.eye(6)[p.turn], *np.eye(12)[p.speaker]]
            for p in plan
        ]
    )
    table = (table - table.mean(0)) / table.std(0)
    train = np.array([p.split == "train" for p in plan])
    labels = np.array([p.roles.label for p in plan])
    rng = np.random.default_rng(0)
    chance = [accuracy(table, rng.permutation(labels), train) for _ in range(200)]
    low, high = np.quantile(chance, [0.005, 0.995])
    assert low <= accuracy(table, labels, train) <= high


def accuracy(table: np.ndarray, labels: np.ndarray, train: np.ndarray) -> float:
    names = np.unique(labels)
    centroids = np.stack([table[train & (labels == name)].mean(0) for name in names])
    nearest = ((table[~train, None] - centroids) ** 2).sum(-1).argmin(1)
    return float(np.mean(names[nearest] == labels[~train]))


def test_another_seed_is_another_corpus() -> None:
    assert plan_corpus(Params()) == PLAN
    assert {p.text for p in plan_corpus(Params(seed=8))} != {p.text for p in PLAN}


def test_importing_the_maker_is_cheap() -> None:
    code = "import sys, bemerc.sample.make; print(*{'cv2', 'av', 'skimage', 'h5py', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
