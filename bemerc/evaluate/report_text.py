"""Findings in words: the terminal's table, and the report that a person reads from the top.

A table of numbers leaves the reader to find out who won. The report opens with that in plain words, and where a plain
regression beats the language model it says so there. Everything below is in the order of the questions that follow:
what each step of the ladder adds, for which labels, for whom, and how the numbers were made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bemerc.corpus.manifest import Manifest
from bemerc.evaluate import baselines
from bemerc.evaluate.formatting import HEADLINE, METRIC_TITLES, cell, points, ranged, signed, table
from bemerc.evaluate.results import MAJORITY, Findings, in_groups, regression

GIVEN = {"T": "words", "V": "voice", "B": "face and body"}
# What a regression sees.
SEEN = {"words": "own words", "window": "the prompt's window", "voice": "voice", "tokens": "tokens"}
CORPUS_TITLES = {"sample": "the embedded sample", "meld": "MELD", "iemocap": "IEMOCAP"}
CASE_TITLES = {
    "all": "words, face and voice",
    "words": "words only",
    "face": "face and body only",
    "voice": "voice only",
    "face_true": "face and body; the voice says another",
    "voice_true": "voice; face and body say another",
}
GROUP_TITLES = {
    "seen_speakers": "speakers that train has seen",
    "unseen_speakers": "speakers that train has not seen",
    "shift": "the speaker's label changes from the last turn",
    "steady": "the speaker's label stays",
    "one_face": "one face in the clip",
    "several_faces": "several faces in a frame of the clip, of which one was measured",
}


def title(system: str) -> str:
    """A system as people read it: "TVB: words, voice, face and body", "regression on own words and tokens"."""
    if system == MAJORITY:
        return "always the most frequent label"
    if system.startswith("regression_"):
        return "regression on " + " and ".join(SEEN[part] for part in system.removeprefix("regression_").split("_"))
    inputs = [GIVEN[letter] for letter in system if letter in GIVEN]
    return f"{system}: {', '.join(inputs)}" if inputs and set(system) <= set(GIVEN) else system


def format_table(metrics: Mapping[str, Any]) -> str:
    """metrics.json as a table for a terminal: systems, then differences, in per cent and points with intervals."""
    test = metrics["test"]
    rows = [("", *METRIC_TITLES.values())]
    rows += [(title(name), *(ranged(of[m]) for m in METRIC_TITLES)) for name, of in metrics["systems"].items()]
    rows += [
        (_difference_title(name), *(ranged(of[m], signed) for m in METRIC_TITLES))
        for name, of in metrics["differences"].items()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    systems = len(metrics["systems"]) + 1
    head = f"test: {test['utterances']} utterances in {test['dialogues']} dialogues; per cent [{100 * test['confidence']:g} % interval]"
    return "\n".join([head, rule, lines[0], rule, *lines[1:systems], rule, *lines[systems:], rule])


def _difference_title(name: str) -> str:
    b, a = name.split(" - ")
    return (
        f"{b} - {a}: behavior's worth"
        if (a, b) == ("TV", "TVB")
        else f"{b} - {title(a) if a.startswith('regression') else a}"
    )


def opening(found: Findings, before: Mapping[str, int]) -> list[str]:
    """The first paragraphs: what was measured on what, who wins, what behavior is worth, what the numbers are not."""
    return [
        _what(found, before),
        " ".join([_worth(found.numbers), *_rivals(found), _winner(found)]),
        _caveat(found.manifest),
    ]


def _what(found: Findings, before: Mapping[str, int]) -> str:
    numbers = found.numbers
    corpora = " and ".join(CORPUS_TITLES.get(name, name) for name in found.manifest.corpora)
    named = "; ".join(title(v) for v in found.variants)
    return (
        f"Emotion recognition in conversation, judged on the test split of {corpora}: {numbers['utterances']} labelled utterances in "
        f"{numbers['dialogues']} dialogues, {len(numbers['labels'])} labels. One language model was tuned for each set of inputs ({named}). "
        f"Dev picked the epoch and the temperature. {_looks(before)} Beside the models stand plain logistic regressions: "
        "on what a model reads (the words and speakers of the prompt's window, and the behavior tokens), and on the utterance's own words in place of the window's."
    )


def _looks(before: Mapping[str, int]) -> str:
    """How often test was looked at; ``before``: variant -> with how many other predictions."""
    some = [f"{name} ({n} set{'s' if n > 1 else ''})" for name, n in before.items() if n]
    if not some:
        return "Test was looked at once, here."
    return (
        f"**Test had been looked at before, with other predictions of {', '.join(some)}** ([test_looks.jsonl](test_looks.jsonl)): "
        "where the best of several is kept, its numbers are kind."
    )


def _worth(numbers: Mapping[str, Any]) -> str:
    if "TVB - TV" not in numbers["differences"]:
        return ""
    worth = numbers["differences"]["TVB - TV"][HEADLINE]
    opens = f"**Behavior's worth, TVB minus TV, is {signed(worth['value'])} points of weighted F1{_in_words(worth)}**"
    return f"{opens}: {_reading(worth, 'face and body add to words and voice', 'face and body make it worse')}."


def _in_words(measured: Mapping[str, float | None]) -> str:
    return "" if measured["low"] is None else f" (interval {signed(measured['low'])} to {signed(measured['high'])})"


def _reading(measured: Mapping[str, float | None], above: str, below: str) -> str:
    low, high = measured["low"], measured["high"]
    if low is None or high is None:
        return "one dialogue is too little to say more"
    if low > 0:
        return above
    return below if high < 0 else "on this test set that cannot be told from nothing"


def _rivals(found: Findings) -> list[str]:
    """One sentence per regression that is set against a variant, those that see what it sees first."""
    said = []
    for name, rung in sorted(baselines.RUNG_OF.items(), key=lambda pair: (pair[1], "window" not in pair[0])):
        gap = found.numbers["differences"].get(f"{rung} - {regression(name)}")
        if gap is None or gap[HEADLINE]["value"] is None:
            continue
        value = gap[HEADLINE]["value"]
        unsure = "" if not _unsure(gap[HEADLINE]) else ", which may be chance"
        if value < 0:
            said.append(f"**The plain {title(regression(name))} beats {rung}** by {points(-value)} points{unsure}.")
        else:
            said.append(f"{rung} is {points(value)} points ahead of the plain {title(regression(name))}{unsure}.")
    return said


def _unsure(measured: Mapping[str, float | None]) -> bool:
    return measured["low"] is None or measured["high"] is None or measured["low"] <= 0 <= measured["high"]


def _winner(found: Findings) -> str:
    systems = found.numbers["systems"]
    best = max(systems, key=lambda name: systems[name][HEADLINE]["value"])
    return f"Best of all by weighted F1: {title(best)} with {points(systems[best][HEADLINE]['value'])} (accuracy {points(systems[best]['accuracy']['value'])})."


def _caveat(manifest: Manifest) -> str:
    said = "The labels are *perceived* emotion: what annotators saw and heard in somebody, not what that person felt."
    if "sample" in manifest.corpora:
        said = (
            "The sample is a made corpus: warped pictures of one face and a speech synthesiser, with the emotions planted. Its numbers say that the plumbing works "
            "and that each modality gets through; they say nothing about people, and nothing about how the method does on MELD or IEMOCAP. Its labels are what the maker planted; "
            "in a real corpus they are *perceived* emotion, what annotators saw and heard in somebody, not what that person felt."
        )
    return said


# ---------------------------------------------------------------------------------------------------------------- Markdown


def markdown(found: Findings, has_curves: bool, before: Mapping[str, int]) -> str:
    """The report; pictures are linked relative to its own folder. ``before``: see looks.py."""
    parts = [
        "# What the predictions are worth",
        *[paragraph for paragraph in opening(found, before) if paragraph],
        *_ladder_section(found),
        *_differences_section(found),
        *_label_section(found),
        *_group_section(found),
        *_case_section(found),
        "## Mistakes",
        "Every test utterance that a variant got wrong, with what each said and how sure it was, is in "
        "[mistakes.csv](mistakes.csv), which a spreadsheet opens; the last variant's surest mistakes stand first.",
        *(["## Training", "![Training curves](plots/training.png)"] if has_curves else []),
        *_method_section(found),
    ]
    return "\n\n".join(parts) + "\n"


def _ladder_section(found: Findings) -> list[str]:
    systems = found.numbers["systems"]
    head = ["", *METRIC_TITLES.values(), "calibration error", *(["best possible accuracy"] if found.ceilings else [])]
    rows = [
        [
            title(name),
            *(ranged(systems[name][m]) for m in METRIC_TITLES),
            points(systems[name]["ece"]),
            *([points(found.ceilings.get(name))] if found.ceilings else []),
        ]
        for group in in_groups(found)
        for name in group
    ]
    note = f"{_per_cent(found.numbers)} Calibration error: how far the probabilities are from the share that is right (ECE, 15 bins); a model's are at the temperature fitted on dev."
    if found.ceilings:
        note += " Best possible accuracy: worked out by the sample's maker from what it planted where; only a made corpus has such a number."
    return [
        "## The ladder: words, then voice, then face and body",
        "![The ladder](plots/ladder.png)",
        table(head, rows),
        note,
    ]


def _per_cent(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Per cent; one dialogue is too little for intervals."
    return f"Per cent, with {100 * numbers['confidence']:g} % intervals."


def _differences_section(found: Findings) -> list[str]:
    differences = found.numbers["differences"]
    if not differences:
        return []
    rows = [
        [_difference_title(name), *(ranged(of[m], signed) for m in METRIC_TITLES)] for name, of in differences.items()
    ]
    return [
        "## What each step adds",
        table(["", *METRIC_TITLES.values()], rows),
        _of_points(found.numbers),
        "What face and body are worth is TVB minus TV, not TVB minus T, since TV has the voice already.",
    ]


def _of_points(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Points, on the same utterances; one dialogue is too little for intervals."
    return "Points, on the same utterances, with paired intervals: an interval without 0 in it is a difference that is hardly chance."


def _label_section(found: Findings) -> list[str]:
    systems, labels = found.numbers["systems"], found.numbers["labels"]
    names = [*found.variants, *(name for name in systems if name.startswith("regression_"))]
    head = ["label", "utterances", *(title(name) if name not in found.variants else name for name in names)]
    first = systems[names[0]]["per_class"]
    rows = [
        [label, f"{first[label]['support']:.0f}", *(points(systems[n]["per_class"][label]["f1"]) for n in names)]
        for label in labels
    ]
    parts = [
        "## Label by label",
        "![F1 per label](plots/per_class.png)",
        "F1 per label, per cent (precision and recall: plots/per_class.csv).",
        table(head, rows),
    ]
    return [*parts, "![What is taken for what](plots/confusion.png)"]


def _group_section(found: Findings) -> list[str]:
    systems = found.numbers["systems"]
    sizes = {name: of["utterances"] for name, of in systems[found.variants[0]]["groups"].items()}
    rows = [
        [GROUP_TITLES[g], str(n), *(ranged(systems[v]["groups"][g]["accuracy"]) for v in found.variants)]
        for g, n in sizes.items()
        if n
    ]
    of_speakers = {v: systems[v]["speakers"] for v in found.variants}
    speakers = sorted(of_speakers[found.variants[0]].items(), key=lambda item: (-item[1]["utterances"], item[0]))[:12]
    speaker_rows = [
        [cell(name), f"{of['utterances']:.0f}", *(points(of_speakers[v][name]["accuracy"]) for v in found.variants)]
        for name, of in speakers
    ]
    return [
        "## For whom, and when",
        table(["accuracy", "utterances", *found.variants], rows),
        "A turn counts as a change against the same speaker's turn before it in the dialogue; first turns are in neither row.",
        f"The {len(speakers)} speakers with most test utterances:",
        table(["accuracy", "utterances", *found.variants], speaker_rows),
    ]


def _case_section(found: Findings) -> list[str]:
    if not found.cases:
        return []
    names = [*found.variants, *(n for n in found.numbers["systems"] if n.startswith("regression_"))]
    head = [
        "accuracy by who carries the emotion",
        "utterances",
        *(n if n in found.variants else title(n) for n in names),
    ]
    rows = [
        [CASE_TITLES[case], str(next(iter(of.values()))[1]), *(points(of[n][0]) for n in names)]
        for case, of in found.cases.items()
    ]
    return [
        "## The sample's own: who carried the emotion",
        "Only the maker of a made corpus knows which modalities carried the emotion; no model was told. Chance differs between the rows, and the rows are small.",
        table(head, rows),
    ]


def _method_section(found: Findings) -> list[str]:
    numbers = found.numbers
    picked = "; ".join(
        f"{title(regression(n))}: {fit.features}, C = {fit.strength:g} (dev accuracy {points(fit.dev_accuracy)})"
        for n, fit in found.fits.items()
    )
    return [
        "## How the numbers were made",
        _intervals(numbers),
        "Regressions: columns scaled by train, picked on dev between a few ways and strengths; behavior tokens side by side or as mean, least and greatest. "
        '"Own words" are the utterance\'s; "words and speakers in the window" are those and, as counts, the words and speakers of the turns before it that a prompt shows, and who speaks. '
        f"Picked: {picked}.",
        "Metrics are scikit-learn's: weighted F1 by support, macro F1 over the labels that occur.",
    ]


def _intervals(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Intervals: none, since one dialogue does not say what another would change."
    return (
        f"Intervals: Student's t with the deviation over {numbers['resamples']} resamples of whole dialogues, the same resamples for every system. They hold what another draw of "
        "dialogues would change; what another seed of the training would change is not in them (`bemerc compare` takes several seeds)."
    )
