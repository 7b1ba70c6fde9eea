"""Labels go by name: aliases in, canonical names out, unknown names refused, sets mapped explicitly."""

from __future__ import annotations

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus.labels import ALIASES, LABEL_SETS, canonical, fault, label_set, mapping, names
from tests.errors import raises

MELD, SIX = LABEL_SETS["meld"], LABEL_SETS["iemocap6"]


@pytest.mark.parametrize(
    ("written", "meld", "six"),
    [
        ("joy", "joy", "happy"),
        ("joyful", "joy", "happy"),
        ("hap", "joy", "happy"),
        ("Sad", "sadness", "sad"),
        (" ANGER ", "anger", "angry"),
        ("neu", "neutral", "neutral"),
        ("exc", None, "excited"),
        ("fear", "fear", None),
        ("bored", None, None),
    ],
)
def test_a_spelling_means_a_label_of_its_set(written: str, meld: str | None, six: str | None) -> None:
    assert canonical(written, names(MELD)) == meld
    assert canonical(written, names(SIX)) == six


@pytest.mark.parametrize("spec", LABEL_SETS)
def test_in_no_set_do_two_labels_share_a_spelling(spec: str) -> None:
    labels = LABEL_SETS[spec]
    spellings = [s.casefold() for label in labels for s in {label, *ALIASES.get(label, ())}]
    assert len(spellings) == len(set(spellings))


def test_an_unknown_label_lists_the_labels_and_the_nearest() -> None:
    assert fault("suprised", names(MELD)) == (
        "the label 'suprised' is unknown; the known ones are neutral, joy, sadness, anger, surprise, fear, disgust. "
        "Did you mean 'surprise'?"
    )


def test_ones_own_spellings() -> None:
    assert canonical("freude", names(MELD, {"Freude": "joy"})) == "joy"
    with raises(CorpusError, name="Freude"):
        names(MELD, {"Freude": "happy"})


def test_label_sets_by_name_or_list() -> None:
    assert label_set("iemocap4") == ("happy", "sad", "neutral", "angry")
    assert label_set(["calm", "upset"]) == ("calm", "upset")
    with raises(CorpusError, name="MELD"):
        label_set("MELD")
    with pytest.raises(CorpusError, match="different names"):
        label_set(["calm", "calm"])


def test_a_map_says_where_every_label_goes() -> None:
    given = {"happy": "joy", "excited": "joy", "sad": "sadness", "angry": "anger", "frustrated": None}
    assert mapping("iemocap", SIX, MELD, given) == given | {"neutral": "neutral"}
    assert mapping("meld", MELD, MELD, None) == {label: label for label in MELD}
    assert mapping("meld", MELD, MELD, {"disgust": "anger"})["disgust"] == "anger"


def test_a_map_that_forgets_or_invents_is_refused_at_once() -> None:
    with pytest.raises(CorpusError) as error:
        mapping("iemocap", SIX, MELD, {"happy": "happiness", "boredom": "neutral"})
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert "'boredom' is not a label of iemocap" in lines[0]
    assert "'happiness' is not in the label set" in lines[1]
    assert "say where sad, angry, excited, frustrated should go" in lines[2]
