"""Corpora joined into one manifest: label sets mapped explicitly, the user's exceptions, paths that travel."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from bemerc.core import config
from bemerc.core.errors import ConfigError, CorpusError
from bemerc.corpus import check, prepare
from bemerc.corpus.corpora import CORPORA
from bemerc.corpus.manifest import SPLITS, Utterance, read_manifest, write_manifest
from bemerc.corpus.reading import FaultyCorpusError
from tests import tables

HEAD = ["Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a sample in MELD's shape and a table with labels of its own."""
    monkeypatch.chdir(tmp_path)
    for split in SPLITS:
        folder = tmp_path / "data/sample"
        (folder / split).mkdir(parents=True)
        with (folder / f"{split}_sent_emo.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([HEAD, ["Hi", "Ann", "joy", 3, 0], ["Oh", "Bob", "fear", 3, 1]])
        for number in (0, 1):
            (folder / split / f"dia3_utt{number}.mp4").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.mp4").write_bytes(b"")
    rows = [
        Utterance("a", "d", 0, "Cy", "Calm.", "calm", "train", "x.mp4"),
        Utterance("b", "d", 1, "Di", "Not.", "upset", "train", "x.mp4"),
    ]
    tables.write(tmp_path / "elsewhere/own.csv", rows)
    return tmp_path


def params(**settings: Any) -> prepare.Params:
    """Settings of the project; its sample knows joy and fear alone, so these are its labels unless others are named."""
    own = {"file": "elsewhere/own.csv", "labels": ["calm", "upset"]}
    return config.from_mapping(
        {"labels": ["joy", "fear"], "table": own} | settings, prepare.Params, "params.yaml: prepare"
    )


def test_the_default_is_the_sample_in_melds_shape(project: Path) -> None:
    manifest, _ = prepare.run(params(), Path("data/manifest.jsonl"))
    assert [u.id for u in manifest.utterances] == [f"sample/{s}/dia3_utt{n}" for s in sorted(SPLITS) for n in (0, 1)]
    assert manifest.corpora == ("sample",)
    first = manifest.by_split("train")[0]
    assert first.clip == "sample/train/dia3_utt0.mp4"
    assert manifest.clip_path(first) == Path("data/sample/train/dia3_utt0.mp4")


def test_a_sample_that_is_not_made_yet(project: Path) -> None:
    with pytest.raises(CorpusError, match="bemerc sample"):
        prepare.run(params(sample={"folder": "data/none"}), Path("data/manifest.jsonl"))


def test_several_corpora_need_a_common_label_set_and_a_map(project: Path) -> None:
    both = {"corpora": ["sample", "table"]}
    with pytest.raises(CorpusError, match=r"different label sets .*table: calm, upset.*Set prepare\.labels"):
        prepare.run(params(**both, labels=None), Path("data/manifest.jsonl"))
    common = ["neutral", "joy", "fear"]
    with pytest.raises(CorpusError, match=r"prepare\.label_map\.table: say where calm, upset should go"):
        prepare.run(params(**both, labels=common), Path("data/manifest.jsonl"))
    goals = {"table": {"calm": "neutral", "upset": None}}
    manifest, _ = prepare.run(params(**both, labels=common, label_map=goals), Path("data/manifest.jsonl"))
    assert manifest.corpora == ("sample", "table")
    own = {u.id: u for u in manifest.utterances if u.id.startswith("table/")}
    assert own["table/train/a"].label == "neutral"
    assert own["table/train/b"].label is None
    assert own["table/train/a"].clip == "../elsewhere/x.mp4"
    assert len(manifest.utterances) == 8


def test_a_coarser_set_from_one_corpus(project: Path) -> None:
    goals = {
        "sample": {"joy": "calm", "fear": "upset"}
        | dict.fromkeys(["neutral", "sadness", "anger", "surprise", "disgust"])
    }
    manifest, _ = prepare.run(params(labels=["calm", "upset"], label_map=goals), Path("data/manifest.jsonl"))
    assert manifest.labels == ("calm", "upset")
    assert [u.label for u in manifest.by_split("dev")] == ["calm", "upset"]


@pytest.mark.parametrize(
    ("corpus", "labels", "key"),
    [
        ("sample", None, "prepare.labels: [joy, fear]"),
        ("sample", "meld", "prepare.labels: [joy, fear]"),
        ("table", None, "prepare.table.labels: [calm]"),
        ("table", ["calm", "upset"], "prepare.labels: [calm]"),
    ],
)
def test_labels_that_train_lacks_stop_with_the_key_that_makes_it_go_on(
    project: Path, corpus: str, labels: object, key: str
) -> None:
    tables.write(project / "elsewhere/own.csv", [Utterance("a", "d", 0, "Cy", "Calm.", "calm", "train", "x.mp4")])
    given = {"corpora": [corpus], "labels": labels}
    with pytest.raises(FaultyCorpusError) as error:
        prepare.run(params(**given), Path("data/manifest.jsonl"))
    (fault,) = error.value.faults
    assert key in fault
    assert not Path("data/manifest.jsonl").exists()
    assert check.run(params(**given), corpus, clips=False, quiet=True).faults == (fault,)
    given |= {"labels": ["joy", "fear"]} if corpus == "sample" else {"labels": labels and ["calm"]}
    if labels is None and corpus == "table":
        given["table"] = {"file": "elsewhere/own.csv", "labels": ["calm"]}
    assert prepare.run(params(**given), Path("data/manifest.jsonl"))[0].by_split("train")


def test_a_label_that_only_test_has_stops_and_its_map_makes_it_go_on(project: Path) -> None:
    rows = [
        Utterance("a", "d", 0, "Cy", "Calm.", "calm", "train", "x.mp4"),
        Utterance("b", "e", 0, "Cy", "Not.", "upset", "test", None),
    ]
    tables.write(project / "elsewhere/own.csv", rows)
    with pytest.raises(FaultyCorpusError) as error:
        prepare.run(params(corpora=["table"], labels=None), Path("data/manifest.jsonl"))
    assert "upset (1 in dev and test)" in str(error.value)
    assert "prepare.labels: [calm] and prepare.label_map.table: {upset: null}" in str(error.value)
    mapped = params(corpora=["table"], labels=["calm"], label_map={"table": {"upset": None}})
    assert prepare.run(mapped, Path("data/manifest.jsonl"))[0].by_split("test")[0].label is None


def test_a_corpus_without_train_is_prepared(project: Path) -> None:
    tables.write(project / "elsewhere/own.csv", [Utterance("b", "e", 0, "Cy", "Not.", "upset", "test", "x.mp4")])
    manifest, _ = prepare.run(params(corpora=["table"], labels=None), Path("data/manifest.jsonl"))
    assert [u.label for u in manifest.utterances] == ["upset"]


def test_a_clip_in_two_splits_is_detected_under_every_name(project: Path) -> None:
    (project / "elsewhere/link.mp4").symlink_to("x.mp4")
    rows = [
        Utterance("a", "d", 0, "Cy", "Calm.", "calm", "train", "x.mp4"),
        Utterance("b", "d", 1, "Cy", "Calm.", "upset", "train", "x.mp4"),
        Utterance("c", "e", 0, "Cy", "Not.", "upset", "test", "link.mp4"),
    ]
    tables.write(project / "elsewhere/own.csv", rows)
    _, findings = prepare.run(params(corpora=["table"], labels=None), Path("data/manifest.jsonl"))
    assert [(f.kind, f.id, f.needs_you) for f in findings] == [("shared", "table/train/a", True)]
    assert "table/test/c" in findings[0].reason
    report = check.run(params(corpora=["table"], labels=None), "table", clips=False, quiet=True)
    assert findings[0] in report.findings
    assert report.exit_code == 1


def test_exceptions_by_id(project: Path) -> None:
    out = params(leave_out=["sample/dev/dia3_utt0"], without_video=["sample/test/dia3_utt1"])
    manifest, _ = prepare.run(out, Path("data/manifest.jsonl"))
    (left,) = manifest.by_split("dev")
    assert (left.id, left.index) == ("sample/dev/dia3_utt1", 0)
    assert [u.clip is None for u in manifest.by_split("test")] == [False, True]
    with pytest.raises(CorpusError) as error:
        prepare.run(params(leave_out=["sample/train/dia3_utt9"], without_video=["x"]), Path("data/manifest.jsonl"))
    assert len(str(error.value).splitlines()) == 2
    assert "prepare.leave_out: no utterance has the id 'sample/train/dia3_utt9'; did you mean" in str(error.value)


def test_no_clip_at_all_stops_unless_that_is_wanted(project: Path) -> None:
    for path in (project / "data/sample").glob("*/*.mp4"):
        path.unlink()
    with pytest.raises(CorpusError, match=r"not one of its 6 utterances has a clip.*looked for.*words_alone"):
        prepare.run(params(), Path("data/manifest.jsonl"))
    assert len(prepare.run(params(words_alone=True), Path("data/manifest.jsonl"))[0].utterances) == 6


def test_all_wrong_settings_are_reported_at_once(project: Path) -> None:
    with pytest.raises(ConfigError) as error:
        params(corpora=["meldd", "sample", "sample"], label_map={"x": {}})
    message = str(error.value)
    assert len(message.splitlines()) == 3
    for sentence in ("'meldd' is no corpus; did you mean 'meld'?", "several different ones", "label_map.x"):
        assert sentence in message
    with pytest.raises(ConfigError, match=r"iemocap\.test_session: must be one of"):
        params(iemocap={"test_session": 9})


def test_an_absolute_folder_stays_absolute(project: Path) -> None:
    absolute = str(project / "data/sample")
    manifest, _ = prepare.run(params(sample={"folder": absolute}), Path("data/manifest.jsonl"))
    assert manifest.utterances[0].clip == f"{absolute}/dev/dia3_utt0.mp4"


def test_the_same_corpus_gives_the_same_bytes(project: Path) -> None:
    prepare.run(params(), Path("data/manifest.jsonl"))
    first = Path("data/manifest.jsonl").read_bytes()
    prepare.run(params(), Path("data/manifest.jsonl"))
    assert Path("data/manifest.jsonl").read_bytes() == first


def test_words_with_line_separators_survive_the_manifest(tmp_path: Path) -> None:
    words = "one\u2028two\u0085three\x0bfour\nfive\r"
    made = Utterance("a", "d", 0, words, words, None, "test", None)
    write_manifest(tmp_path / "m.jsonl", [made], (), ("x",))
    assert read_manifest(tmp_path / "m.jsonl").utterances == (made,)


def test_labels_of_one_modality_are_mapped_like_the_label(project: Path) -> None:
    rows = [
        Utterance("a", "d", 0, "Cy", "Calm.", "calm", "train", "x.mp4", label_voice="upset"),
        Utterance("b", "d", 1, "Di", "Not.", "calm", "train", "x.mp4", label_text="calm", label_face="upset"),
    ]
    tables.write(project / "elsewhere/own.csv", rows)
    given = params(corpora=["table", "sample"], label_map={"table": {"calm": "joy", "upset": None}})
    manifest, _ = prepare.run(given, Path("data/manifest.jsonl"))
    mine = [u for u in manifest.utterances if u.id.startswith("table/")]
    assert [u.all_labels() for u in mine] == [("joy",), ("joy", "joy")]
    with pytest.raises(CorpusError, match="upset"):  # which no label is, but a voice
        prepare.run(params(corpora=["table", "sample"], label_map={"table": {"calm": "joy"}}), Path("data/m.jsonl"))


def test_every_corpus_has_a_reader_and_settings() -> None:
    assert set(prepare.READERS) == set(CORPORA) <= set(prepare.Params.__dataclass_fields__)
