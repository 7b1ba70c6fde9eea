"""The table of mistakes: what is in it, in which order, and that a spreadsheet runs nothing of it."""

from __future__ import annotations

import csv
from pathlib import Path

from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.evaluate import mistakes
from bemerc.language.predict.records import Prediction

LABELS = ("joy", "anger")


def manifest(*texts: str) -> Manifest:
    turns = tuple(Utterance(f"t{i}", "d", i, "Zoë", text, "joy", "test", None) for i, text in enumerate(texts))
    return Manifest(turns, LABELS, ("made",), Path())


def predicted(*joys: float) -> list[Prediction]:
    return [
        Prediction(f"t{i}", "joy", "joy" if joy >= 0.5 else "anger", {"joy": joy, "anger": 1 - joy})
        for i, joy in enumerate(joys)
    ]


def table(path: Path) -> list[list[str]]:
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "without the mark a spreadsheet breaks the ë"
    return list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_the_most_confident_mistake_of_the_last_variant_is_first_and_correct_rows_are_absent(tmp_path: Path) -> None:
    path = tmp_path / "mistakes.csv"
    given = {"T": predicted(0.9, 0.2, 0.9, 0.3), "TVB": predicted(0.8, 0.4, 0.1, 0.9)}
    assert mistakes.write(path, manifest("a", "b", "c", "d"), given) == 3
    head, *rows = table(path)
    variants = "T,T_confidence,T_p_gold,TVB,TVB_confidence,TVB_p_gold"
    assert ",".join(head) == f"id,dialogue,turn,speaker,text,gold,{variants}"
    assert [row[0] for row in rows] == ["t2", "t1", "t3"]
    assert rows[0] == ["t2", "d", "2", "Zoë", "c", "joy", "joy", "0.900", "0.900", "anger", "0.900", "0.100"]


def test_words_that_look_like_a_formula_stay_words(tmp_path: Path) -> None:
    path = tmp_path / "mistakes.csv"
    mistakes.write(
        path, manifest('=HYPERLINK("x")', "+1, really", "@home", "- no", "5 = 5"), {"T": predicted(*[0.1] * 5)}
    )
    texts = [row[4] for row in table(path)[1:]]
    assert texts == ['\'=HYPERLINK("x")', "'+1, really", "'@home", "'- no", "5 = 5"]


def test_a_variant_that_lacks_an_utterance_leaves_its_cells_empty(tmp_path: Path) -> None:
    path = tmp_path / "mistakes.csv"
    mistakes.write(path, manifest("a", "b"), {"T": predicted(0.1, 0.1), "TVB": predicted(0.1)})
    assert table(path)[2][-3:] == ["", "", ""]
