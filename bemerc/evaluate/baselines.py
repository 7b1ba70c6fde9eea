"""What a plain logistic regression makes of the same inputs, so that nobody takes a language model's number for granted.

The obvious baseline is a weak one that flatters the model. These are meant to win where they can: the same manifest and
splits, bag of words and the very behavior tokens that the model reads, several ways to turn K tokens into one row, all
columns standardised by train, and the way and the strength of the regularisation picked on dev (accuracy, then log
loss). Test is touched once, by the picked one. The baselines are ours; no paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from bemerc.corpus import Manifest, Modality, Split
from bemerc.errors import CorpusError
from bemerc.tokens import TokenFile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Input = Literal["words", "face", "pose", "audio"]

# What each baseline is given, beside the rung of the ladder that is given the same.
INPUTS: dict[str, tuple[Input, ...]] = {
    "words": ("words",),
    "words + voice": ("words", "audio"),
    "tokens": ("face", "pose", "audio"),
    "words + tokens": ("words", "face", "pose", "audio"),
}
RUNG_OF = {"words": "T", "words + voice": "TV", "words + tokens": "TVB"}
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
Way = Literal["flat", "summary"]
WAYS: tuple[Way, ...] = ("flat", "summary")


@dataclass(frozen=True)
class Fit:
    """A regression as picked on dev.

    features      the way that won, such as "unigrams, flat"
    strength      scikit-learn's C
    dev_accuracy  of the picked one, a fraction
    scores        (N, C) probabilities for all N utterances of the manifest in its order, C labels in its order
    """

    features: str
    strength: float
    dev_accuracy: float
    scores: Floats


def regressions(manifest: Manifest, tokens: TokenFile) -> Iterator[tuple[str, Fit]]:
    """Every baseline of INPUTS, one by one; those whose behavior the token file has nothing of are left out.

    Raises CorpusError where train or dev cannot carry a fit, or the token file lacks utterances.
    """
    for name, inputs in INPUTS.items():
        behavior = set(inputs) - {"words"}
        if not behavior or behavior & set(tokens.widths):
            yield name, regress(manifest, options(manifest, tokens, inputs))


def majority(manifest: Manifest) -> Floats:
    """(N, C): for every utterance the labels' shares in train, so that the answer is train's most frequent label."""
    gold = codes(manifest)[_rows(manifest, "train")]
    counts = np.bincount(gold[gold >= 0], minlength=len(manifest.labels)).astype(np.float64)
    if not counts.sum():
        raise CorpusError(
            "train has no labelled utterance, so there is no most frequent label. Run 'bemerc corpus check'."
        )
    return np.tile(counts / counts.sum(), (len(manifest.utterances), 1))


# ---------------------------------------------------------------------------------------------------------------- features


def options(manifest: Manifest, tokens: TokenFile, inputs: Sequence[Input]) -> dict[str, Floats]:
    """The ways to turn ``inputs`` into one row per utterance of the manifest: name -> (N, D), NaN where nothing was seen."""
    modalities = tuple(m for m in inputs if m != "words" and m in tokens.widths)
    texts = {"unigrams": words(manifest, 1), "unigrams and bigrams": words(manifest, 2)} if "words" in inputs else {}
    ids = [u.id for u in manifest.utterances]
    behavior: dict[str, Floats] = {way: pooled(tokens, ids, modalities, way) for way in WAYS} if modalities else {}
    if texts and behavior:
        return {f"unigrams, {way}": np.hstack([texts["unigrams"], matrix]) for way, matrix in behavior.items()}
    return texts or behavior


def words(manifest: Manifest, longest: int) -> Floats:
    """Counts (N, V) of each utterance's own words, or of runs of up to ``longest`` words.

    The vocabulary is train's: all that occurs there in two utterances or more, lower case, one-letter words too.
    """
    texts = [u.text for u in manifest.utterances]
    train = [texts[i] for i in np.flatnonzero(_rows(manifest, "train"))]
    vectorizer = CountVectorizer(ngram_range=(1, longest), token_pattern=r"(?u)\b\w+\b", min_df=2)
    try:
        vectorizer.fit(train)
    except ValueError:  # scikit-learn's only way to say that no word is left
        return np.zeros((len(texts), 0))
    return np.asarray(vectorizer.transform(texts).toarray(), dtype=np.float64)


def pooled(tokens: TokenFile, ids: Sequence[str], modalities: Sequence[Modality], way: Way) -> Floats:
    """Behavior tokens as one row per id, (N, D), NaN where a token is masked out.

    flat: all K tokens side by side; summary: mean, least and greatest over the present tokens. Beside them, per
    modality, the share of present tokens: the model sees the masks too.
    """
    missing = sorted(set(ids) - set(tokens.ids))
    if missing:
        raise CorpusError(
            f"The token file lacks {len(missing)} utterances of the manifest, such as {missing[0]}. Run 'dvc repro tokens'."
        )
    return np.stack(
        [np.concatenate([_row(tokens[id_][m].values, tokens[id_][m].mask, way) for m in modalities]) for id_ in ids]
    )


def _row(values: NDArray[Any], mask: NDArray[np.bool_], way: Way) -> Floats:
    seen = np.where(mask[:, None], values, np.nan).astype(np.float64)
    if way == "flat":
        parts = [seen.ravel()]
    else:
        present = seen[mask] if mask.any() else seen[:1]
        parts = [present.mean(0), present.min(0), present.max(0)]
    return np.concatenate([*parts, [mask.mean()]])


def standardised(matrix: Floats, train: NDArray[np.bool_]) -> Floats:
    """Columns to mean 0 and deviation 1 by the rows ``train``; what is NaN becomes 0, the mean of what train has seen.

    A column that is constant or never seen in train is left out; if none is left, one column of zeros stands for them.
    """
    known = np.isfinite(matrix)
    filled = np.where(known, matrix, 0.0)
    seen = np.maximum(known[train].sum(0), 1)
    mean = filled[train].sum(0) / seen
    centred = np.where(known, filled - mean, 0.0)
    deviation = np.sqrt((centred[train] ** 2).sum(0) / seen)
    keep = deviation > 1e-9
    return np.asarray(centred[:, keep] / deviation[keep]) if keep.any() else np.zeros((len(matrix), 1))


# --------------------------------------------------------------------------------------------------------------------- fit


def regress(manifest: Manifest, ways: Mapping[str, Floats], gold: Ints | None = None) -> Fit:
    """The best regression on dev over ``ways`` (name -> (N, D)) and STRENGTHS.

    gold: (N,) codes to fit instead of the manifest's, -1 = unlabelled (the controls shuffle them).
    Raises CorpusError if train has fewer than two labels or dev has none.
    """
    gold = codes(manifest) if gold is None else gold
    train, dev = (_rows(manifest, split) & (gold >= 0) for split in ("train", "dev"))
    if len(set(gold[train])) < 2 or not dev.any():
        raise CorpusError(
            f"The regressions need two labels in train and a labelled utterance in dev; there are {len(set(gold[train]))} and {dev.sum()}. "
            "Run 'bemerc corpus check'."
        )
    fits = [fit for name, matrix in ways.items() for fit in _fits(name, matrix, gold, train, dev, len(manifest.labels))]
    return max(fits, key=lambda pair: pair[0])[1]


def _fits(
    name: str, matrix: Floats, gold: Ints, train: NDArray[np.bool_], dev: NDArray[np.bool_], classes: int
) -> Iterator[tuple[tuple[float, float], Fit]]:
    """((dev accuracy, minus dev log loss), fit) for every strength, the most regularised first."""
    rows = standardised(matrix, train)
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=10_000).fit(rows[train], gold[train])
        scores = np.zeros((len(rows), classes))
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
