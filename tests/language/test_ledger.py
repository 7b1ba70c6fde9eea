"""The ledger is exact: every branch says what a fresh prompt says in which the part is really absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from bemerc.behavior.describe.description import Description
from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.behavior.tokens.file import TokenFile
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest, Modality
from bemerc.language.inputs import left_out, prompts, variants
from bemerc.language.model import behavior_model
from bemerc.language.predict import ledger, score_labels
from bemerc.language.predict.evidence import Evidence
from bemerc.language.train import merc
from tests import families
from tests import toy_language as language
from tests.slow import beyond
from tests.toy_language import LABELS, TRAINING

HOW = score_labels.Params(device="cpu")
ALONE = replace(HOW, row_tokens=0)
EVERYTHING = left_out.Choice(groups=True, turns=99)
COLUMNS: Mapping[Modality, tuple[str, ...]] = {
    "face": ("AU04_r.mean", "AU12_r.mean", "AU12_r.peak", "pose_pitch_deg.level"),
    "pose": ("slump.level", "movement.level"),
    "audio": ("pitch_st.level", "energy_db.level", "voice_rate_hz.clip"),
}
WHOLE: Mapping[str, Modality] = {"face": "face", "body": "pose", "voice": "audio"}
GROUPS: Mapping[str, tuple[Modality, tuple[str, ...]]] = {
    "face:brows": ("face", ("AU04_r.mean",)),
    "face:mouth": ("face", ("AU12_r.mean", "AU12_r.peak")),
    "face:head": ("face", ("pose_pitch_deg.level",)),
    "posture": ("pose", ("slump.level",)),
    "body:movement": ("pose", ("movement.level",)),
    "voice:pitch": ("audio", ("pitch_st.level",)),
    "voice:loudness": ("audio", ("energy_db.level",)),
    "voice:rate": ("audio", ("voice_rate_hz.clip",)),
}


class World:
    """A corpus whose labels show in all modalities, and models of several kinds on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 4, "dev": 2, "test": 1}, turns=5)
        self.tokens = self.written("tokens")
        self.backbone = language.build(folder / "backbone", self.manifest)
        self.described = language.describe(self.manifest)
        self.models: dict[str, score_labels.MercModel] = {}

    def written(
        self,
        name: str,
        modality: Modality | None = None,
        columns: tuple[str, ...] = (),
        only: str | None = None,
    ) -> TokenFile:
        """A token file; of ``modality`` nothing was measured, or nothing in these columns; of the utterance ``only`` or of any."""
        rng, ids = np.random.default_rng(0), [u.id for u in self.manifest.utterances]
        values, statistics = {}, {}
        for m, names in COLUMNS.items():
            rows = rng.normal(0, 1, (len(ids), language.K, len(names))).astype(np.float32)
            rows[
                np.arange(len(ids)), :, [LABELS.index(u.label or "") % len(names) for u in self.manifest.utterances]
            ] += 2
            mask = np.ones((len(ids), language.K), bool)
            mask[::7, 0] = False
            if m == modality:
                of = np.array([only in (None, id) for id in ids])
                if columns:
                    rows[np.ix_(of, [True] * language.K, [name in columns for name in names])] = 0
                else:
                    mask[of] = False
            values[m] = (rows * mask[..., None], mask)
            statistics[m] = Statistics("made 1", names, (0.5,) * len(names), (1.0,) * len(names))
        path = self.folder / f"{name}.h5"
        calibration = Calibration(statistics, provenance.fitted(self.manifest))
        file.write_tokens(path, ids, values, calibration, file.Params(k=language.K))
        return file.open_tokens(path)

    def model(self, kind: str) -> score_labels.MercModel:
        """kind: a family, an adapter, a head, or a key of VARIANTS."""
        if kind not in self.models:
            shape = self.backbone
            if kind in families.FAMILIES:
                families.build(self.folder / kind, kind, AutoTokenizer.from_pretrained(self.folder / "backbone"))
                shape = replace(shape, name_or_path=str(self.folder / kind))
            shape = replace(shape, adapter=kind if kind == "mose" else "lora", equal_parameters=False)
            shape = replace(shape, head=kind if kind == "modality_gate" else "none")
            self.models[kind] = self._trained(kind, shape, VARIANTS.get(kind, TVB))
        return self.models[kind]

    def _trained(self, name: str, shape: behavior_model.Params, inputs: variants.Variant) -> score_labels.MercModel:
        out, params = self.folder / "models" / name.replace(" ", "_"), replace(TRAINING, epochs=3)
        merc.run(
            "mine",
            self.manifest,
            self.tokens,
            {},
            None,
            prompts.Params(),
            shape,
            params,
            out,
            None,
            inputs,
            self.by_rules,
        )
        model = score_labels.MercModel(out)
        # At the temperature of a model that learned next to nothing all answers look alike.
        model.metadata = replace(model.metadata, dev={**model.metadata.dev, "temperature": 1.0})
        return model

    @property
    def by_rules(self) -> variants.Described:
        return {"rules": self.described}

    def ledger(self, kind: str, how: score_labels.Params = HOW) -> dict[str, Evidence]:
        model = self.model(kind)
        _, made = ledger.score(model, self.manifest, self.tokens, ("test",), how, EVERYTHING, self.by_rules)
        return {one.id: one for one in made}

    def fresh(
        self,
        kind: str,
        tokens: TokenFile | None = None,
        manifest: Manifest | None = None,
        described: variants.Described | None = None,
    ) -> dict[str, np.ndarray]:
        """Utterance -> (C,) log-probabilities, a row of its own for every label of every utterance."""
        model = self.model(kind)
        made = model.score(
            manifest or self.manifest, tokens or self.tokens, ("test",), ALONE, described or self.by_rules
        )
        return {one.id: np.log(list(one.scores.values())) for one in made}


TVB = replace(variants.LADDER["TVB"], align=False)
VARIANTS = {
    "words": replace(variants.LADDER["T"], align=False),
    "all turns": replace(TVB, behavior_of="all"),
    "rules": replace(TVB, description="rules"),
    "no body": replace(TVB, body=False),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("ledger"))


def close(found: Mapping[str, float], expected: np.ndarray) -> None:
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-4)


@pytest.mark.parametrize("kind", beyond(["llama3", "mose"], ["llama3", "gemma2", "mose", "modality_gate"]))
def test_a_cue_left_out_is_one_that_was_not_measured(world: World, kind: str) -> None:
    made = world.ledger(kind)
    whole = world.fresh(kind)
    assert {part for one in made.values() for part in one.parts if not part.startswith("turn:")} == {
        *WHOLE,
        *GROUPS,
        "explanation",
    }
    for part in (*WHOLE, *GROUPS):
        modality, columns = (WHOLE[part], ()) if part in WHOLE else GROUPS[part]
        absent = world.fresh(kind, world.written("absent", modality, columns))
        for id, one in made.items():
            close(one.log_probs, whole[id])
            close(one.parts[part], absent[id])
    moved = [abs(one.counts()["face"]) for one in made.values()]
    assert max(moved) > 1e-3  # else equality would say nothing


@pytest.mark.parametrize("kind", ["llama3", "gemma2", "mose", "all turns"])
def test_a_turn_left_out_is_one_that_was_not_said(world: World, kind: str) -> None:
    made, moved = world.ledger(kind), []
    for left in world.manifest.by_split("test"):
        rest = tuple(u for u in world.manifest.utterances if u.id != left.id)
        fresh = world.fresh(kind, manifest=replace(world.manifest, utterances=rest))
        after = [u.id for u in rest if u.dialogue == left.dialogue and u.index > left.index]
        having = [id for id, one in made.items() if f"turn:{left.id}" in one.parts]
        assert having == after
        for id in after:
            close(made[id].parts[f"turn:{left.id}"], fresh[id])
            moved.append(abs(made[id].counts()[f"turn:{left.id}"]))
    assert max(moved) > 1e-3


def test_what_an_utterance_shows_is_left_out_of_its_own_line_too(world: World) -> None:
    """With behavior of all turns it stands there in brief; earlier turns keep theirs."""
    made = world.ledger("all turns")
    for id, one in list(made.items())[:3]:
        absent = world.fresh("all turns", world.written("one", "face", only=id))
        close(one.parts["face"], absent[id])


@pytest.mark.parametrize("how", [ALONE, replace(HOW, row_tokens=150), replace(HOW, batch=1)])
def test_rows_of_any_length_say_the_same(world: World, how: score_labels.Params) -> None:
    expected = world.ledger("llama3")
    for id, one in world.ledger("llama3", how).items():
        assert list(one.parts) == list(expected[id].parts)
        for part, log_probs in one.parts.items():
            close(log_probs, np.array(list(expected[id].parts[part].values())))


def test_a_changed_explanation_moves_nothing_where_none_is_read(world: World) -> None:
    """The control: to the bit, since the question is the same; changed evidence does."""
    for one in world.ledger("llama3").values():
        assert one.parts["explanation"] == one.log_probs
        assert one.parts["face"] != one.log_probs
    other: dict[str, Description] = dict.fromkeys(world.described, Description("Nobody.", "None.", "None.", "None."))
    assert world.fresh("llama3", described={"rules": other}).keys() == world.ledger("llama3").keys()
    for id, log_probs in world.fresh("llama3", described={"rules": other}).items():
        np.testing.assert_array_equal(log_probs, world.fresh("llama3")[id])


def test_a_changed_explanation_is_another_utterances_where_it_is_read(world: World) -> None:
    made, moved = world.ledger("rules"), []
    ids = list(made)
    for at, (id, one) in enumerate(made.items()):
        own = world.described[id]
        other = next(world.described[i] for i in ids[at + 1 :] + ids[:at] if world.described[i] != own)
        fresh = world.fresh("rules", described={"rules": {**world.described, id: other}})
        close(one.parts["explanation"], fresh[id])
        moved.append(abs(one.counts()["explanation"]))
    assert max(moved) > 1e-3


def test_parts_are_those_that_the_model_reads(world: World) -> None:
    assert {part.split(":")[0] for part in world.ledger("words")["made/test/d0_u0"].parts} <= {"turn", "explanation"}
    of_face = [part for part in world.ledger("no body")["made/test/d0_u0"].parts if part.startswith("face")]
    assert of_face == ["face", "face:brows", "face:mouth"]


def test_predictions_are_those_of_a_run_without_evidence(world: World) -> None:
    model = world.model("llama3")
    plain = model.score(world.manifest, world.tokens, ("test",), HOW, world.by_rules)
    scored, _ = ledger.score(model, world.manifest, world.tokens, ("test",), HOW, left_out.Choice(), world.by_rules)
    for one, other in zip(plain, scored, strict=True):
        assert (one.id, one.label, one.gold, one.manifest) == (other.id, other.label, other.gold, other.manifest)
        assert list(one.scores.values()) == pytest.approx(list(other.scores.values()), abs=1e-5)


def test_a_history_that_does_not_fit_is_no_part(world: World) -> None:
    """Nor does an older turn come back where a newer one is left out."""
    model = score_labels.MercModel(world.model("llama3").folder)
    whole = world.ledger("llama3")["made/test/d0_u4"]
    model._encoder.max_length = 120
    _, made = ledger.score(model, world.manifest, world.tokens, ("test",), HOW, EVERYTHING, world.by_rules)
    last = next(one for one in made if one.id == whole.id)
    turns = [part for part in last.parts if part.startswith("turn:")]
    assert 0 < len(turns) < 4
    assert turns == [part for part in whole.parts if part.startswith("turn:")][-len(turns) :]
