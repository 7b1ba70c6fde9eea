"""Conflict items: every way decides by its rule, nobody is predicted by what learned from them, and what is missing is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import cohen_kappa_score

from bemerc.behavior.tokens import file as token_file
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.core.errors import ConfigError, CorpusError
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem, ConflictSet, read_conflict_set, write_conflict_set
from bemerc.corpus.manifest import Manifest, Modality, Split, Utterance, write_manifest
from bemerc.evaluate.conflict import build, unimodal
from tests.cli.test_cli import bemerc

LABELS = ("neutral", "joy", "anger", "sadness", "fear")
K, WIDTH = 4, 6
SIDES: dict[str, tuple[Modality, ...]] = {"voice": ("audio",), "face": ("face", "pose")}


def truth(u: Utterance) -> str:
    return subset(u.label, u.label_voice, u.label_face)


def subset(label: str | None, voice: str | None, face: str | None) -> str:
    right = (voice == label, face == label)
    return {(True, True): "consistent", (False, True): "video_aligned", (True, False): "audio_aligned"}.get(
        right, "other"
    )


def corpus(seed: int = 0, speakers: int = 3) -> Manifest:
    """40 + 12 + 20 dialogues of four turns. Six of ten agree, two are the face's, two the voice's; the fields label_voice
    and label_face hold what was planted."""
    rng = np.random.default_rng(seed)
    utterances = []
    splits: tuple[tuple[Split, int], ...] = (("train", 40), ("dev", 12), ("test", 20))
    for split, dialogues in splits:
        for d in range(dialogues):
            for i in range(4):
                label, other = (str(name) for name in rng.permutation(LABELS)[:2])
                sides = [(label, label)] * 6 + [(other, label)] * 2 + [(label, other)] * 2
                voice, face = sides[rng.integers(len(sides))]
                name = f"tiny/{split}/dia{d}"
                u = Utterance(f"{name}_utt{i}", name, i, f"speaker{d % speakers}", "well", label, split, None)
                utterances.append(replace(u, label_voice=voice, label_face=face))
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), LABELS, ("tiny",), Path())


def bare(manifest: Manifest) -> Manifest:
    """The same corpus where nobody labelled a modality."""
    stripped = (replace(u, label_voice=None, label_face=None) for u in manifest.utterances)
    return replace(manifest, utterances=tuple(stripped))


def tokens_of(
    folder: Path, manifest: Manifest, *, clear: float = 3.0, without: Iterable[str] = (), fitted: str | None = None
) -> token_file.TokenFile:
    """Tokens that show what was planted, ``clear`` deviations from noise; nothing of the sides ``without``."""
    rng = np.random.default_rng(1)
    values: dict[Modality, tuple[np.ndarray, np.ndarray]] = {}
    for side, modalities in SIDES.items():
        for modality in modalities:
            rows = rng.normal(0, 1, (len(manifest.utterances), K, WIDTH)).astype(np.float32)
            for row, u in enumerate(manifest.utterances):
                rows[row, :, LABELS.index(str(getattr(u, f"label_{side}")))] += clear
            mask = np.full(rows.shape[:2], side not in without)
            values[modality] = rows * mask[:, :, None], mask
    statistics = Statistics("test", tuple(f"c{i}" for i in range(WIDTH)), (0.0,) * WIDTH, (1.0,) * WIDTH)
    calibration = Calibration(dict.fromkeys(values, statistics), fitted or provenance.fitted(manifest))
    path = folder / "tokens.h5"
    token_file.write_tokens(path, [u.id for u in manifest.utterances], values, calibration, token_file.Params(k=K))
    return token_file.open_tokens(path)


PREDICTORS = build.Params(ways=("predictors", "recombined"))


@pytest.fixture(scope="module")
def planted() -> Manifest:
    return corpus()


@pytest.fixture(scope="module")
def predicted(planted: Manifest, tmp_path_factory: pytest.TempPathFactory) -> ConflictSet:
    with tokens_of(tmp_path_factory.mktemp("tokens"), planted) as tokens:
        return build.run(bare(planted), tokens, PREDICTORS)


def own(made: ConflictSet) -> list[ConflictItem]:
    return [item for item in made.items if item.way != "recombined"]


# ------------------------------------------------------------------------------------------------------------ predictors


def test_predictors_agree_with_what_was_planted(planted: Manifest, predicted: ConflictSet) -> None:
    planted_subset = {u.id: truth(u) for u in planted.utterances}
    items = own(predicted)
    assert len(items) > len(planted.utterances) / 3
    assert cohen_kappa_score([i.subset for i in items], [planted_subset[i.id] for i in items]) > 0.8
    for split in ("train", "dev", "test"):
        assert {i.subset for i in items if i.split == split} >= {"consistent", "video_aligned", "audio_aligned"}


def test_every_item_of_the_predictors_obeys_the_rule(planted: Manifest, predicted: ConflictSet) -> None:
    for item in own(predicted):
        assert item.subset == subset(item.label, item.label_voice, item.label_face)
        assert item.confidence >= PREDICTORS.confidence
        assert item.id == item.voice_of == item.face_of
    strict = replace(PREDICTORS, confidence=0.9)
    assert {item.way for item in predicted.items} == {"predictors", "recombined"}
    assert strict.check() == []


def test_more_confidence_is_fewer_items_that_are_surer(
    planted: Manifest, tmp_path: Path, predicted: ConflictSet
) -> None:
    with tokens_of(tmp_path, planted) as tokens:
        strict = build.run(bare(planted), tokens, replace(PREDICTORS, confidence=0.65))
    assert {i.id for i in own(strict)} < {i.id for i in own(predicted)}
    assert min(i.confidence for i in own(strict)) >= 0.65


def test_train_is_predicted_by_those_who_did_not_learn_from_it(planted: Manifest, tmp_path: Path) -> None:
    """Labels without any meaning are learned by heart by whoever reads them, and guessed by whoever does not."""
    rng = np.random.default_rng(3)
    shuffled = tuple(replace(u, label=str(rng.choice(LABELS))) for u in planted.utterances)
    with tokens_of(tmp_path, planted) as tokens:
        predictor = unimodal.fit(bare(replace(planted, utterances=shuffled)), tokens, "face", 5)
    train = np.array([u.split == "train" for u in shuffled])
    gold = np.array([LABELS.index(str(u.label)) for u in shuffled])
    assert unimodal.against_chance(gold[train], predictor.probabilities[train].argmax(1), len(LABELS))[2] > 0.05


def test_chance_is_refused_with_its_numbers(planted: Manifest, tmp_path: Path) -> None:
    with tokens_of(tmp_path, planted, clear=0.0) as tokens, pytest.raises(build.ChanceError) as caught:
        build.run(bare(planted), tokens, PREDICTORS)
    assert caught.value.side in SIDES
    assert caught.value.accuracy == pytest.approx(caught.value.chance, abs=0.2)
    assert caught.value.chance == pytest.approx(1 / len(LABELS), abs=0.05)
    assert caught.value.p_value > unimodal.SIGNIFICANCE


def test_the_permutation_test_of_chance() -> None:
    gold = np.repeat(np.arange(3), 20)
    assert unimodal.against_chance(gold, gold, 3)[0::2] == (1.0, 1 / (unimodal.PERMUTATIONS + 1))
    always, chance, p_value = unimodal.against_chance(gold, np.zeros_like(gold), 3)
    assert always == pytest.approx(chance) == pytest.approx(1 / 3)
    assert p_value == 1.0


# ---------------------------------------------------------------------------------------------------------------- labels


def test_labels_of_each_modality_come_first(planted: Manifest, tmp_path: Path) -> None:
    half = tuple(
        u if i % 2 else replace(u, label_voice=None) for i, u in enumerate(planted.utterances)
    )  # every other one has no label of the voice
    with tokens_of(tmp_path, planted) as tokens:
        made = build.run(replace(planted, utterances=half), tokens, build.Params())
    labelled = {u.id: u for u in half if u.label_voice is not None}
    by_way = {way: {i.id: i for i in made.items if i.way == way} for way in ("labels", "predictors")}
    assert set(by_way["labels"]) == set(labelled)
    assert by_way["predictors"]
    for id, item in by_way["labels"].items():
        assert item.subset == truth(labelled[id])
        assert (item.confidence, item.label_face) == (1.0, labelled[id].label_face)
    assert all(0 <= item.strength <= 1 for item in made.items)


def test_labels_need_no_predictor_that_works(planted: Manifest, tmp_path: Path) -> None:
    with tokens_of(tmp_path, planted, clear=0.0) as tokens:
        made = build.run(planted, tokens, build.Params())
    assert made.made["predictors"] == {}
    assert len(made.made["notes"]) == 1
    assert all(item.strength == float(item.label_voice != item.label_face) for item in made.items)


def test_labels_alone_where_there_are_none(planted: Manifest, tmp_path: Path) -> None:
    with tokens_of(tmp_path, planted) as tokens, pytest.raises(ConfigError):
        build.run(bare(planted), tokens, build.Params(ways=("labels",)))


# --------------------------------------------------------------------------------------------------------- recombination


def test_recombinations_are_of_one_speaker_and_split_and_disagree(planted: Manifest, predicted: ConflictSet) -> None:
    utterance = {u.id: u for u in planted.utterances}
    uses: Counter[str] = Counter()
    items = predicted.of("train", "recombined")
    assert len(items) > 20
    for item in items:
        voice, face = utterance[item.voice_of], utterance[item.face_of]
        assert item.id == f"{voice.id} ~ {face.id}"
        assert voice.speaker == face.speaker
        assert voice.split == face.split == item.split
        assert item.dialogue == voice.dialogue
        assert (item.label, item.subset) == (None, "other")
        assert (item.label_voice, item.label_face) == (voice.label, face.label)
        assert item.label_voice != item.label_face
        assert PREDICTORS.confidence <= item.confidence <= 1
        uses.update((voice.id, face.id))
    assert max(uses.values()) <= PREDICTORS.per_utterance
    pairs = Counter((item.label_voice, item.label_face) for item in items)
    assert max(pairs.values()) <= 2 * np.median(list(pairs.values()))
    as_planted = [
        (utterance[i.voice_of].label_voice, utterance[i.face_of].label_face) == (i.label_voice, i.label_face)
        for i in items
    ]
    assert np.mean(as_planted) > 0.9


def test_nobody_is_recombined_without_a_name(planted: Manifest, tmp_path: Path) -> None:
    nameless = replace(planted, utterances=tuple(replace(u, speaker="") for u in planted.utterances))
    with tokens_of(tmp_path, nameless) as tokens:
        made = build.run(nameless, tokens, build.Params())
    assert {item.way for item in made.items} == {"labels"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(planted: Manifest, tmp_path: Path, predicted: ConflictSet) -> None:
    with tokens_of(tmp_path, planted) as tokens:
        again, other = (build.run(bare(planted), tokens, replace(PREDICTORS, seed=seed)) for seed in (0, 1))
    files = [tmp_path / f"{name}.jsonl" for name in ("first", "again", "other")]
    for path, made in zip(files, (predicted, again, other), strict=True):
        write_conflict_set(path, made)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()
    assert {i.id for i in own(other)} == {i.id for i in own(predicted)}


# ------------------------------------------------------------------------------------------------------ strength, cuts


def test_the_distance_is_that_of_jensen_and_shannon() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.full(4, 0.3), 20), rng.dirichlet(np.full(4, 0.3), 20)
    assert build.distance(a, b) == pytest.approx(jensenshannon(a, b, base=2, axis=1))
    assert build.distance(a, a).max() == 0
    assert build.distance(np.eye(2)[0], np.eye(2)[1]) == 1


def test_conflicts_are_stronger_and_cuts_are_those_of_train(predicted: ConflictSet) -> None:
    agreeing, conflicts = (
        [i.strength for i in own(predicted) if (i.subset == "consistent") == agree] for agree in (True, False)
    )
    assert np.mean(conflicts) > 2 * np.mean(agreeing)
    train = [i for i in predicted.of("train", "predictors") if i.label_voice != i.label_face]
    quartiles = Counter(predicted.quartile(i) for i in train)
    assert set(quartiles) == {0, 1, 2, 3}
    assert max(quartiles.values()) - min(quartiles.values()) <= 2


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("side", ["face", "voice"])
def test_a_side_that_was_measured_in_no_utterance(planted: Manifest, tmp_path: Path, side: str) -> None:
    with tokens_of(tmp_path, planted, without=[side]) as tokens, pytest.raises(build.MissingSideError) as caught:
        build.run(planted, tokens, build.Params())
    assert caught.value.side == side


def test_tokens_of_other_splits_are_refused(planted: Manifest, tmp_path: Path) -> None:
    with tokens_of(tmp_path, planted, fitted="0" * 32) as tokens, pytest.raises(provenance.StaleError) as caught:
        build.run(planted, tokens, build.Params())
    assert caught.value.path == tokens.path


def test_a_corpus_in_which_all_agree(planted: Manifest, tmp_path: Path) -> None:
    alike = tuple(replace(u, label_voice=u.label, label_face=u.label, speaker="") for u in planted.utterances)
    agreeing = replace(planted, utterances=alike)
    with tokens_of(tmp_path, agreeing) as tokens, pytest.raises(build.NoConflictError) as caught:
        build.run(agreeing, tokens, build.Params())
    assert caught.value.counts["train"]["labels"] == {"consistent": len(agreeing.by_split("train"))}


def test_a_side_without_items_is_said(planted: Manifest, tmp_path: Path) -> None:
    never = tuple(replace(u, label_voice=u.label) for u in planted.utterances)  # the voice never lies
    with tokens_of(tmp_path, replace(planted, utterances=never)) as tokens:
        made = build.run(replace(planted, utterances=never), tokens, build.Params())
    assert [note.split()[0] for note in made.made["notes"]] == ["train", "dev", "test"]
    assert all("video_aligned" in note for note in made.made["notes"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 1},
        {"confidence": 0.0},
        {"confidence": 1.5},
        {"lift": 0.5},
        {"per_utterance": 0},
        {"ways": ("recombined",)},
    ],
    ids=str,
)
def test_values_that_types_cannot_refuse(wrong: dict[str, object]) -> None:
    faults = build.Params(**wrong).check()  # type: ignore[arg-type]
    assert [fault.split(":")[0] for fault in faults] == list(wrong)


@pytest.mark.parametrize(
    "keep",
    [
        lambda u: u.split != "dev",
        lambda u: u.split != "train" or u.dialogue.endswith("dia1"),
        lambda u: u.split != "train" or u.label == "joy",
    ],
    ids=["no dev", "fewer dialogues than folds", "one label in train"],
)
def test_too_little_to_learn_from(planted: Manifest, tmp_path: Path, keep: Callable[[Utterance], bool]) -> None:
    rest = tuple(u if keep(u) else replace(u, label=None) for u in planted.utterances)
    manifest = replace(planted, utterances=rest)
    with tokens_of(tmp_path, manifest) as tokens, pytest.raises(CorpusError):
        build.run(bare(manifest), tokens, PREDICTORS)


# ------------------------------------------------------------------------------------------------------------ the command


def test_the_command_writes_what_it_counts(planted: Manifest, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    tokens_of(tmp_path / "data", planted).close()
    write_manifest(tmp_path / "data" / "manifest.jsonl", bare(planted).utterances, LABELS, ("tiny",))
    answer = bemerc("conflict", "build", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    made = read_conflict_set(tmp_path / said["conflict"])
    assert said["items"] == len(made.items) > 0
    assert said["counts"] == made.made["counts"] == build.count(made.items)
    assert made.made["params"] == json.loads(json.dumps(asdict(build.Params())))
    text = bemerc("conflict", "build", "data/manifest.jsonl", "--out", "other.jsonl", cwd=tmp_path)
    assert text.returncode == 0, text.stderr
    assert (tmp_path / "other.jsonl").read_bytes() == (tmp_path / said["conflict"]).read_bytes()


def test_the_command_without_tokens_is_a_sentence(planted: Manifest, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_manifest(tmp_path / "data" / "manifest.jsonl", planted.utterances, LABELS, ("tiny",))
    answer = bemerc("conflict", "build", cwd=tmp_path)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "data" / "conflict.jsonl").exists()
