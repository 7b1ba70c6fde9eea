"""IEMOCAP in a made tree of the same shape: invented dialogues, words and labels, none of the corpus's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus import prepare
from bemerc.corpus.readers import iemocap
from bemerc.corpus.readers.iemocap import FOUR, SIX, WHOLE
from bemerc.corpus.reading import Reading

CODES = ["neu", "hap", "sad", "ang", "fru", "exc", "xxx", "oth"]


def dialogue(root: Path, session: int, marked: str, kind: str, codes: list[str], video: bool = True) -> str:
    """One dialogue whose speakers take turns of 2 s; every utterance has its sound, the dialogue its video."""
    name = f"Ses0{session}{marked}_{kind}"
    base = root / f"Session{session}"
    evaluations, spoken = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], []
    for i, code in enumerate(codes):
        key = f"{name}_{'FM'[i % 2]}{i // 2:03d}"
        start, end = 3.0 * i + 0.5, 3.0 * i + 2.5
        evaluations += [
            f"[{start:.4f} - {end:.4f}]\t{key}\t{code}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "",
        ]
        spoken.append(f"{key} [{start + 0.01:08.4f}-{end:08.4f}]: made-up words {i}")
        put(base / "sentences/wav" / name / f"{key}.wav")
    put(base / "dialog/EmoEvaluation" / f"{name}.txt", "\n".join(evaluations))
    put(base / "dialog/EmoEvaluation/Categorical" / f"{name}_e1_cat.txt", "not read")
    put(base / "dialog/EmoEvaluation" / f"._{name}.txt", "shadow")
    put(base / "dialog/transcriptions" / f"{name}.txt", "\n".join([*spoken, "M: an aside that does not parse"]) + "\n")
    if video:
        put(base / "dialog/avi/DivX" / f"{name}.avi")
        put(base / "dialog/avi/DivX" / f"._{name}.avi")
    return name


def put(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for session in range(1, 6):
        dialogue(tmp_path, session, "F", "impro01", CODES)
        dialogue(tmp_path, session, "M", "script01_1", CODES[:5])
    return tmp_path


def read(root: Path, **settings: object) -> Reading:
    return iemocap.read(iemocap.Params(folder=str(root), **({"whole": False} | settings)))  # type: ignore[arg-type]


def test_an_utterance_is_a_span_and_a_half_of_its_dialogues_video(root: Path) -> None:
    by_id = {u.id: u for u in read(root).utterances}
    woman, man = by_id["iemocap/Ses01F_impro01_F000"], by_id["iemocap/Ses01F_impro01_M000"]
    assert woman.clip == man.clip == str(root / "Session1/dialog/avi/DivX/Ses01F_impro01.avi")
    assert (woman.start_s, woman.end_s, man.start_s, man.end_s) == (0.5, 2.5, 3.5, 5.5)
    assert woman.crop == (0.0, 0.0, 0.5, 1.0)
    assert man.crop == (0.5, 0.0, 1.0, 1.0)
    assert (woman.speaker, man.speaker) == ("Ses01_F", "Ses01_M")
    assert (woman.text, woman.label, man.label) == ("made-up words 0", "neutral", "happy")
    scripted = by_id["iemocap/Ses05M_script01_1_M000"]
    assert scripted.crop == (0.0, 0.0, 0.5, 1.0)
    assert scripted.dialogue == "iemocap/Ses05M_script01_1"


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Ses01F_impro01_F000", "left"),
        ("Ses01F_impro01_M000", "right"),
        ("Ses02M_script03_2_M041", "left"),
        ("Ses02M_script03_2_F041", "right"),
        ("Ses03F_impro02_MXX0", "right"),
    ],
)
def test_the_actor_with_the_markers_is_on_the_left(name: str, side: str) -> None:
    assert iemocap.half(name) == side


def test_six_and_four_classes(root: Path) -> None:
    six, four = read(root), read(root, classes="four")
    assert six.labels == ("happy", "sad", "neutral", "angry", "excited", "frustrated")
    assert four.labels == ("happy", "sad", "neutral", "angry")
    assert Counter(u.label for u in six.utterances) == {
        "neutral": 10, "happy": 10, "sad": 10, "angry": 10, "frustrated": 10, "excited": 5, None: 10,
    }  # fmt: skip
    assert Counter(u.label for u in four.utterances) == {"neutral": 10, "happy": 15, "sad": 10, "angry": 10, None: 20}


def test_context_all_keeps_the_others_as_history(root: Path) -> None:
    every, labelled = read(root), read(root, context="labelled")
    assert len(every.utterances) == 65
    assert len(labelled.utterances) == 55
    assert all(u.label for u in labelled.utterances)
    indices = sorted(u.index for u in labelled.utterances if u.dialogue == "iemocap/Ses01F_impro01")
    assert indices == list(range(6))


def test_turns_that_were_only_transcribed_are_history_in_their_place(root: Path) -> None:
    path = root / "Session1/dialog/transcriptions/Ses01F_impro01.txt"
    path.write_text(
        "Ses01F_impro01_MXX0 [001.0000-001.2000]: hm\n" + path.read_text(encoding="utf-8"), encoding="utf-8"
    )
    turns = [u for u in read(root).utterances if u.dialogue == "iemocap/Ses01F_impro01"]
    extra = next(u for u in turns if u.id.endswith("MXX0"))
    assert (extra.index, extra.speaker, extra.label, extra.start_s) == (1, "Ses01_M", None, 1.0)
    assert sorted(u.index for u in turns) == list(range(9))
    assert not any(u.id.endswith("MXX0") for u in read(root, context="labelled").utterances)


@pytest.mark.parametrize("session", [1, 2, 3, 4, 5])
def test_any_session_is_the_test_and_dev_is_cut_by_dialogue(root: Path, session: int) -> None:
    reading = read(root, test_session=session, dev_share=0.25)
    assert {u.dialogue[:13] for u in reading.utterances if u.split == "test"} == {f"iemocap/Ses0{session}"}
    assert {u.dialogue[:13] for u in reading.utterances if u.split != "test"} == {
        f"iemocap/Ses0{n}" for n in range(1, 6) if n != session
    }
    split_of = {u.dialogue: u.split for u in reading.utterances}
    assert all(split_of[u.dialogue] == u.split for u in reading.utterances)
    assert Counter(split_of.values()) == {"train": 6, "dev": 2, "test": 2}
    assert reading.utterances == read(root, test_session=session, dev_share=0.25).utterances


def test_another_test_session_changes_splits_alone(root: Path) -> None:
    one, five = read(root, test_session=1), read(root, test_session=5)
    assert [(u.id, u.clip, u.start_s, u.crop, u.text) for u in one.utterances] == [
        (u.id, u.clip, u.start_s, u.crop, u.text) for u in five.utterances
    ]
    assert [u.split for u in one.utterances] != [u.split for u in five.utterances]


def test_another_seed_draws_another_dev(root: Path) -> None:
    drawn = {frozenset(u.dialogue for u in read(root, seed=seed).utterances if u.split == "dev") for seed in range(8)}
    assert len(drawn) > 1


def test_without_video_there_is_the_sound(root: Path) -> None:
    for path in (root / "Session1/dialog/avi/DivX").iterdir():
        path.unlink()
    (root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav").unlink()
    reading = read(root)
    by_id = {u.id: u for u in reading.utterances}
    sound_only = by_id["iemocap/Ses01F_impro01_M000"]
    assert sound_only.clip == str(root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M000.wav")
    assert (sound_only.start_s, sound_only.end_s, sound_only.crop) == (None, None, None)
    assert by_id["iemocap/Ses01F_impro01_F000"].clip is None
    missing = {f.id: f for f in reading.findings if f.kind == "missing"}
    assert set(missing) == {
        "iemocap/Ses01F_impro01_F000",
        "iemocap/Ses01F_impro01",
        "iemocap/Ses01M_script01_1",
    }
    assert all(f.action == "keeps without video" and f.needs_you for f in missing.values())


def test_lines_that_do_not_parse_are_left_out_with_findings(root: Path) -> None:
    reading = read(root)
    lines = [f for f in reading.findings if f.kind == "line"]
    assert len(lines) == 10
    assert lines[0].id == "Ses01F_impro01.txt, line 9"
    path = root / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    path.write_text(path.read_text(encoding="utf-8") + "\n[1.0 - 2.0] broken\n", encoding="utf-8")
    assert [
        f.needs_you for f in read(root).findings if f.id.startswith("Ses02F_impro01.txt") and "parse" in f.reason
    ] == [True]


def test_evaluated_but_never_transcribed(root: Path) -> None:
    (root / "Session3/dialog/transcriptions/Ses03M_script01_1.txt").unlink()
    reading = read(root)
    assert sum(f.kind == "words" for f in reading.findings) == 5
    assert all(u.text == "" for u in reading.utterances if u.dialogue == "iemocap/Ses03M_script01_1")


def test_unknown_codes_and_double_evaluations_stop_at_once(root: Path) -> None:
    dialogue(root, 4, "F", "impro02", ["neu", "joy", "sad"])
    path = root / "Session4/dialog/EmoEvaluation/Ses04F_impro02.txt"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n[9.0 - 9.5]\tSes04F_impro02_F000\tneu\t[2.5, 2.5, 2.5]\n", encoding="utf-8")
    with pytest.raises(CorpusError) as error:
        read(root)
    first, second = str(error.value).splitlines()
    assert "Ses04F_impro02_M000: the emotion code 'joy' is unknown; the known ones are hap, sad" in first
    assert "Ses04F_impro02_F000 is evaluated twice" in second


def test_the_published_counts() -> None:
    assert sum(WHOLE[code] for code in FOUR) == 5531
    assert sum(WHOLE[code] for code in SIX) == 7380


def test_four_classes_of_a_whole_corpus_must_be_5531(root: Path) -> None:
    with pytest.raises(CorpusError) as error:
        read(root, classes="four", whole=True)
    assert "The four classes are 45 utterances, the whole corpus has 5,531" in str(error.value)
    assert "hap 10 instead of 595" in str(error.value)
    assert "prepare.iemocap.whole: false" in str(error.value)
    count = [f for f in read(root, whole=True).findings if f.kind == "count"]
    assert [f.needs_you for f in count] == [True]


def test_a_part_of_the_corpus_says_what_differs(root: Path) -> None:
    (root / "Session3").rename(root / "away")
    (count,) = [f for f in read(root, classes="four", whole=True).findings if f.kind == "count"]
    assert count.reason.endswith("Not there: session 3.")
    assert not count.needs_you
    with pytest.raises(CorpusError, match="session 3, the test session, is not there; these are: 1, 2, 4, 5"):
        read(root, test_session=3)


def test_a_whole_corpus_with_the_right_counts_passes(tmp_path: Path) -> None:
    """5,531 made-up evaluations, spread over five sessions, and the assertion is content."""
    codes = [code for code in FOUR for _ in range(WHOLE[code])]
    for session in range(1, 6):
        mine = codes[session - 1 :: 5]
        name = f"Ses0{session}F_impro01"
        lines = [f"[{i} - {i + 1}]\t{name}_F{i:03d}\t{code}\t[2, 2, 2]" for i, code in enumerate(mine[:1000])]
        more = [f"[{i} - {i + 1}]\t{name}_M{i:03d}\t{code}\t[2, 2, 2]" for i, code in enumerate(mine[1000:])]
        put(tmp_path / f"Session{session}/dialog/EmoEvaluation/{name}.txt", "\n".join(lines + more))
    reading = read(tmp_path, classes="four", whole=True)
    assert len(reading.utterances) == 5531
    assert not [f for f in reading.findings if f.kind == "count"]


def test_bad_settings_are_faults() -> None:
    assert len(iemocap.Params(test_session=6, dev_share=1.0).check()) == 2


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"prepare\.iemocap\.folder"):
        read(tmp_path)


def test_the_manifest_is_whole(root: Path, tmp_path: Path) -> None:
    params = prepare.Params(corpora=("iemocap",), iemocap=iemocap.Params(folder=str(root), dev_share=0.2))
    manifest, _ = prepare.run(params, tmp_path / "out/manifest.jsonl")
    assert len(manifest.utterances) == 65
    clip = manifest.clip_path(manifest.utterances[0])
    assert clip is not None
    assert clip.is_file()
