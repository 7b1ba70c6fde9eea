"""The listener: who it is, what listeners do, synchrony against chance, and tokens, sentences and prompts of theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.describe import listener_descriptions, listening, rules
from bemerc.behavior.describe.description import read_descriptions, write_descriptions
from bemerc.behavior.describe.references import GENERAL
from bemerc.behavior.tokens import file as tokens
from bemerc.cache import Features, Head, Rows, id_of_other, open_cache, write_cache
from bemerc.cache.listener import listener_of
from bemerc.corpus.manifest import Dialogue, Manifest, Utterance, listener_id
from bemerc.language.inputs import batching, prompts, variants
from bemerc.language.inputs.encoding import ExampleError
from bemerc.language.predict import modality_gate

COLUMNS = ("AU12_r", "AU45_r", "pose_pitch_deg", "pose_yaw_deg", "face_x", "face_y", "face_size", "quality")
FPS, FRAMES = 25, 200
Array = NDArray[np.float64]


def face(smile: Array, pitch: Array) -> Features:
    values = np.full((FRAMES, len(COLUMNS)), 0.2, np.float32)
    values[:, 0], values[:, 2] = smile, pitch
    return Features(values, np.arange(FRAMES) / FPS, COLUMNS)


def wandering(seed: int) -> Array:
    steps = np.random.default_rng(seed).normal(0, 1, FRAMES + 60)
    return np.convolve(steps, np.hanning(15), mode="same")[30:-30]


def part(features: Features, first: int, end: int) -> Features:
    return replace(features, values=features.values[first:end], timestamps_s=features.timestamps_s[first:end])


SMILING = np.where((np.arange(FRAMES) // 50) % 2 == 1, 2.0, 0.1)  # two smiles of two seconds
NODDING = 4 * np.sin(np.arange(FRAMES) / FPS * 2 * np.pi * 2) * (np.arange(FRAMES) < 50)  # two nods a second, for two
SPEAKER = face(np.abs(wandering(1)), wandering(2))
LISTENER = face(SMILING, NODDING)
MANIFEST = Manifest(
    tuple(Utterance(f"d/{n}", "d", n, "Ann", "Yes.", "joy", "train", None) for n in range(2)), ("joy",), (), Path()
)


@pytest.fixture
def caches(tmp_path: Path) -> dict[Any, Path]:
    """d/0 has a listener and somebody who passes by, d/1 nobody else."""
    others = [
        (id_of_other("d/0", "2"), LISTENER, 8.0, None),
        (id_of_other("d/0", "3"), part(SPEAKER, 0, 20), 8.0, None),
    ]
    clips = [(u.id, SPEAKER, 8.0, None) for u in MANIFEST.utterances]
    path = tmp_path / "face.h5"
    write_cache(path, Head("face", COLUMNS, "clip", "x/1", {}), Rows(clips), others=Rows(others))  # fmt: skip
    return {"face": path}


def test_the_listener_is_who_is_in_sight_longest(caches: dict[Any, Path]) -> None:
    with open_cache(caches["face"]) as cache:
        assert [listener_of(cache, u.id) for u in MANIFEST.utterances] == ["d/0#2", None]
        did = listening.listening(cache, "d/0")
        assert did is not None
        assert (did.name, did.nods, did.shakes, did.smiles) == ("2", 4, 0, 2)
        assert listening.listening(cache, "d/1") is None


def test_who_passes_by_does_not_listen(tmp_path: Path) -> None:
    path = tmp_path / "face.h5"
    write_cache(path, Head("face", COLUMNS, "clip", "x/1", {}), Rows([("a", SPEAKER, 8.0, None)]), others=Rows([(id_of_other("a", "2"), part(LISTENER, 0, 99), 8.0, None)]))  # fmt: skip
    with open_cache(path) as cache:
        assert listener_of(cache, "a") is None


def test_who_follows_the_other_is_in_synchrony_and_strangers_are_not() -> None:
    a = wandering(5)
    follows, chance = listening.synchrony(a, np.roll(a, 10))  # .4 s later
    assert follows is not None
    assert chance is not None
    assert follows > 0.95 > chance + 0.2
    pairs = [listening.synchrony(a, wandering(seed)) for seed in range(10, 30)]
    assert abs(np.mean([r - by_chance for r, by_chance in pairs if r is not None and by_chance is not None])) < 0.08


def test_a_turn_of_less_than_a_window_has_no_synchrony() -> None:
    assert listening.synchrony(wandering(1)[:40], wandering(2)[:40]) == (None, None)
    missing = np.where(np.arange(FRAMES) % 2, np.nan, wandering(1))
    assert listening.synchrony(wandering(2), missing) == (None, None)


def test_listeners_have_tokens_of_their_own_and_the_utterances_those_that_they_had(
    caches: dict[Any, Path], tmp_path: Path
) -> None:
    made = tokens.run(MANIFEST, caches, tmp_path / "all.h5", tokens.Params(k=4))
    with open_cache(caches["face"]) as cache:
        plain = [(id_, cache[id_], 8.0, None) for id_ in cache]
    write_cache(tmp_path / "alone.h5", Head("face", COLUMNS, "clip", "x/1", {}), Rows(plain))  # fmt: skip
    assert tokens.run(MANIFEST, {"face": tmp_path / "alone.h5"}, tmp_path / "t.h5", tokens.Params(k=4)) == made
    with tokens.open_tokens(tmp_path / "all.h5") as everybody, tokens.open_tokens(tmp_path / "t.h5") as alone:
        assert set(alone.ids) == {"d/0", "d/1"}
        for id_ in alone.ids:
            np.testing.assert_array_equal(everybody[id_]["face"].values, alone[id_]["face"].values)
        assert everybody[listener_id("d/0")]["face"].mask.all()
        assert not everybody[listener_id("d/1")]["face"].mask.any()
        place = prompts.Placeholder("face", listener_id("d/0"))
        assert batching.behavior_of(place, everybody).mask.all()
        with pytest.raises(ExampleError) as raised:
            batching._behavior([place], alone)
        assert "face.keep: all" in str(raised.value)


def test_listeners_are_described_among_the_others(caches: dict[Any, Path], tmp_path: Path) -> None:
    file = tmp_path / "descriptions.jsonl"
    write_descriptions(file, {"d/0": rules.describe({"face": SPEAKER}), "d/1": rules.describe({"face": SPEAKER})})
    listener_descriptions.add(MANIFEST, caches, file, GENERAL, rules.Params())
    described = read_descriptions(file)
    assert set(described) == {"d/0", "d/1", "d/0#listener"}
    inputs = variants.Variant("none", True, True, False, "partner", "rules", False)
    sentences = variants.sentences(inputs, {"rules": described}, ["d/0", "d/1"])
    assert sentences["d/0"]["listener_facial_expression"] == described["d/0#listener"].facial_expression
    assert not any(slot.startswith("listener") for slot in sentences["d/1"])
    dialogue = Dialogue("d", MANIFEST.utterances)
    asked = prompts.merc_prompt(dialogue, 0, ("joy",), (), prompts.Params(), described=sentences["d/0"])
    assert f"\nListener's facial expression: {sentences['d/0']['listener_facial_expression']}\n" in asked.text


@pytest.mark.parametrize("repeated", [True, False])
def test_the_prompt_shows_the_listener_after_the_speaker(repeated: bool) -> None:
    dialogue, params = Dialogue("d", MANIFEST.utterances), prompts.Params(repeat_target_utterance=repeated)
    asked = prompts.merc_prompt(dialogue, 1, ("joy",), ("face", "pose", "audio"), params, behavior_of="partner")
    places = [piece for piece in asked.branch if isinstance(piece, prompts.Placeholder)]
    own, theirs = "d/1", listener_id("d/1")
    assert [(p.utterance, p.modality) for p in places] == [
        (own, "face"), (own, "pose"), (own, "audio"), (theirs, "face"), (theirs, "pose")]  # fmt: skip
    assert "Voice:<audio>" in asked.text.replace("\n", "")
    assert "Listener's face:<face>" in asked.text
    assert not any(isinstance(piece, prompts.Placeholder) for turn in asked.history for piece in turn)
    assert {p.utterance for p in modality_gate.behavior_in(asked).values()} == {own}


def test_a_variant_that_hears_alone_has_no_listener_to_see() -> None:
    assert [*variants.Variant("tokens", False, False, False, "partner", "none", False).check()]
    assert not [*variants.Variant("tokens", True, False, False, "partner", "none", False).check()]
