"""Baselines: planted signals are used, ways are picked on dev, and absence stays absence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from bemerc.behavior.tokens import file as tokens
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import Manifest, Modality, Split, Utterance
from bemerc.evaluate import baselines
from bemerc.language.inputs import prompts

LABELS = ("neutral", "joy", "anger")
SENTENCES = {"neutral": "the door is open", "joy": "what a lovely day", "anger": "leave me alone"}
K, WIDTH = 4, 3


def corpus(seed: int = 0, p_label: float = 0.5) -> Manifest:
    """60 + 20 + 20 dialogues of three turns; the words give the label away with probability ``p_label``."""
    rng = np.random.default_rng(seed)
    utterances = []
    splits: tuple[tuple[Split, int], ...] = (("train", 60), ("dev", 20), ("test", 20))
    for split, dialogues in splits:
        for d in range(dialogues):
            for i in range(3):
                label, other = str(rng.choice(LABELS)), str(rng.choice(LABELS))
                text = SENTENCES[label if rng.random() < p_label else other]
                name = f"tiny/{split}/dia{d}"
                utterances.append(Utterance(f"{name}_utt{i}", name, i, f"speaker{d % 4}", text, label, split, None))
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), LABELS, ("tiny",), Path())


def token_file(path: Path, manifest: Manifest, shown: dict[Modality, float], seed: int = 0) -> tokens.TokenFile:
    """Noise tokens; in modality m the label's own column is raised in one token with probability shown[m]; some masks are 0."""
    rng = np.random.default_rng(seed)
    values: dict[Modality, tuple[np.ndarray, np.ndarray]] = {}
    for modality, share in shown.items():
        rows = rng.normal(0, 0.3, (len(manifest.utterances), K, WIDTH)).astype(np.float32)
        mask = rng.random((len(manifest.utterances), K)) < 0.9
        for row, utterance in enumerate(manifest.utterances):
            if rng.random() < share:
                rows[row, rng.integers(K), LABELS.index(str(utterance.label))] += 4
        values[modality] = rows * mask[:, :, None], mask
    statistics = Statistics("test", tuple(f"c{i}" for i in range(WIDTH)), (0.0,) * WIDTH, (1.0,) * WIDTH)
    tokens.write_tokens(
        path,
        [u.id for u in manifest.utterances],
        values,
        Calibration(dict.fromkeys(shown, statistics)),
        tokens.Params(k=K),
    )
    return tokens.open_tokens(path)


def accuracy_on_test(manifest: Manifest, scores: np.ndarray) -> float:
    rows = [i for i, u in enumerate(manifest.utterances) if u.split == "test"]
    return float(np.mean([LABELS[scores[i].argmax()] == manifest.utterances[i].label for i in rows]))


def test_each_baseline_finds_what_its_inputs_hold_and_no_more(tmp_path: Path) -> None:
    manifest = corpus()
    file = token_file(tmp_path / "tokens.h5", manifest, {"face": 0.9, "pose": 0.0, "audio": 0.0})
    fits = dict(baselines.regressions(manifest, file, prompts.Params()))
    assert list(fits) == list(baselines.INPUTS)
    accuracy = {name: accuracy_on_test(manifest, fit.scores) for name, fit in fits.items()}
    assert 0.5 < accuracy["words"] < 0.8
    assert abs(accuracy["words + voice"] - accuracy["words"]) < 0.2
    assert accuracy["tokens"] > 0.75
    assert accuracy["words + tokens"] > accuracy["words"]
    for fit in fits.values():
        np.testing.assert_allclose(fit.scores.sum(1), 1, atol=1e-9)


def test_without_audio_there_is_no_voice_baseline(tmp_path: Path) -> None:
    manifest = corpus()
    fits = dict(
        baselines.regressions(manifest, token_file(tmp_path / "tokens.h5", manifest, {"face": 0.5}), prompts.Params())
    )
    assert list(fits) == ["words", "window", "tokens", "words + tokens", "window + tokens"]


def poison(block: baselines.Block, rows: np.ndarray) -> baselines.Block:
    """The block with nonsense in ``rows``."""
    dense = block.columns.toarray() if sparse.issparse(block.columns) else block.columns
    spoilt = np.where(rows[:, None], 1e3, dense)
    return dataclasses.replace(block, columns=sparse.csr_array(spoilt) if sparse.issparse(block.columns) else spoilt)


def test_neither_test_labels_nor_test_rows_move_a_fit(tmp_path: Path) -> None:
    manifest = corpus()
    file = token_file(tmp_path / "tokens.h5", manifest, {"face": 0.9})
    ways = baselines.options(manifest, file, ("words", "window", "face"), prompts.Params())
    test = np.array([u.split == "test" for u in manifest.utterances])
    poisoned = {name: [poison(block, test) for block in blocks] for name, blocks in ways.items()}
    unlabelled = tuple(
        dataclasses.replace(u, label=None if u.split == "test" else u.label) for u in manifest.utterances
    )
    one = baselines.regress(manifest, ways)
    other = baselines.regress(dataclasses.replace(manifest, utterances=unlabelled), poisoned)
    rows = [i for i, u in enumerate(manifest.utterances) if u.split != "test"]
    assert (one.features, one.strength, one.dev_accuracy) == (other.features, other.strength, other.dev_accuracy)
    np.testing.assert_array_equal(one.scores[rows], other.scores[rows])


def test_masked_tokens_are_absent_not_zero(tmp_path: Path) -> None:
    manifest = corpus()
    file = token_file(tmp_path / "tokens.h5", manifest, {"face": 0.5})
    ids = [u.id for u in manifest.utterances]
    flat = baselines.pooled(file, ids, ("face",), "flat")
    summary = baselines.pooled(file, ids, ("face",), "summary")
    assert flat.shape == (300, K * WIDTH + 1)
    assert summary.shape == (300, 3 * WIDTH + 1)
    for row, id_ in enumerate(ids):
        one = file[id_]["face"]
        assert (np.isnan(flat[row, :-1].reshape(K, WIDTH)).all(1) == ~one.mask).all()
        assert flat[row, -1] == summary[row, -1] == one.mask.mean()
        if one.mask.any():
            np.testing.assert_allclose(summary[row, :WIDTH], one.values[one.mask].mean(0), atol=1e-6)


def test_standardised_uses_train_alone_and_fills_with_its_mean() -> None:
    matrix = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 6.0, 1.0], [4.0, 7.0, 2.0]])
    train = np.array([True, True, True, False])
    columns = baselines.standardised(matrix, train)
    np.testing.assert_allclose(columns[:, 0], [-1, 1, 0, 2])
    np.testing.assert_allclose(columns[:, 1], (matrix[:, 1] - 16 / 3) / np.std([5, 5, 6]))
    assert columns.shape == (4, 2)  # the third column is constant in train
    assert baselines.standardised(np.zeros((4, 0)), train).shape == (4, 1)


def test_words_come_from_train_and_need_two_utterances() -> None:
    manifest = corpus()
    odd = [dataclasses.replace(u, text="zebra zebra I I" if u.split == "test" else u.text) for u in manifest.utterances]
    counts = baselines.words(dataclasses.replace(manifest, utterances=tuple(odd)), 1).toarray()
    assert counts.shape[1] == len(set(" ".join(SENTENCES.values()).split()))
    assert counts[[u.split == "test" for u in manifest.utterances]].sum() == 0
    silent = tuple(dataclasses.replace(u, text="…") for u in manifest.utterances)
    assert baselines.words(dataclasses.replace(manifest, utterances=silent), 1).shape == (300, 0)


def test_the_window_holds_what_a_prompt_shows_and_not_more() -> None:
    """Words and speakers of the turns before in the window, and who speaks; neither the utterance's own words nor later ones."""
    turns = [
        Utterance(f"d{d}_u{i}", f"d{d}", i, f"S{i % 2}", f"word{i}", "joy", "train", None)
        for d in range(2)
        for i in range(5)
    ]
    manifest = Manifest(tuple(turns), LABELS, ("tiny",), Path())
    shown = prompts.Params(window=3, windowing="sliding")
    counts = baselines.window(manifest, shown).toarray()
    in_prompts = {
        prompts.merc_prompt(manifest.dialogues()[0], i, LABELS, (), shown).text.count(f"word{j}")
        for i in range(5)
        for j in range(5)
    }
    assert in_prompts <= {0, 1, 2}
    for row in range(5):
        text = prompts.merc_prompt(manifest.dialogues()[0], row, LABELS, (), shown).text
        earlier = [j for j in range(row) if f"word{j}" in text]
        assert earlier == list(range(max(0, row - 2), row))
        assert counts[row].sum() == 2 * len(earlier) + 1  # a word and a speaker of each, and who speaks now
    assert not np.array_equal(counts[1], counts[2])


def test_the_regression_on_the_window_uses_the_turn_before(tmp_path: Path) -> None:
    """The words of the turn before give the label: own words are at chance, the window is not."""
    manifest = corpus(p_label=0.0)
    utterances = []
    for dialogue in manifest.dialogues():
        labels = [str(u.label) for u in dialogue.utterances]
        for i, u in enumerate(dialogue.utterances):
            after = labels[i + 1] if i + 1 < len(labels) else "neutral"
            utterances.append(dataclasses.replace(u, text=SENTENCES[after]))
    manifest = dataclasses.replace(manifest, utterances=tuple(sorted(utterances, key=lambda u: u.id)))
    shown = prompts.Params(window=2, windowing="sliding")
    with token_file(tmp_path / "tokens.h5", manifest, {"face": 0.0}) as file:
        fits = {
            name: baselines.regress(manifest, baselines.options(manifest, file, baselines.INPUTS[name], shown))
            for name in ("words", "window")
        }
    reached = {name: accuracy_on_test(manifest, fit.scores) for name, fit in fits.items()}
    assert reached["words"] < 0.5
    assert reached["window"] > 0.7  # the first of three turns has nothing before it


def test_counts_stay_sparse_and_rare_words_are_not_blown_up() -> None:
    train = np.ones(1000, dtype=np.bool_)
    counts = np.zeros((1000, 2))
    counts[0, 0], counts[:500, 1] = 1, 1
    scaled = baselines.scaled(sparse.csr_array(counts), train)
    assert scaled.nnz == 501
    assert scaled[[0], :].toarray().ravel() == pytest.approx([10, 2], rel=1e-3)  # 1 / 0.1 and 1 / 0.5
    dense = baselines.standardised(counts, train)
    assert dense[0, 0] > 30


def test_majority_answers_trains_most_frequent_label() -> None:
    manifest = corpus()
    scores = baselines.majority(manifest)
    train = [u.label for u in manifest.by_split("train")]
    assert LABELS[scores[0].argmax()] == max(LABELS, key=train.count)
    assert scores[0] == pytest.approx([train.count(label) / len(train) for label in LABELS])


def test_what_cannot_be_fitted_is_a_sentence(tmp_path: Path) -> None:
    manifest = corpus()
    no_dev = tuple(dataclasses.replace(u, label=None if u.split == "dev" else u.label) for u in manifest.utterances)
    with pytest.raises(CorpusError, match="labelled utterance in dev; there are 3 and 0"):
        baselines.regress(
            dataclasses.replace(manifest, utterances=no_dev), {"words": [baselines.Block(baselines.words(manifest, 1))]}
        )
    file = token_file(
        tmp_path / "tokens.h5", dataclasses.replace(manifest, utterances=manifest.utterances[1:]), {"face": 0.5}
    )
    with pytest.raises(CorpusError, match=f"lacks 1 utterances of the manifest, such as {manifest.utterances[0].id}"):
        dict(baselines.regressions(manifest, file, prompts.Params()))
    with pytest.raises(CorpusError, match="no labelled utterance"):
        baselines.majority(
            dataclasses.replace(
                manifest, utterances=tuple(dataclasses.replace(u, label=None) for u in manifest.utterances)
            )
        )
