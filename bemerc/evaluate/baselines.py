"""Baselines: logistic regressions on the inputs that the language model reads, and the most frequent label.

They are meant to be strong: the same manifest and splits, bags of words and the model's own behavior tokens, several
ways to make one row of them, columns scaled by train; way and regularisation are picked on dev (accuracy, then log
loss), and test is used once, by the picked one. Beside each regression on an utterance's own words there is one on the
window of turns and speakers that the prompt shows, since the model reads that. The baselines are ours; no paper's.

Word counts stay sparse (MELD: 16,000 columns in 10 MB). They are divided by their deviation in train but not centred,
which the intercept does, and by a tenth at least: less would blow up rare words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import CorpusError
from bemerc.corpus.manifest import Manifest, Modality, Split
from bemerc.language.inputs import prompts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Input = Literal["words", "window", "face", "pose", "audio"]

# Baseline -> its inputs. "words": the utterance's own; "window": the words and speakers of the other turns in the
# prompt.
INPUTS: dict[str, tuple[Input, ...]] = {
    "words": ("words",),
    "window": ("words", "window"),
    "words + voice": ("words", "audio"),
    "window + voice": ("words", "window", "audio"),
    "tokens": ("face", "pose", "audio"),
    "words + tokens": ("words", "face", "pose", "audio"),
    "window + tokens": ("words", "window", "face", "pose", "audio"),
}
# Baseline -> the variant that it is compared with. "window" has that variant's inputs, "words" no earlier turn or
# speaker.
RUNG_OF = {
    "words": "T",
    "window": "T",
    "words + voice": "TV",
    "window + voice": "TV",
    "words + tokens": "TVB",
    "window + tokens": "TVB",
}
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
Way = Literal["flat", "summary"]
WAYS: tuple[Way, ...] = ("flat", "summary")
# Counts are divided by this at least: the deviation of a word in one of a hundred utterances.
LEAST_DEVIATION = 0.1
# Weights of the window's words beside the utterance's own; the smaller one, since there are ten times as many.
WINDOW_WEIGHTS = {"window": 1.0, "window x 0.3": 0.3}
# A matrix of so many numbers is fitted in a tenth of the time when it is dense.
SMALL = 1_000_000
WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class Block:
    """Columns of one kind, a row per utterance of the manifest.

    columns  counts as a sparse matrix (N, V), or measurements as a dense one (N, D), NaN where nothing was measured
    weight   what the scaled columns are multiplied with: less than 1 regularises them more than the other blocks
    """

    columns: Floats | sparse.csr_array
    weight: float = 1.0


# One way to give an utterance to a regression.
Blocks = Sequence[Block]


@dataclass(frozen=True)
class Fit:
    """A regression as picked on dev.

    features      the picked way, such as "unigrams, window, flat"
    strength      scikit-learn's C
    dev_accuracy  of the picked one, a fraction
    scores        (N, C) probabilities for all N utterances of the manifest in its order, C labels in its order
    """

    features: str
    strength: float
    dev_accuracy: float
    scores: Floats


def regressions(manifest: Manifest, tokens: TokenFile, prompt_params: prompts.Params) -> Iterator[tuple[str, Fit]]:
    """Every baseline of INPUTS, one by one, without those whose modalities the token file lacks.

    ``prompt_params``: section ``prompt`` of params.yaml, for the window of turns. Raises CorpusError where train or dev are
    too small, or the token file lacks utterances.
    """
    for name, inputs in INPUTS.items():
        behavior = set(inputs) - {"words", "window"}
        if not behavior or behavior & set(tokens.widths):
            yield name, regress(manifest, options(manifest, tokens, inputs, prompt_params))


def majority(manifest: Manifest) -> Floats:
    """(N, C): for every utterance the labels' shares in train, so that the answer is train's most frequent label."""
    gold = codes(manifest)[_rows(manifest, "train")]
    counts = np.bincount(gold[gold >= 0], minlength=len(manifest.labels)).astype(np.float64)
    if not counts.sum():
        raise CorpusError(
            "train has no labelled utterance, so there is no most frequent label. Run 'bemerc corpus check'."
        )
    return np.tile(counts / counts.sum(), (len(manifest.utterances), 1))


# ------------------------------------------------------------------------------------------------------------- features


def options(
    manifest: Manifest, tokens: TokenFile, inputs: Sequence[Input], prompt_params: prompts.Params
) -> dict[str, Blocks]:
    """The ways to give ``inputs`` to a regression, by name."""
    modalities: list[Modality] = [m for m in inputs if m not in ("words", "window") and m in tokens.widths]
    ways: dict[str, Blocks] = {"": ()}
    if "words" in inputs:
        alone = {"unigrams": 1} if len(inputs) > 1 else {"unigrams": 1, "unigrams and bigrams": 2}
        ways = _with(ways, {name: Block(words(manifest, longest)) for name, longest in alone.items()})
    if "window" in inputs:
        earlier = window(manifest, prompt_params)
        ways = _with(ways, {name: Block(earlier, weight) for name, weight in WINDOW_WEIGHTS.items()})
    if modalities:
        ids = [u.id for u in manifest.utterances]
        ways = _with(ways, {way: Block(pooled(tokens, ids, modalities, way)) for way in WAYS})
    return ways


def _with(ways: Mapping[str, Blocks], more: Mapping[str, Block]) -> dict[str, Blocks]:
    """Every way with each of the blocks added."""
    return {
        ", ".join(filter(None, (way, name))): (*blocks, block)
        for way, blocks in ways.items()
        for name, block in more.items()
    }


def words(manifest: Manifest, longest: int) -> sparse.csr_array:
    """Counts (N, V) of each utterance's own words, or of runs of up to ``longest`` words.

    The vocabulary is train's: all that occurs there in two utterances or more, lower case, one-letter words too.
    """
    counter = CountVectorizer(ngram_range=(1, longest), token_pattern=WORD, min_df=2)
    return _counted(manifest, counter, [u.text for u in manifest.utterances])


def window(manifest: Manifest, prompt_params: prompts.Params) -> sparse.csr_array:
    """Counts (N, V) of what a prompt shows beside the utterance's own words: words and speakers of the earlier turns
    in the window, and the present speaker. Vocabulary as in ``words``."""
    split = CountVectorizer(token_pattern=WORD).build_analyzer()
    documents: dict[str, list[str]] = {}
    for dialogue in manifest.dialogues():
        turns = dialogue.utterances
        words_of_turn = [[*(f"word {word}" for word in split(u.text)), f"speaker {u.speaker}"] for u in turns]
        for index, turn in enumerate(turns):
            earlier = words_of_turn[prompts.history_start(index, prompt_params) : index]
            documents[turn.id] = [*(item for one in earlier for item in one), f"now {turn.speaker}"]
    return _counted(manifest, CountVectorizer(analyzer=list, min_df=2), [documents[u.id] for u in manifest.utterances])


def _counted(manifest: Manifest, counter: CountVectorizer, documents: Sequence[Any]) -> sparse.csr_array:
    try:
        counter.fit([documents[i] for i in np.flatnonzero(_rows(manifest, "train")).tolist()])
    except ValueError:  # scikit-learn's only way to say that no word is left
        return sparse.csr_array((len(documents), 0))
    return sparse.csr_array(counter.transform(documents), dtype=np.float64)


def pooled(tokens: TokenFile, ids: Sequence[str], modalities: Sequence[Modality], way: Way) -> Floats:
    """Behavior tokens as one row per id (N, D), NaN where a token is masked out.

    flat: all K tokens side by side; summary: mean, minimum and maximum over the present tokens. Per modality the share
    of present tokens is added, since the model sees the masks too.
    """
    missing = sorted(set(ids) - set(tokens.ids))
    if missing:
        raise CorpusError(
            f"The token file lacks {len(missing)} utterances of the manifest, such as {missing[0]}. Run 'bemerc "
            "tokens'."
        )
    return np.stack(
        [np.concatenate([_row(tokens[id_][m].values, tokens[id_][m].mask, way) for m in modalities]) for id_ in ids]
    )


def _row(values: NDArray[Any], mask: NDArray[np.bool_], way: Way) -> Floats:
    values = np.where(mask[:, None], values, np.nan).astype(np.float64)
    if way == "flat":
        parts = [values.ravel()]
    else:
        present = values[mask] if mask.any() else values[:1]
        parts = [present.mean(0), present.min(0), present.max(0)]
    return np.concatenate([*parts, [mask.mean()]])


def standardised(matrix: Floats, train: NDArray[np.bool_]) -> Floats:
    """Columns to mean 0 and deviation 1 by the rows ``train``; NaN becomes 0, the mean of train.

    A column that is constant or never measured in train is left out; if none is left, one column of zeros is returned.
    """
    measured = np.isfinite(matrix)
    filled = np.where(measured, matrix, 0.0)
    count = np.maximum(measured[train].sum(0), 1)
    mean = filled[train].sum(0) / count
    centred = np.where(measured, filled - mean, 0.0)
    deviation = np.sqrt((centred[train] ** 2).sum(0) / count)
    keep = deviation > 1e-9
    return np.asarray(centred[:, keep] / deviation[keep]) if keep.any() else np.zeros((len(matrix), 1))


def scaled(counts: sparse.csr_array, train: NDArray[np.bool_]) -> sparse.csr_array:
    """Columns divided by their deviation in the rows ``train`` or LEAST_DEVIATION; zeros stay zeros."""
    train_counts = counts[train]
    mean, squares = (
        np.asarray(counts_or_squares.sum(axis=0)).ravel() / max(train_counts.shape[0], 1)
        for counts_or_squares in (train_counts, train_counts.multiply(train_counts))
    )
    deviation = np.sqrt(np.maximum(squares - mean**2, 0))
    return sparse.csr_array(counts.multiply(1 / np.maximum(deviation, LEAST_DEVIATION)))


def design_matrix(blocks: Blocks, train: NDArray[np.bool_]) -> Any:
    """One matrix (N, D) for scikit-learn: sparse where one block is and it is not small."""
    parts = [
        block.weight * (scaled if sparse.issparse(block.columns) else standardised)(block.columns, train)
        for block in blocks
    ]
    parts = [part for part in parts if part.shape[1]] or [np.zeros((len(train), 1))]
    if any(sparse.issparse(part) for part in parts):
        whole = sparse.csr_array(sparse.hstack([sparse.csr_array(part) for part in parts], format="csr"))
        return whole.toarray() if np.prod(whole.shape) <= SMALL else whole
    return np.hstack(parts)


# ------------------------------------------------------------------------------------------------------------------ fit


def regress(manifest: Manifest, ways: Mapping[str, Blocks], gold: Ints | None = None) -> Fit:
    """The best regression on dev over ``ways`` and STRENGTHS.

    gold: (N,) codes to fit instead of the manifest's, -1 = unlabelled (the controls shuffle them).
    Raises CorpusError if train has fewer than two labels or dev has none.
    """
    gold = codes(manifest) if gold is None else gold
    train, dev = (_rows(manifest, split) & (gold >= 0) for split in ("train", "dev"))
    if len(set(gold[train])) < 2 or not dev.any():
        raise CorpusError(
            "The regressions need two labels in train and a labelled utterance in dev; there are "
            f"{len(set(gold[train]))} and {dev.sum()}. Run 'bemerc corpus check'."
        )
    fits = (fit for name, blocks in ways.items() for fit in _fits(name, blocks, gold, train, dev, len(manifest.labels)))
    return max(fits, key=lambda pair: pair[0])[1]


def _fits(
    name: str, blocks: Blocks, gold: Ints, train: NDArray[np.bool_], dev: NDArray[np.bool_], classes: int
) -> Iterator[tuple[tuple[float, float], Fit]]:
    """((dev accuracy, minus dev log loss), fit) for every strength, the most regularised first."""
    rows = design_matrix(blocks, train)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(rows[train], gold[train])
        scores = np.zeros((len(gold), classes))
        scores[:, model.classes_] = model.predict_proba(rows)
        right = float((scores[dev].argmax(1) == gold[dev]).mean())
        loss = float(-np.log(np.maximum(scores[dev, gold[dev]], 1e-12)).mean())
        yield (right, -loss), Fit(name, strength, right, scores)


def codes(manifest: Manifest) -> Ints:
    """(N,) codes of the manifest's labels in its order, -1 where there is none."""
    code = {label: i for i, label in enumerate(manifest.labels)}
    return np.array([-1 if u.label is None else code[u.label] for u in manifest.utterances], dtype=np.int64)


def _rows(manifest: Manifest, split: Split) -> NDArray[np.bool_]:
    return np.array([u.split == split for u in manifest.utterances], dtype=np.bool_)
