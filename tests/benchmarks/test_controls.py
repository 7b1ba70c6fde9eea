"""controls: what they take away is gone, a planted leak leaves its band and noise does not, seeds widen an interval."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bemerc.behavior.tokens import file as tokens
from bemerc.cache import Features, Head, Rows, open_cache, write_cache
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.evaluate import evaluation, test_set
from bemerc.language.predict.records import Prediction
from benchmarks import control_measures as controls
from tests.evaluate.test_baselines import LABELS, corpus, token_file


def answers(manifest: Manifest, hit: float, seed: int) -> test_set.Answers:
    rng = np.random.default_rng(seed)
    gold = test_set.reference(manifest).gold
    return test_set.Answers(np.where(rng.random(len(gold)) < hit, gold, (gold + 1) % len(LABELS)), None)


def test_every_test_utterance_gets_another_one_of_its_speaker() -> None:
    manifest = corpus()
    speaker = {u.id: u.speaker for u in manifest.utterances}
    partner_of, strangers = controls.partners(manifest, seed=0)
    assert strangers == 0
    assert sorted(partner_of) == sorted(partner_of.values()) == [u.id for u in manifest.by_split("test")]
    assert all(a != b and speaker[a] == speaker[b] for a, b in partner_of.items())
    assert controls.partners(manifest, seed=0) == (partner_of, 0)
    assert controls.partners(manifest, seed=1) != (partner_of, 0)


def test_a_speaker_with_one_turn_gets_a_strangers_and_is_counted() -> None:
    manifest = corpus()
    first = manifest.by_split("test")[0].id
    alone = tuple(dataclasses.replace(u, speaker="Zoë") if u.id == first else u for u in manifest.utterances)
    partner_of, strangers = controls.partners(dataclasses.replace(manifest, utterances=alone), seed=0)
    assert strangers == 1
    assert partner_of[first] != first


def test_swapping_moves_rows_of_test_and_nothing_else(tmp_path: Path) -> None:
    manifest = corpus()
    before = token_file(tmp_path / "tokens.h5", manifest, {"face": 0.5, "audio": 0.5})
    controls.swap_within_speaker(manifest, before, tmp_path / "swapped.h5", seed=3)
    after = tokens.open_tokens(tmp_path / "swapped.h5")
    partner_of, _ = controls.partners(manifest, seed=3)
    assert (after.ids, after.columns, after.params, after.calibration) == (
        before.ids,
        before.columns,
        before.params,
        before.calibration,
    )
    for u in manifest.utterances:
        source = before[partner_of[u.id] if u.split == "test" else u.id]
        for modality, of in after[u.id].items():
            np.testing.assert_array_equal(of.values, source[modality].values)
            np.testing.assert_array_equal(of.mask, source[modality].mask)


def test_shuffling_keeps_counts_and_test() -> None:
    manifest = corpus()
    first = manifest.by_split("train")[0].id
    manifest = dataclasses.replace(
        manifest,
        utterances=tuple(dataclasses.replace(u, label=None) if u.id == first else u for u in manifest.utterances),
    )
    other = controls.shuffle_labels(manifest, seed=0)
    assert other.by_split("test") == manifest.by_split("test")
    assert other.by_split("train")[0].label is None
    for split in ("train", "dev"):
        one, two = ([u.label for u in m.by_split(split)] for m in (manifest, other))
        assert Counter(one) == Counter(two)
        assert one != two


def test_masks_and_metadata_hold_their_columns(tmp_path: Path) -> None:
    manifest = corpus()
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"x" * 321)
    utterances = tuple(dataclasses.replace(u, clip=str(clip) if u.index else None) for u in manifest.utterances)
    manifest = dataclasses.replace(manifest, utterances=utterances)
    file = token_file(tmp_path / "tokens.h5", manifest, {"face": 0.5, "audio": 0.5})
    assert controls.masks(manifest, file).shape == (300, 8)
    assert controls.masks(manifest, file)[7, :4].tolist() == file[manifest.utterances[7].id]["audio"].mask.tolist()

    def frames(count: int) -> Features:
        return Features(np.zeros((count, 1), np.float32), np.arange(count) / 25, ("AU01_r",))

    clips = [(u.id, frames(10 + u.index), 1.5, None) for u in manifest.utterances]
    write_cache(tmp_path / "face.h5", Head("face", ("AU01_r",), "clip", "test 1", {}), Rows(clips))
    with open_cache(tmp_path / "face.h5", "face") as face:
        rows = controls.metadata(manifest, face)
    assert rows.shape == (300, 4 + 3 + 4)
    row = next(i for i, u in enumerate(manifest.utterances) if u.index == 2)
    assert rows[row, :7].tolist() == [1.5, 12, 321, 2, 0, 0, 1]
    assert rows[row, 7:].sum() == 1
    assert np.isnan(rows[row - 2, 2])


def test_a_leak_leaves_the_band_and_noise_does_not() -> None:
    manifests = [corpus(seed) for seed in (0, 1)]
    rng = np.random.default_rng(0)
    noise = [(m, rng.normal(size=(300, 3))) for m in manifests]
    labels = [[LABELS.index(str(u.label)) for u in m.utterances] for m in manifests]
    leak = [(m, x + 0.5 * np.eye(3)[gold]) for (m, x), gold in zip(noise, labels, strict=True)]
    quiet = controls.regression_band(noise, permutations=40, seed=0)
    loud = controls.regression_band(leak, permutations=40, seed=0)
    assert quiet.inside
    assert quiet.utterances == 120
    assert quiet.low < 1 / 3 < quiet.high
    assert not loud.inside
    assert loud.value > loud.high


SEVEN = ("neutral", "joy", "anger", "sadness", "fear", "disgust", "surprise")


def test_answers_that_tell_behaviors_apart_and_name_them_by_chance_are_no_leak() -> None:
    """Of each of seven kinds of behavior a model gives the label that it met most often, among labels dealt by chance."""
    alarms, permuted_alarms, noticed = 0, 0, 0
    for seed in range(120):
        rng, parts, leaks = np.random.default_rng(seed), [], []
        for deal in range(2):
            manifest = moods((6,) * 40, 2 * seed + deal, labels=SEVEN)
            gold = test_set.reference(manifest).gold
            kind = np.where(rng.random(len(gold)) < 0.7, gold, rng.integers(7, size=len(gold)))
            met = np.array([np.bincount(rng.integers(7, size=30), minlength=7).argmax() for _ in range(7)])
            parts.append((manifest, test_set.Answers(met[kind], None)))
            leaks.append((manifest, test_set.Answers(np.where(rng.random(len(gold)) < 0.2, gold, met[kind]), None)))
        band = controls.answer_band(parts, 400, seed)
        alarms += not band.inside
        leak = controls.answer_band(leaks, 400, seed)
        noticed += leak.value > leak.high
        by_permutation = np.zeros(60)
        for manifest, given in parts:
            gold, dialogues = test_set.reference(manifest).gold, controls.turns(manifest, "test")
            by_permutation += [np.mean(controls.permuted(gold, dialogues, rng) == given.predicted) for _ in range(60)]
        low, high = np.percentile(by_permutation / 2, [2.5, 97.5])
        permuted_alarms += not low <= band.value <= high
    assert alarms <= 14, alarms  # of 120; 6 wanted
    assert permuted_alarms > 30, permuted_alarms
    assert noticed > 60, noticed


def moods(lengths: tuple[int, ...], seed: int, stays: float = 0.8, labels: tuple[str, ...] = LABELS) -> Manifest:
    """Test dialogues whose labels go on from turn to turn."""
    rng, utterances = np.random.default_rng(seed), []
    for d, length in enumerate(lengths):
        label = str(rng.choice(labels))
        for i in range(length):
            label = label if rng.random() < stays else str(rng.choice(labels))
            utterances.append(Utterance(f"d{d:03d}_u{i:02d}", f"d{d:03d}", i, "A", "", label, "test", None))
    return Manifest(tuple(utterances), labels, ("made",), Path())


def test_a_permutation_keeps_counts_dialogues_and_the_order_of_turns() -> None:
    manifest = moods((4, 4, 4, 4, 4, 4), seed=0)
    gold = np.arange(24)
    dialogues = controls.turns(manifest, "test")
    permuted = controls.permuted(gold, dialogues, np.random.default_rng(3))
    assert sorted(permuted) == list(gold)
    blocks = permuted.reshape(6, 4)
    assert (blocks // 4 == blocks[:, :1] // 4).all(), "equally long dialogues are swapped whole"
    assert set(map(tuple, (np.diff(blocks, axis=1) - 1) % 4)) == {(0, 0, 0)}, (
        "turns follow one another, round the end too"
    )
    assert not np.array_equal(blocks // 4, gold.reshape(6, 4) // 4)
    assert (blocks[:, 0] % 4 != 0).any(), "position must not stay"


@pytest.mark.parametrize(
    "lengths", [(6,) * 40, pytest.param(tuple(range(1, 16)) * 3, marks=pytest.mark.slow)], ids=["equal", "uneven"]
)
def test_autocorrelated_answers_that_know_nothing_give_a_false_alarm_in_twenty(lengths: tuple[int, ...]) -> None:
    """Both labels and answers go on from turn to turn, independently of each other. Shuffled one by one they gave an alarm
    every fourth time."""
    alarms, single = 0, 0
    for seed in range(120):
        manifest, other = moods(lengths, 2 * seed), moods(lengths, 2 * seed + 1)
        gold, given = test_set.reference(manifest).gold, test_set.reference(other).gold
        rng, dialogues = np.random.default_rng(seed), controls.turns(manifest, "test")
        together = [(controls.permuted(gold, dialogues, rng) == given).mean() for _ in range(150)]
        apart = [(rng.permutation(gold) == given).mean() for _ in range(150)]
        outside = [
            (gold == given).mean() < np.percentile(c, 2.5) or (gold == given).mean() > np.percentile(c, 97.5)
            for c in (together, apart)
        ]
        alarms, single = alarms + outside[0], single + outside[1]
    assert alarms <= 12, alarms  # of 120; 6 wanted
    assert single > 15, single


def test_one_corpus_and_one_seed_give_evaluates_numbers() -> None:
    manifest = corpus()
    judged, given = test_set.reference(manifest), answers(manifest, 0.6, 1)
    params = evaluation.Params(resamples=500)
    accuracy = controls.accuracy([controls.Runs(judged, {"TVB": [given]})], "TVB", params)
    predictions = [
        Prediction(i, None, LABELS[code], dict.fromkeys(LABELS, 1 / 3))
        for i, code in zip(judged.ids, given.predicted, strict=True)
    ]
    expected = evaluation.evaluate(manifest, {"a": predictions}, params)["systems"]["a"]["accuracy"]
    assert accuracy == pytest.approx(expected, abs=1e-12)


def test_seeds_that_differ_widen_the_interval_and_equal_systems_have_no_gap() -> None:
    manifest = corpus()
    judged, params = test_set.reference(manifest), evaluation.Params(resamples=2000)
    same = controls.Runs(judged, {"a": [answers(manifest, 0.6, 1)] * 3, "b": [answers(manifest, 0.6, 1)]})
    differing = controls.Runs(judged, {"a": [answers(manifest, hit, 1) for hit in (0.3, 0.6, 0.9)]})
    narrow, wide = (controls.accuracy([of], "a", params) for of in (same, differing))
    assert wide["value"] == pytest.approx(0.6, abs=0.1)
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])
    gap = controls.accuracy_gap([same], "a", "b", params)
    assert gap == pytest.approx({"value": 0, "low": 0, "high": 0}, abs=1e-12)


def test_corpora_are_pooled_by_utterance() -> None:
    one, two = corpus(0), corpus(1)
    short = dataclasses.replace(
        two, utterances=tuple(u for u in two.utterances if u.split != "test" or "dia0_" in u.id or "dia1_" in u.id)
    )
    runs = [controls.Runs(test_set.reference(m), {"a": [answers(m, hit, 0)]}) for m, hit in ((one, 1.0), (short, 0.0))]
    accuracy = controls.accuracy(runs, "a", evaluation.Params(resamples=200))
    assert accuracy["value"] == pytest.approx(60 / 66)


def test_correlations_are_numpys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 2)), rng.normal(size=(50, 3))
    b[:, 2] = 4
    r = controls.correlations(a, b)
    np.testing.assert_allclose(r[:, :2], np.corrcoef(a.T, b[:, :2].T)[:2, 2:], atol=1e-12)
    assert np.isnan(r[:, 2]).all()


def test_units_that_follow_agree_and_a_mixed_up_one_shows_off_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    clips, speakers = [], []
    rests = {"Ann": np.array([20.0, 0, 9]), "Ben": np.array([-20.0, 3, 0])}
    for number in range(20):
        speaker = ("Ann", "Ben")[number % 2]
        planted = np.cumsum(rng.normal(0, 0.3, (40, 3)), axis=0) * (rng.random(3) < 0.7)
        stored = np.stack([2 * planted[:, 0], planted[:, 1] + rng.normal(0, 0.05, 40), planted[:, 1]], axis=1)
        clips.append((stored + rests[speaker], planted))  # every face has its own rest
        speakers.append(speaker)
    clips.append((np.zeros((0, 3)), np.zeros((0, 3))))
    speakers.append("Ann")
    agreement = controls.unit_agreement(clips, speakers)
    assert agreement.stored[0, 0] < 0.9
    assert np.diag(agreement.pooled)[:2] == pytest.approx(1, abs=0.05)
    assert agreement.pooled[2, 1] == pytest.approx(1, abs=1e-9)
    assert abs(agreement.pooled[2, 2]) < 0.5
    assert agreement.within[:2] == pytest.approx(1, abs=0.05)
    assert abs(agreement.within[2]) < 0.6
