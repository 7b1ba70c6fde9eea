"""Lists of utterances that people look at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bemerc.view.dialogue_data import DialogueData

_SURE = 0.7  # a wrong answer of a lower probability is no surprise
_LONGEST = 200  # of a list: what comes after is seldom looked at


def of(dialogues: Sequence[DialogueData]) -> list[dict[str, Any]]:
    """The lists that have an entry: name, how many there are, and the first of them: dialogue number, id, why."""
    wrong: list[tuple[float, dict[str, Any]]] = []
    disagree, uncertain, nothing = [], [], []
    for number, dialogue in enumerate(dialogues):
        for turn in dialogue.header["utterances"]:
            entry = {"dialogue": number, "id": turn["id"]}
            label, predicted = turn["label"], turn["predicted"]
            if label is not None and predicted is not None and label != predicted:
                sure = turn["scores"][predicted]
                if sure >= _SURE:
                    wrong.append((-sure, entry | {"why": f"{label}, predicted {predicted} ({sure:.2f})"}))
            if turn["conflict"]:
                sides = turn["conflict"]
                disagree.append(entry | {"why": f"voice {sides['voice']}, face {sides['face']}"})
            choice = turn["choice"]
            if choice and choice["uncertain"]:
                faces = f"{choice['faces']} face{'s' * (choice['faces'] != 1)}"
                uncertain.append(entry | {"why": f"score {choice['score']:.2f}, up to {faces}"})
            if lacking := [m for m in dialogue.header["modalities"] if not turn["covered"].get(m)]:
                nothing.append(entry | {"why": ", ".join(lacking)})
    lists = (
        (
            f"Wrong and sure: probability {_SURE} or more",
            [entry for _, entry in sorted(wrong, key=lambda pair: pair[0])],
        ),
        ("Face and voice disagree", disagree),
        ("Target face uncertain", uncertain),
        ("Nothing measured", nothing),
    )
    return [{"name": name, "count": len(entries), "entries": entries[:_LONGEST]} for name, entries in lists if entries]
