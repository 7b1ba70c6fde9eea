"""The sentences and tables of a judgment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from bemerc.corpus.conflict import Subset
from bemerc.evaluate import compare, formatting
from bemerc.evaluate.conflict.items import CONFLICTS, JUDGED, SIDES
from bemerc.evaluate.conflict.judge import Judgment, Row
from bemerc.evaluate.formatting import cell, points, signed, table
from bemerc.evaluate.intervals import ALPHA, Interval

SUBSET_TITLES: Mapping[Subset, str] = {
    "consistent": "they agree",
    "video_aligned": "the face is right",
    "audio_aligned": "the voice is right",
}
WAY_TITLES = {"labels": "by people", "predictors": "by predictors of one side alone, where they are sure"}
SWAP_TITLES = {"face": "another face and body", "voice": "another voice, with its words and turns before"}
FEW_ITEMS = 30  # of a subset, below which the page warns
NOTHING = "There are no conflict items to judge"


def ranged(interval: Interval, sign: bool = False) -> str:
    """Value and interval in per cent, or points with a sign."""
    return formatting.ranged(asdict(interval), signed if sign else points)


# ------------------------------------------------------------------------------------------------------------- Markdown


def markdown(judged: Judgment, before: Mapping[str, int], why: str = "") -> str:
    """The page. ``before``, ``why``: see report.write."""
    parts = ["# When face and voice disagree"]
    if not judged.rows:
        reason = why or f"The {judged.split} split of the conflict set holds none, or no system was named."
        return "\n\n".join([*parts, f"{NOTHING}. {reason}"]) + "\n"
    parts += [_what(judged), *[reading(judged, row) for row in judged.rows], *_missing(judged), _access(judged, before)]
    sections = (_accuracies, _f1, _against, _strength, _recombined, _sets)
    parts += [part for section in sections for part in section(judged)]
    return "\n\n".join([part for part in (*parts, *_method(judged)) if part]) + "\n"


def _what(judged: Judgment) -> str:
    counts = [f"{_utterances(judged.counts[kind].items)} where {SUBSET_TITLES[kind]}" for kind in JUDGED]
    sentences = [f"Judged on the {judged.split} split: {', '.join(counts)}."]
    if judged.ways:
        ways = [f"{WAY_TITLES[way]}{f' ({n})' if len(judged.ways) > 1 else ''}" for way, n in judged.ways.items()]
        sentences.append(f"What each side shows was decided {' and '.join(ways)}.")
    if recombined := judged.counts["recombined"].items:
        sentences.append(
            f"Beside them {recombined} recombined items: the face and body of one utterance with the voice and words of another."
        )
    if judged.left_out:
        sentences.append(f"{_utterances(judged.left_out)} in which neither side shows the label: left out.")
    few = [kind for kind in JUDGED if 0 < judged.counts[kind].items < FEW_ITEMS]
    if few:
        sentences.append(
            f"**Fewer than {FEW_ITEMS} items** stand behind {' and '.join(_quoted(kind) for kind in few)}: such numbers are "
            "hardly known, and an interval without width says that few dialogues agree, not that the number is certain."
        )
    return " ".join(sentences)


def _utterances(n: int) -> str:
    return f"{n} utterance{'s' * (n != 1)}"


def _quoted(kind: Subset) -> str:
    return f'"{SUBSET_TITLES[kind]}"'


def reading(judged: Judgment, row: Row) -> str:
    """In a sentence: which side a system follows."""
    name, right = cell(row.name), {kind: row.subsets[kind]["accuracy"].value for kind in JUDGED}
    low, high = row.gap.low, row.gap.high
    if row.gap.value is None:
        return _by_recombined(row)
    scores = (
        f"right in {points(right['video_aligned'])} % where the face is right and in {points(right['audio_aligned'])} % "
        f"where the voice is, a signed gap of {ranged(row.gap, sign=True)}"
    )
    if right["consistent"] is not None:
        scores += f" ({points(right['consistent'])} % where they agree)"
    if low is None or high is None:
        return f"**{name}**: {scores}; one dialogue is too little to say which side is followed."
    if low > 0 or high < 0:
        return f"**{name} follows the {'face' if low > 0 else 'voice'}** where the two disagree: {scores}."
    return f"**{name}**: no preference for either side is shown: {scores}."


def _by_recombined(row: Row) -> str:
    if row.recombined is None:
        return ""
    of, name = row.recombined, cell(row.name)
    return (
        f"**{name}** predicts the face's emotion in {points(of.face.value)} % of the recombined items and the voice's in "
        f"{points(of.voice.value)} %."
    )


def _missing(judged: Judgment) -> list[str]:
    """What a side without items means, in a sentence."""
    missing = [kind for kind in JUDGED if not judged.counts[kind].items]
    if not missing:
        return []
    lacking = ["overall"]
    if set(missing) & set(CONFLICTS):
        lacking += ["conflict", "the signed gap", "reliance"]
    lacking += ["S"] if judged.baseline else []
    which = " and ".join(map(_quoted, missing))
    return [f"No item of this split is of {which}, so there is no number for it, and none for {', '.join(lacking)}."]


def _access(judged: Judgment, before: Mapping[str, int]) -> str:
    some = [f"{cell(name)} ({n})" for name, n in before.items() if n]
    if judged.split != "test" or not some:
        return ""
    return (
        f"**Test was used before, with other predictions of {', '.join(some)}** ([test_access.jsonl](test_access.jsonl)): "
        "where the best of several is kept, its numbers are optimistic."
    )


def _accuracies(judged: Judgment) -> list[str]:
    several = any(row.seeds > 1 for row in judged.rows)
    titles = [f"{SUBSET_TITLES[kind]} (n = {judged.counts[kind].items})" for kind in JUDGED]
    head = ["accuracy", *(["seeds"] if several else []), *titles, "conflict", "overall", "signed gap", "reliance"]
    rows = [
        [
            cell(row.name),
            *([str(row.seeds)] if several else []),
            *(ranged(row.subsets[kind]["accuracy"]) for kind in JUDGED),
            *(ranged(one) for one in (row.conflict, row.overall)),
            *(ranged(one, sign=True) for one in (row.gap, row.reliance)),
        ]
        for row in judged.rows
    ]
    return [
        "## Where they agree, and where they do not",
        table(head, rows),
        "Conflict: the mean of the two accuracies where face and voice disagree; overall: the mean of the three. **Signed "
        "gap**: accuracy where the face is right minus accuracy where the voice is; above 0 the face is followed. "
        "**Reliance**: how often the voice's wrong emotion is predicted where the face is right, minus how often the face's "
        "is where the voice is right; above 0 the voice is followed.",
    ]


def _f1(judged: Judgment) -> list[str]:
    rows = [[cell(row.name), *(ranged(row.subsets[kind]["weighted_f1"]) for kind in JUDGED)] for row in judged.rows]
    return [table(["weighted F1", *(SUBSET_TITLES[kind] for kind in JUDGED)], rows)]


def _against(judged: Judgment) -> list[str]:
    rows = [row for row in judged.rows if row.against is not None]
    if not rows or judged.baseline is None:
        return []
    base = cell(judged.baseline)
    lines = []
    for row in rows:
        assert row.against is not None
        cells = [_difference(one) for one in (row.against.specificity, row.against.absolute_gap)]
        lines.append([cell(row.name), *cells[0], *cells[1]])
    return [
        f"## Against {base}",
        table(["points", "S", "p (Holm)", "size of the gap", "p (Holm)"], lines),
        f"S, conflict specificity: what a system gains over {base} in conflict, less what it gains where face and voice "
        f"agree; above 0 it gains on the conflicts themselves. Size of the gap: the absolute value of the signed gap, less "
        f"{base}'s; below 0 the sides are followed more alike. Paired: the same items, the same resamples.",
        *[" ".join(filter(None, (_verdict(row, base) for row in rows)))],
    ]


def _difference(one: compare.Difference | None) -> tuple[str, str]:
    if one is None:
        return "–", "–"
    return formatting.ranged(asdict(one.gap), signed), compare.p_value(one.p_holm)


def _verdict(row: Row, base: str) -> str:
    assert row.against is not None
    one = row.against.specificity
    if one is None or one.detectable is None or one.p_holm < ALPHA:
        return ""
    return (
        f"Of {cell(row.name)} no S other than 0 is shown; one of {100 * one.detectable:.1f} points would have been found four "
        "times in five."
    )


def _strength(judged: Judgment) -> list[str]:
    parts = ["## By strength of the conflict", "![By strength](strength.png)"]
    counts = judged.quartiles["conflict"]
    if not sum(counts):
        return parts
    head = ["accuracy in conflict", *(f"{title} (n = {n})" for title, n in zip(_quarters(), counts, strict=True))]
    rows = [[cell(row.name), *(ranged(one) for one in row.quartiles)] for row in judged.rows]
    return [*parts, table(head, rows), _of_strength(counts)]


def _quarters() -> tuple[str, ...]:
    return ("weakest quarter", "second", "third", "strongest quarter")


def _of_strength(counts: Sequence[int]) -> str:
    sentence = (
        "Strength is the Jensen-Shannon distance between what the two sides show; the quarters are those of train's "
        "conflicts, and accuracy is that of both conflicts together."
    )
    if sum(n > 0 for n in counts) == 1:
        sentence += " All conflicts of this split are in one quarter: by this measure they are equally strong."
    return sentence


def _recombined(judged: Judgment) -> list[str]:
    rows = [(row.name, row.recombined) for row in judged.rows if row.recombined is not None]
    if not rows:
        return []
    follows = [
        [cell(name), *(ranged(one) for one in (of.face, of.voice, of.neither)), ranged(of.lean, sign=True)]
        for name, of in rows
    ]
    swaps = [
        [
            f"{cell(name)}: {SWAP_TITLES[side]}",
            *(ranged(of.shifts[side][which], sign=True) for which in ("to_new", "from_old")),
        ]
        for name, of in rows
        for side in SIDES
        if side in of.shifts
    ]
    n = judged.counts["recombined"].items
    return [
        "## Recombined items",
        table([f"predicted (n = {n})", "the face's emotion", "the voice's", "neither", "face minus voice"], follows),
        "Nobody labelled these: they show which side is followed, not which is right. Their words go with the voice, so "
        "that a model which reads words well follows the voice by them.",
        *([_swaps(swaps)] if swaps else []),
        *([_by_label(judged)] if swaps else []),
        "Item by item: [items.csv](items.csv).",
    ]


def _swaps(rows: Iterable[Sequence[str]]) -> str:
    return "\n\n".join(
        [
            "What one swap does to the probabilities of the utterance that keeps its other side, in points:",
            table(["swapped in", "the emotion that comes in", "the emotion that goes"], rows),
        ]
    )


def _by_label(judged: Judgment) -> str:
    lines = [
        [
            f"{cell(row.name)}: {SWAP_TITLES[side]}",
            *(signed(row.recombined.by_label[side][label].value) for label in judged.labels),
        ]
        for row in judged.rows
        if row.recombined is not None
        for side in SIDES
        if side in row.recombined.by_label
    ]
    return "\n\n".join(
        [
            "The rise of each label's probability when a side that shows it is swapped in, in points:",
            table(["swapped in", *map(cell, judged.labels)], lines),
        ]
    )


def _sets(judged: Judgment) -> list[str]:
    rows = [(row.name, row.sets) for row in judged.rows if row.sets is not None]
    if not rows:
        return []
    head = ["accuracy / recall / mean", *(SUBSET_TITLES[kind] for kind in JUDGED)]
    lines = [
        [cell(name), *(" / ".join(points(one.value) for one in sets[kind].values()) for kind in JUDGED)]
        for name, sets in rows
    ]
    return [
        "## Sets of labels",
        table(head, lines),
        f"CA-MER's public metric on the {judged.counts['gold_sets'].items} items that have a set of gold labels: predicted "
        "labels that are right, over the predicted ones (accuracy) and over the gold ones (recall). Another number than the "
        "accuracies above, which force one label.",
    ]


def _method(judged: Judgment) -> list[str]:
    return [
        "## How the numbers were computed",
        f"Per cent and points, with {100 * judged.confidence:g} % intervals over dialogues"
        f"{' and training seeds' if any(row.seeds > 1 for row in judged.rows) else ''} ({judged.resamples} resamples of whole "
        "dialogues, the same for all systems). Every number is computed per training seed and averaged. Subsets, conflict, "
        "overall and S are CA-MER's; the signed gap, reliance, and what recombined items show are bemerc's.",
    ]


def terminal(judged: Judgment) -> str:
    """The accuracies and the gap for a terminal, and which side each system follows."""
    if not judged.rows:
        return f"{NOTHING}."
    head = ["", *(f"{SUBSET_TITLES[kind]} ({judged.counts[kind].items})" for kind in JUDGED), "signed gap"]
    rows = [
        [row.name, *(ranged(row.subsets[kind]["accuracy"]) for kind in JUDGED), ranged(row.gap, sign=True)]
        for row in judged.rows
    ]
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in (head, *rows)]
    readings = [reading(judged, row).replace("**", "") for row in judged.rows]
    return "\n".join(
        [f"{judged.split}, accuracy in per cent:", *lines, "", *filter(None, (*readings, *_missing(judged)))]
    )


# ---------------------------------------------------------------------------------------------------------------- LaTeX


def latex(judged: Judgment) -> str:
    """The accuracies, the gap and S as a table for a paper (booktabs)."""
    with_s = judged.baseline is not None
    head = [
        "System",
        "Seeds",
        "Agree",
        "Face right",
        "Voice right",
        "Conflict",
        "Gap",
        "Reliance",
        *(["$S$"] if with_s else []),
    ]
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    for row in judged.rows:
        cells = [
            row.name,
            str(row.seeds),
            *(ranged(row.subsets[kind]["accuracy"]) for kind in JUDGED),
            ranged(row.conflict),
        ]
        cells += [ranged(row.gap, sign=True), ranged(row.reliance, sign=True)]
        if with_s:
            cells.append("" if row.against is None else _difference(row.against.specificity)[0])
        lines.append(" & ".join(compare.tex(text).replace("–", "--") for text in cells) + r" \\")
    counts = ", ".join(f"{SUBSET_TITLES[kind]} {judged.counts[kind].items}" for kind in JUDGED)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"% {judged.split}, items: {counts}."])
