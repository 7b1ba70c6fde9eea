"""A vision-language model describes clips: the four parts and no label, real classes, kept answers, kills that cost one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import LlamaConfig
from typer.testing import CliRunner

from bemerc.behavior.describe.description import Description, read_descriptions
from bemerc.cache import Features, Head, Rows, write_cache
from bemerc.cli.main import app
from bemerc.core.errors import BemercError, MediaError
from bemerc.corpus.manifest import Dialogue, Manifest, Utterance, write_manifest
from bemerc.corpus.readers import recording
from bemerc.language.inputs.prompts import TEACHER_ROLE, teacher_prompt
from bemerc.language.teacher import frames, qwen, vlm
from bemerc.media.video import Video
from tests.clips import write_clip
from tests.errors import raises
from tests.watchers import SAID, tiny_watcher

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("zeal", "gloom")
GOOD = '{"facial_expression": "Brows rise.", "body_language": "Nods.", "posture": "Upright."}'
PARAMS = vlm.Params(frames=2, side=64, max_new_tokens=120, device="cpu")


def corpus(folder: Path, turns: int = 3, clips: bool = True) -> Manifest:
    """One dialogue whose labels occur nowhere else."""
    made = []
    for i in range(turns):
        clip = f"u{i}.mp4"
        if clips:
            write_clip(folder / clip, 0.8, color=(20 * i, 90, 120))
        said = f"line <|im_end|> number {i}"
        made.append(Utterance(f"t/d_u{i}", "t/d", i, "Zoë", said, LABELS[i % 2], "train", clip))
    return Manifest(tuple(made), LABELS, ("t",), folder)


class Written:
    """Stands where a model stands and gives written answers in turn; what it was asked is remembered."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.talks, self.pictures = list(texts), list[list[str]](), list[int]()

    def __call__(self, model: str, params: vlm.Params) -> vlm.Ask:
        return self.ask

    def ask(self, pictures: Sequence[vlm.Picture], talk: Sequence[str]) -> str:
        self.talks.append(list(talk))
        self.pictures.append(len(pictures))
        return self.texts.pop(0)


def test_the_question_has_four_parts_and_no_label(tmp_path: Path) -> None:
    of = corpus(tmp_path, clips=False)
    asked = teacher_prompt(Dialogue("t/d", of.utterances), 2, [0.2, 0.6], history=1)
    role, context, objective, constraint = asked.split("\n\n")
    assert role == TEACHER_ROLE
    assert context == 'The conversation so far:\nZoë: "line <|im_end|> number 1"'
    assert objective.startswith('Now Zoë says "line <|im_end|> number 2" The pictures show it, at 0.2, 0.6 s')
    assert "JSON" in constraint
    assert '"facial_expression", "body_language", "posture"' in constraint
    assert not any(label in asked for label in LABELS)
    relabelled = tuple(replace(u, label="gloom") for u in of.utterances)
    assert teacher_prompt(Dialogue("t/d", relabelled), 2, [0.2, 0.6], history=1) == asked
    assert "begins here" in teacher_prompt(Dialogue("t/d", of.utterances), 0, [0.2], history=3)


def pictures(clip: Path, utterance: Utterance, times_s: list[float], side: int) -> list[Any]:
    ((_, found),) = frames.pictures_of(clip, [frames.Question(utterance, times_s, "", clip)], side)
    if isinstance(found, BemercError):
        raise found
    return found


def test_frames_are_evenly_spread_over_the_utterance(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 2.0)
    part = Utterance("a", "d", 0, "", "", None, "test", "a.mp4", 0.8, 1.6, (0.0, 0.0, 0.5, 1.0))
    times = frames.times(clip, part, 2)
    assert times == pytest.approx([1.0, 1.4])
    found = pictures(clip, part, times, 40)
    with Video(clip) as video:
        wanted = [f.rgb(part.crop, 40) for f in video if any(t <= f.timestamp_s < t + 0.04 for t in times)]
    assert [p.shape for p in found] == [(40, 27, 3)] * 2
    assert all((a == b).all() for a, b in zip(found, wanted, strict=True))
    whole = replace(part, start_s=None, end_s=None, crop=None)
    assert len(pictures(clip, whole, [*frames.times(clip, whole, 3), 99.0], 64)) == 4
    with pytest.raises(MediaError, match="ends before this utterance"):
        pictures(clip, replace(part, start_s=50.0, end_s=51.0), [50.5], 64)


def test_answers_are_asked_for_once_more_merged_dropped_and_counted(tmp_path: Path) -> None:
    of = corpus(tmp_path)
    bad = '{"facial_expression": "She is cheerful. Lips part.", "body_language": "Nods."}'
    corrected = '{"facial_expression": "Lips part slightly.", "body_language": "Nods.", "posture": "Upright."}'
    written = Written(f"```json\n{GOOD}\n```", bad, corrected, "no", "still no")
    voices = {u.id: "Volume high." for u in of.utterances}
    found = vlm.run(of, "m", PARAMS, tmp_path / "store", voices, written)
    assert found.descriptions == {
        "t/d_u0": Description("Brows rise.", "Nods.", "Upright.", "Volume high."),
        "t/d_u1": Description("Lips part slightly.", "Nods.", "Upright.", "Volume high."),
    }
    assert found.dropped == {"t/d_u2": "No usable answer: there is no JSON object in it."}
    assert dict(found.counts) == {"kept": 0, "asked": 5, "again": 2, "repaired": 1, "emotional": 1}
    assert "described 2 of 3 utterances (5 answers now" in found.sentence()
    assert [len(talk) for talk in written.talks] == [1, 1, 3, 1, 3]
    assert written.pictures == [2] * 5
    assert written.talks[2][1] == bad
    assert "the keys posture are missing or empty; it names emotions or moods (cheerful)" in written.talks[2][2]


def test_a_sentence_of_the_first_answer_stays_where_the_second_has_none(tmp_path: Path) -> None:
    of = corpus(tmp_path, turns=1)
    written = Written('{"body_language": "Nods. Looks happy."}', '{"posture": "Upright."}')
    found = vlm.run(of, "m", PARAMS, tmp_path / "store", {}, written)
    assert found.descriptions["t/d_u0"] == Description("", "Nods.", "Upright.", "")


def test_what_is_known_is_not_asked_again(tmp_path: Path) -> None:
    of = corpus(tmp_path)
    first = vlm.run(of, "m", PARAMS, tmp_path / "store", {}, Written(GOOD, "no", GOOD, GOOD))
    silent = Written()
    again = vlm.run(of, "m", PARAMS, tmp_path / "store", {}, silent)
    assert again.descriptions == first.descriptions
    assert not silent.talks
    assert dict(again.counts)["kept"] == 4
    for model, params in (("other", PARAMS), ("m", replace(PARAMS, frames=1)), ("m", replace(PARAMS, history=0))):
        asked = Written(*[GOOD] * 3)
        vlm.run(of, model, params, tmp_path / "store", {}, asked)
        assert asked.talks, "another model, picture or question is another answer"
    write_clip(tmp_path / "u1.mp4", 1.2)
    one = Written(GOOD)
    vlm.run(of, "m", PARAMS, tmp_path / "store", {}, one)
    assert len(one.talks) == 1, "another clip under the same name is another answer"


def test_clips_that_cannot_be_seen_cost_themselves_alone(tmp_path: Path) -> None:
    of = corpus(tmp_path, turns=4)
    (tmp_path / "u1.mp4").write_text("no clip")
    write_clip(tmp_path / "u2.wav", 0.5, picture=False)
    gone = replace(of.utterances[3], clip=None)
    of = replace(of, utterances=(*of.utterances[:2], replace(of.utterances[2], clip="u2.wav"), gone))
    found = vlm.run(of, "m", replace(PARAMS, max_dropped_share=1.0), tmp_path / "store", {}, Written(GOOD))
    assert list(found.descriptions) == ["t/d_u0"]
    assert "cannot be opened" in found.dropped["t/d_u1"]
    assert "no video track" in found.dropped["t/d_u2"]
    assert found.dropped["t/d_u3"] == "There is no clip."
    with pytest.raises(vlm.TeacherError, match=r"more than teacher\.max_dropped_share \(0\.5\) allows"):
        vlm.run(of, "m", PARAMS, tmp_path / "store", {}, Written(GOOD))


# --------------------------------------------------------------------------------------------------------- real classes


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_watcher(tmp_path_factory.mktemp("vlm") / "watcher", SAID)


def test_a_model_of_the_real_class_describes_clips(watcher: Path, tmp_path: Path) -> None:
    found = vlm.run(corpus(tmp_path), str(watcher), PARAMS, tmp_path / "store", {})
    assert list(found.descriptions.values()) == [Description("Brows rise.", "Nods.", "Upright.", "")] * 3
    assert not found.dropped
    assert found.counts["repaired"] == 3  # it has learned a comma too many
    kept = [json.loads(f.read_text())["answers"] for f in (tmp_path / "store").iterdir()]
    assert kept == [[SAID]] * 3


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_an_untaught_model_of_either_family_answers_and_is_not_believed(tmp_path: Path, family: str) -> None:
    made = tiny_watcher(tmp_path / "raw", family=family)
    params = replace(PARAMS, max_new_tokens=6, max_dropped_share=1.0)
    found = vlm.run(corpus(tmp_path, turns=2), str(made), params, tmp_path / "store", {})
    assert not found.descriptions
    assert len(found.dropped) == 2
    assert found.counts["asked"] == 4


def test_pictures_reach_the_model_and_take_the_places_that_it_counts(watcher: Path) -> None:
    ask = qwen.load(str(watcher), replace(PARAMS, max_new_tokens=1))
    dark, light = (np.full((48, 64, 3), level, np.uint8) for level in (0, 255))
    assert isinstance(ask([dark, light], ["What?"]), str)
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    eyes = AutoImageProcessor.from_pretrained(watcher, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(watcher)
    network = AutoModelForImageTextToText.from_pretrained(watcher).eval()
    mark = network.config.image_token_id
    logits = []
    for picture in (dark, light):
        seen = eyes(images=[picture], return_tensors="pt")
        ids = torch.tensor(
            [qwen.encode(tokenizer, ["<|image_pad|> hi"], qwen.position_counts(seen, eyes.merge_size), mark)]
        )
        assert int((ids == mark).sum()) == int(seen["image_grid_thw"][0].prod()) // 4
        with torch.inference_mode():
            logits.append(network(input_ids=ids, mm_token_type_ids=(ids == mark).int(), **seen).logits)
    assert not torch.allclose(*logits)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    with raises(vlm.TeacherError, key="teacher.device"):
        qwen.load("anything", vlm.Params(device="cuda"))


def test_what_cannot_be_a_teacher_is_a_sentence(tmp_path: Path) -> None:
    with raises(vlm.TeacherError, path=str(tmp_path / "nowhere")):
        qwen.load(str(tmp_path / "nowhere"), PARAMS)
    LlamaConfig().save_pretrained(tmp_path / "llama")
    with raises(vlm.TeacherError, path=str(tmp_path / "llama"), name="llama"):
        qwen.load(str(tmp_path / "llama"), PARAMS)
    made = tiny_watcher(tmp_path / "mute")
    (made / "chat_template.jinja").unlink()
    with raises(vlm.TeacherError, path=str(made)):
        qwen.load(str(made), PARAMS)


KILLED = """
import sys, time
from pathlib import Path
from bemerc.language.teacher import vlm as teacher
from bemerc.corpus.manifest import read_manifest
GOOD = sys.argv[2]
def slow(pictures, talk):
    time.sleep(0.3)
    return GOOD
folder = Path(sys.argv[1])
teacher.run(read_manifest(folder / "m.jsonl"), "m", teacher.Params(frames=2, side=64), folder / "store", {}, lambda *_: slow)
"""


def test_a_kill_costs_one_answer(tmp_path: Path) -> None:
    of = corpus(tmp_path, turns=12)
    write_manifest(tmp_path / "m.jsonl", of.utterances, of.labels, of.corpora)
    store = tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), GOOD], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(store.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(store.glob("*.json")))
    assert 3 <= kept < 12
    rest = Written(*[GOOD] * (12 - kept))
    found = vlm.run(of, "m", vlm.Params(frames=2, side=64), store, {}, rest)
    assert len(found.descriptions) == 12
    assert (found.counts["kept"], found.counts["asked"]) == (kept, 12 - kept)


# -------------------------------------------------------------------------------------------------- stage and command


def measured(folder: Path, of: Manifest) -> Path:
    """Frame caches of next to nothing, so that the rules have something to read."""
    columns = {"face": ("AU12_r",), "pose": ("lean_deg",), "audio": ("pitch_hz", "voicing", "energy_db")}
    for modality, names in columns.items():
        clips = [
            (u.id, Features(np.full((20, len(names)), 2.0, np.float32), np.arange(20) / 25, names), 0.8, None)
            for u in of.utterances
        ]
        file = folder / f"{modality}.h5"
        write_cache(file, Head(modality, names, 25.0, "test 1", {}), Rows(clips))
    return folder


def params_with(watcher: Path, folder: Path) -> Path:
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["describe"] |= {"teacher": str(watcher), "source": "teacher"}
    document["teacher"] |= asdict(PARAMS)
    (folder / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder / "params.yaml"


@pytest.mark.slow
def test_the_stage_leaves_the_rules_and_the_teachers_descriptions(watcher: Path, tmp_path: Path) -> None:
    of = corpus(tmp_path / "data")
    write_manifest(tmp_path / "data" / "manifest.jsonl", of.utterances, of.labels, of.corpora)
    measured(tmp_path / "data" / "cache", of)
    params_with(watcher, tmp_path)

    def repeat() -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "bemerc", "describe", "data/manifest.jsonl"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    assert "described 3 of 3 utterances (3 answers now, 0 kept" in repeat()
    first = (tmp_path / "data" / "teacher.jsonl").read_bytes()
    rules, taught = (read_descriptions(tmp_path / "data" / f"{n}.jsonl") for n in ("descriptions", "teacher"))
    assert {said.facial_expression for said in taught.values()} == {"Brows rise."}
    assert {id: said.voice for id, said in taught.items()} == {id: said.voice for id, said in rules.items()}
    assert all("Brows rise" not in said.facial_expression for said in rules.values())
    assert json.loads((tmp_path / "data" / "teacher_dropped.json").read_text()) == {}
    half = next((tmp_path / "data" / "store" / "teacher").iterdir())
    half.write_text('{"answers": [')  # as a crash of the machine may leave it
    assert "(1 answers now, 2 kept" in repeat()
    assert (tmp_path / "data" / "teacher.jsonl").read_bytes() == first


def test_the_command_asks_the_teacher(watcher: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path / "clips" / f"{name}.mp4", 0.8)
    (tmp_path / "clips" / "c.mp4").write_text("no clip")
    caches = measured(tmp_path / "caches", recording.read_dir(tmp_path / "clips").manifest(tmp_path / "clips"))
    given = [
        "describe",
        "--video-dir",
        str(tmp_path / "clips"),
        "--caches",
        str(caches),
        "--out",
        str(tmp_path / "out"),
    ]
    given += ["--params", str(params_with(watcher, tmp_path)), "--teacher", str(watcher)]
    answer = CliRunner().invoke(app, given)
    assert answer.exit_code == 0, answer.output
    assert "a\n  Brows rise.\n  Nods.\n  Upright.\n" in answer.output
    assert "c: dropped. The clip cannot be opened" in answer.output
    assert set(read_descriptions(tmp_path / "out" / "teacher.jsonl")) == {"a", "b"}
    answer = CliRunner().invoke(app, ["describe", "--caches", str(caches), "--teacher", "x"])
    assert answer.exit_code == 1
    assert "A teacher watches clips: name --teacher with clips" in answer.output


# ---------------------------------------------------------------------------------------------- many cues of one recording


def cues(folder: Path, count: int) -> Manifest:
    """A recording of 6 s cut into utterances, which overlap by half of their length."""
    write_clip(folder / "talk.mp4", 6.0)
    step = 6.0 / (count + 1)
    made = [
        Utterance(f"talk/{i:04d}", "talk", i, "Zoë", f"line {i}", None, "test", "talk.mp4", i * step, (i + 2) * step)
        for i in range(count)
    ]
    return Manifest(tuple(made), LABELS, ("t",), folder)


def test_a_recording_is_decoded_once_however_many_cues_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = [0]
    frames_of = Video.__iter__

    def counted(video: Video) -> object:
        for frame in frames_of(video):
            decoded[0] += 1
            yield frame

    monkeypatch.setattr(Video, "__iter__", counted)
    of = cues(tmp_path, 60)
    with Video(tmp_path / "talk.mp4") as video:
        whole = sum(1 for _ in video)
    decoded[0] = 0
    written = Written(*[GOOD] * 60)
    found = vlm.run(of, "m", PARAMS, tmp_path / "store", {}, written)
    assert len(found.descriptions) == 60
    assert written.pictures == [2] * 60
    assert decoded[0] <= whole
    decoded[0] = 0
    assert vlm.run(of, "m", PARAMS, tmp_path / "store", {}, Written()).descriptions == found.descriptions
    assert decoded[0] == 0, "every answer is known"


def test_one_pass_sees_what_a_pass_for_each_would_see(tmp_path: Path) -> None:
    of = cues(tmp_path, 9)
    late = Utterance("talk/9999", "talk", 99, "Zoë", "late", None, "test", "talk.mp4", 50.0, 51.0)
    seen: dict[str, list[np.ndarray]] = {}

    def load(model: str, params: vlm.Params) -> vlm.Ask:
        def ask(pictures: Sequence[vlm.Picture], talk: Sequence[str]) -> str:
            seen[talk[0]] = list(pictures)
            return GOOD

        return ask

    together = replace(of, utterances=(*of.utterances, late))
    found = vlm.run(together, "m", PARAMS, tmp_path / "store", {}, load)
    assert found.dropped == {late.id: "The clip ends before this utterance begins."}
    assert len(seen) == 9
    clip = tmp_path / "talk.mp4"
    for index, utterance in enumerate(of.utterances):
        times = frames.times(clip, utterance, 2)
        dialogue = Dialogue("talk", together.utterances)
        text = teacher_prompt(dialogue, index, [t - (utterance.start_s or 0) for t in times], PARAMS.history)
        alone = pictures(clip, utterance, times, PARAMS.side)
        assert all((a == b).all() for a, b in zip(seen[text], alone, strict=True))
