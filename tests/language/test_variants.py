"""A variant is what params.yaml says: checked strictly, read exactly, the same file of weights shapes for all of them."""

from __future__ import annotations

import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bemerc.behavior.describe.description import Description
from bemerc.behavior.describe.phrases import NO_VOICE
from bemerc.behavior.tokens import file as tokens
from bemerc.core.errors import CacheError, ConfigError, ModelError
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import batching, packing, prompts
from bemerc.language.inputs import variants as variant
from bemerc.language.model import behavior_model, model_folder, projector
from bemerc.language.predict import generate, score_labels
from bemerc.language.train import align, crossfit, merc
from tests import toy_language as language
from tests.errors import raises
from tests.toy_language import TRAINING

ROOT = Path(__file__).resolve().parents[2]
TVB = variant.LADDER["TVB"]
COLUMNS = {
    "face": ("AU12_r.mean", "pose_yaw_deg.level", "gaze_x_deg.level"),
    "pose": ("lean_deg.level", "slump.swing", "shoulders_dx.swing", "movement.peak", "left_hand_height.level"),
    "audio": ("pitch_st.level",),
}
HOW = score_labels.Params(device="cpu")


def written(folder: Path, variants: object) -> Path:
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump({"variants": variants}), encoding="utf-8")
    return file


def test_the_projects_own_variants_load_and_keep_the_ladders_meaning() -> None:
    found = variant.read(ROOT / "params.yaml")
    assert {name: found[name] for name in variant.LADDER} == variant.LADDER
    assert {"voice_sentence", "no_face", "no_body", "no_posture", "no_align", "all_turns", "crossfit"} <= set(found)
    modalities = {name: of.modalities for name, of in variant.LADDER.items()}
    assert modalities == {"T": (), "TV": ("audio",), "TB": ("face", "pose"), "TVB": ("face", "pose", "audio")}


def test_a_params_file_without_variants_knows_the_ladder(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("merc: {}\n")
    assert variant.read(tmp_path / "params.yaml") == variant.LADDER


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    good = asdict(TVB)
    given = {
        "TV": good,
        "VB": good,
        "a/b": good,
        "odd": good | {"voice": "loud", "fcae": True},
        "bare": 3,
        "mute": asdict(variant.LADDER["T"]) | {"description": "rules", "behavior_of": "all"},
    }
    with pytest.raises(ConfigError) as caught:
        variant.read(written(tmp_path, given))
    said = str(caught.value)
    assert "variants.TV: this name always means {'voice': 'tokens', 'face': False" in said
    assert "variants.VB: the letters T, V and B alone are names of the ladder" in said
    assert "variants.a/b: a name is of letters, digits, _ and -" in said
    assert "variants.odd.voice: 'loud' is not one of" in said
    assert "variants.odd.fcae: unknown key; did you mean 'face'?" in said
    assert "variants.bare: must hold keys and values" in said
    assert "variants.mute.behavior_of: 'all' adds behavior tokens of other turns, but no cue is read" in said
    assert "variants.mute.description: 'rules', but neither voice, face, body nor posture is on" in said


@pytest.mark.parametrize(
    ("off", "hidden", "modalities"),
    [
        ({"face": False}, {"face": ("AU12_r.mean",)}, ("face", "pose", "audio")),
        (
            {"body": False},
            {
                "face": ("pose_yaw_deg.level", "gaze_x_deg.level"),
                "pose": ("movement.peak", "left_hand_height.level"),
            },
            ("face", "pose", "audio"),
        ),
        (
            {"posture": False},
            {"pose": ("lean_deg.level", "slump.swing", "shoulders_dx.swing")},
            ("face", "pose", "audio"),
        ),
        ({"body": False, "posture": False}, {"face": COLUMNS["face"][1:]}, ("face", "audio")),
        (
            {"face": False, "body": False, "voice": "none"},
            {"pose": ("movement.peak", "left_hand_height.level")},
            ("pose",),
        ),
        ({}, {}, ("face", "pose", "audio")),
    ],
)
def test_a_cue_that_is_off_hides_its_columns(
    off: dict[str, object], hidden: dict[str, tuple[str, ...]], modalities: tuple[str, ...]
) -> None:
    chosen = replace(TVB, **off)
    assert chosen.hidden(COLUMNS) == hidden
    assert chosen.modalities == modalities


@pytest.mark.parametrize(
    ("changed", "described"),
    [
        ({}, ()),
        ({"voice": "sentence"}, (("voice", "rules"),)),
        (
            {"description": "crossfit", "body": False},
            (("facial_expression", "crossfit"), ("posture", "crossfit"), ("voice", "crossfit")),
        ),
        (
            {"description": "teacher", "voice": "sentence", "face": False, "posture": False},
            (("body_language", "teacher"), ("voice", "rules")),
        ),
        ({"description": "rules", "voice": "none", "face": False, "body": False}, (("posture", "rules"),)),
    ],
)
def test_which_sentences_come_from_whom(changed: dict[str, object], described: tuple[tuple[str, str], ...]) -> None:
    assert replace(TVB, **changed).described == described


def test_a_voice_that_is_not_there_is_passed_over_as_a_cue_and_told_in_a_description() -> None:
    known = {"a": Description("Still.", "Still.", "Still.", NO_VOICE), "b": Description("", "", "", "Volume high.")}
    told = variant.sentences(replace(TVB, voice="sentence"), {"rules": known}, ["a", "b", "c"])
    assert told == {"a": {}, "b": {"voice": "Volume high."}, "c": {}}
    told = variant.sentences(replace(TVB, description="rules"), {"rules": known}, ["a"])
    assert told["a"]["voice"] == NO_VOICE


def test_hidden_columns_hold_what_nothing_was_measured_of(tmp_path: Path) -> None:
    of = language.manifest()
    whole = language.write(tmp_path / "tokens.h5", of)
    part = whole.without({"face": ("face_1", "face_3")})
    assert whole.without({}) is whole
    assert part.widths == whole.widths
    for again in (part, pickle.loads(pickle.dumps(part))):
        for id in of.utterances[0].id, of.utterances[1].id:
            seen, hidden = whole[id]["face"], again[id]["face"]
            assert (hidden.values[:, [1, 3]] == 0).all()
            assert (hidden.values[:, [0, 2, 4]] == seen.values[:, [0, 2, 4]]).all()
            assert (hidden.mask == seen.mask).all()
            assert (again[id]["pose"].values == whole[id]["pose"].values).all()
    with raises(CacheError, name="nose"):
        whole.without({"face": ("nose",)})


def test_uncalibrated_hidden_columns_hold_trains_mean(tmp_path: Path) -> None:
    mean = tokens.Calibration({"face": language.Statistics("made 1", ("a", "b"), (3.0, 5.0), (1.0, 1.0))})
    mask = np.array([[True, False]])
    tokens.write_tokens(
        tmp_path / "t.h5", ["u"], {"face": (np.ones((1, 2, 2), np.float32), mask)}, mean, tokens.Params(2, "none")
    )
    read = tokens.open_tokens(tmp_path / "t.h5").without({"face": ("b",)})
    assert read["u"]["face"].values.tolist() == [[1.0, 5.0], [1.0, 0.0]]


# ------------------------------------------------------------------------------------------------- through the trainings


class World:
    """Twelve dialogues, tokens, a backbone, an align model of one epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 6, "dev": 3, "test": 3})
        self.tokens = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest)
        self.said = language.describe(self.manifest)
        self.align = folder / "align"
        self.tuning = replace(TRAINING, epochs=1)
        align.run(self.manifest, self.tokens, self.said, None, self.params, self.tuning, self.align)

    def merc(
        self, out: Path, inputs: variant.Variant, described: variant.Described = variant.NOBODY
    ) -> behavior_model.ModelMetadata:
        given = (self.manifest, self.tokens, None, self.align, prompts.Params(), self.params, self.tuning, out)
        merc.run("mine", *given, None, inputs, described)
        return behavior_model.read_metadata(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("variants"))


@pytest.mark.parametrize("scope", ["same_speaker", "all"])
def test_behavior_of_earlier_turns_is_read_and_a_dialogue_at_once_says_the_same(
    world: World, tmp_path: Path, scope: str
) -> None:
    facts = world.merc(tmp_path / "m", replace(TVB, behavior_of=scope))
    assert facts.params["variant"]["behavior_of"] == scope
    at_once, alone = (
        score_labels.MercModel(tmp_path / "m").score(
            world.manifest, world.tokens, ("test",), replace(HOW, row_tokens=rows)
        )
        for rows in (4096, 0)
    )
    for a, b in zip(at_once, alone, strict=True):
        assert list(a.scores.values()) == pytest.approx(list(b.scores.values()), abs=1e-5)
    made, _ = model_folder.load(tmp_path / "m", device="cpu")
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    dialogue = world.manifest.dialogues()[-1]
    asked = prompts.merc_prompt(dialogue, 3, facts.labels, facts.modalities, prompts.Params(), behavior_of=scope)
    shown = [place.utterance for part in asked.history for place in part if isinstance(place, prompts.Placeholder)]
    turns = [u.id for u in dialogue.utterances if scope == "all" or u.speaker == dialogue.utterances[3].speaker]
    assert shown == [id for id in turns for _ in facts.modalities]
    batch = batching.collate(packing.pack_trees([encoder.encode(asked)], 0), world.tokens)
    with torch.inference_mode():
        before = made.target_log_probs(batch)
        values, mask = batch.brief["face"]
        changed = replace(batch, brief={**batch.brief, "face": (values + 1, mask)})
        assert not torch.equal(made.target_log_probs(changed), before)


def test_two_tokens_stand_for_all() -> None:
    given = torch.arange(10.0).reshape(1, 5, 2)
    assert projector.halves(given).tolist() == [[[2.0, 3.0], [7.0, 8.0]]]
    assert projector.halves(given[:, :1]).tolist() == given[:, :1].tolist()


def test_without_align_it_starts_from_the_backbone(world: World, tmp_path: Path) -> None:
    world.merc(tmp_path / "with", TVB)
    world.merc(tmp_path / "without", replace(TVB, align=False))
    a, b = (tmp_path / n / behavior_model.PROJECTORS for n in ("with", "without"))
    assert a.read_bytes() != b.read_bytes()


def test_sentences_stand_in_the_prompt_and_change_the_answer(world: World, tmp_path: Path) -> None:
    inputs = replace(TVB, description="rules", voice="none")
    facts = world.merc(tmp_path / "m", inputs, {"rules": world.said})
    assert "variant" in facts.params
    one = score_labels.MercModel(tmp_path / "m").score(
        world.manifest, world.tokens, ("test",), HOW, {"rules": world.said}
    )
    other = {id: replace(d, facial_expression="Brows lower.") for id, d in world.said.items()}
    two = score_labels.MercModel(tmp_path / "m").score(world.manifest, world.tokens, ("test",), HOW, {"rules": other})
    assert [p.scores for p in one] != [p.scores for p in two]
    said = variant.sentences(inputs, {"rules": world.said}, [one[0].id])
    asked = score_labels.prompts(
        world.manifest, ("test",), facts.labels, facts.modalities, prompts.Params(), inputs.behavior_of, said
    )[0][0]
    assert "Facial expression: " in asked.text
    assert "Posture: Upright.\nFace:<face>\n" in asked.text
    assert "Loud" not in asked.text


def test_what_a_variant_asks_for_and_is_not_there_is_a_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"reads descriptions by crossfit, and train and dev and test have none\. Set crossfit"
    ):
        world.merc(tmp_path / "m", replace(TVB, description="crossfit"), {"crossfit": {}})
    untested = {u.id: world.said[u.id] for u in world.manifest.utterances if u.split != "test"}
    with pytest.raises(ModelError, match=r"by teacher, and test has none\. Name a vision-language model"):
        world.merc(tmp_path / "m", replace(TVB, description="teacher"), {"teacher": untested})
    columns = {"face": ("AU12_r.mean",), "pose": ("lean_deg.level",), "audio": ("pitch_st.level",)}
    with raises(ModelError, name="x"):
        variant.must_have_columns("x", replace(TVB, face=False), columns, tmp_path)


def test_descriptions_are_cross_fitted_on_train_and_resume(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = world.said
    params = crossfit.Params(folds=2, limit=12)
    parts = crossfit.folds(world.manifest, 2)
    trained = {u.dialogue for u in world.manifest.by_split("train")}
    assert parts[0] | parts[1] == trained
    assert not parts[0] & parts[1]
    asked: list[tuple[str, set[str]]] = []
    known = generate.generate_descriptions

    def watched(folder: Path, ids: tuple[str, ...], *rest: object) -> dict[str, Description]:
        asked.append((folder.name, set(ids)))
        return known(folder, ids, *rest)

    monkeypatch.setattr(generate, "generate_descriptions", watched)
    given = (world.manifest, world.tokens, taught, world.align, world.params, world.tuning, HOW, params, tmp_path)
    said = crossfit.run(*given)
    assert set(said) == {u.id for u in world.manifest.utterances}
    by_folder = dict(asked)
    for number, part in enumerate(parts):
        assert by_folder[f"align{number}"] == {u.id for u in world.manifest.by_split("train") if u.dialogue in part}
    assert by_folder["align"] == {u.id for u in world.manifest.utterances if u.split != "train"}
    asked.clear()
    assert crossfit.run(*given) == said
    assert not asked
    with pytest.raises(ModelError, match=r"crossfit\.folds is 9, but train has 6 dialogues"):
        crossfit.folds(world.manifest, 9)


def test_agreement_counts_what_sentences_say() -> None:
    one = Description("Brows lowered clearly early, lips parted slightly late.", "", "", "")
    other = Description("Brows lowered clearly early.", "", "", "")
    assert crossfit.agreement({"a": other}, {"a": one}, ["a"]) == pytest.approx(2 / 3)
    assert crossfit.agreement({}, {"a": one}, ["a"]) == 0
