"""The text of the report, and the table for a terminal.

The report opens with which system is best, in plain words, also where a regression beats the language model. Then
come, in this order: what each step of the ladder adds, for which labels, for which speakers, and how the numbers were
computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bemerc.corpus.corpora import CORPORA
from bemerc.corpus.manifest import Manifest
from bemerc.evaluate import baselines
from bemerc.evaluate.formatting import HEADLINE, METRIC_TITLES, cell, points, ranged, signed, table
from bemerc.evaluate.results import MAJORITY, Results, in_groups, regression

LETTER_TITLES = {"T": "words", "V": "voice", "B": "face and body"}
# The inputs of a regression.
_WORTH_IS = "What face and body are worth is TVB minus TV, not TVB minus T, since TV has the voice already."
INPUT_TITLES = {"words": "own words", "window": "the prompt's window", "voice": "voice", "tokens": "tokens"}
CASE_TITLES = {
    "all": "words, face and voice",
    "words": "words only",
    "face": "face and body only",
    "voice": "voice only",
    "face_true": "face and body; the voice says another",
    "voice_true": "voice; face and body say another",
}
GROUP_TITLES = {
    "train_speakers": "speakers in train",
    "new_speakers": "speakers not in train",
    "shift": "the speaker's label changes from the last turn",
    "steady": "the speaker's label stays",
    "one_face": "one face in the clip",
    "several_faces": "several faces in a frame of the clip",
}


def title(system: str) -> str:
    """A system's title: "TVB: words, voice, face and body", "regression on own words and tokens"."""
    if system == MAJORITY:
        return "always the most frequent label"
    if system.startswith("regression_"):
        return "regression on " + " and ".join(
            INPUT_TITLES[part] for part in system.removeprefix("regression_").split("_")
        )
    inputs = [LETTER_TITLES[letter] for letter in system if letter in LETTER_TITLES]
    return f"{system}: {', '.join(inputs)}" if inputs and set(system) <= set(LETTER_TITLES) else system


def format_table(metrics: Mapping[str, Any]) -> str:
    """metrics.json as a table for a terminal: systems, then differences, in per cent and points with intervals."""
    test = metrics["test"]
    rows = [("", *METRIC_TITLES.values())]
    rows += [
        (title(name), *(ranged(metrics_of[m]) for m in METRIC_TITLES))
        for name, metrics_of in metrics["systems"].items()
    ]
    rows += [
        (_difference_title(name), *(ranged(metrics_of[m], signed) for m in METRIC_TITLES))
        for name, metrics_of in metrics["differences"].items()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    systems = len(metrics["systems"]) + 1
    head = (
        f"test: {test['utterances']} utterances in {test['dialogues']} dialogues; per cent "
        f"[{100 * test['confidence']:g} % interval]"
    )
    return "\n".join([head, rule, lines[0], rule, *lines[1:systems], rule, *lines[systems:], rule])


def _difference_title(name: str) -> str:
    b, a = name.split(" - ")
    return (
        f"{b} - {a}: behavior's worth"
        if (a, b) == ("TV", "TVB")
        else f"{b} - {title(a) if a.startswith('regression') else a}"
    )


def opening(results: Results, before: Mapping[str, int]) -> list[str]:
    """The first paragraphs: what was evaluated on what, what behavior is worth, the best system, caveats."""
    return [
        _what(results, before),
        " ".join(filter(None, [_worth(results.numbers), *_rivals(results), _winner(results)])),
        _caveat(results.manifest),
    ]


def _what(results: Results, before: Mapping[str, int]) -> str:
    numbers = results.numbers
    corpora = " and ".join(CORPORA.get(name, name) for name in results.manifest.corpora)
    named = "; ".join(title(v) for v in results.variants)
    return (
        f"Emotion recognition in conversation, evaluated on the test split of {corpora}: {numbers['utterances']} "
        f"labelled utterances in {numbers['dialogues']} dialogues, {len(numbers['labels'])} labels. One language model "
        f"was tuned for each set of inputs ({named}). Dev picked the epoch and the temperature. {_test_access(before)} "
        "Beside the models stand plain logistic regressions: on what a model reads (the words and speakers of the "
        "prompt's window, and the behavior tokens), and on the utterance's own words in place of the window's."
    )


def _test_access(before: Mapping[str, int]) -> str:
    """How often test was used; ``before``: variant -> number of its other predictions that were evaluated earlier."""
    some = [f"{name} ({n} set{'s' if n > 1 else ''})" for name, n in before.items() if n]
    if not some:
        return "Test was used once, here."
    return (
        f"**Test was used before, with other predictions of {', '.join(some)}** "
        "([test_access.jsonl](test_access.jsonl)): where the best of several is kept, its numbers are optimistic."
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
    return below if high < 0 else "on this test set that may be chance"


def _rivals(results: Results) -> list[str]:
    """One sentence per regression that is compared with a variant, those with the same inputs first."""
    sentences = []
    for name, rung in sorted(baselines.RUNG_OF.items(), key=lambda pair: (pair[1], "window" not in pair[0])):
        gap = results.numbers["differences"].get(f"{rung} - {regression(name)}")
        if gap is None or gap[HEADLINE]["value"] is None:
            continue
        value = gap[HEADLINE]["value"]
        unsure = "" if not _unsure(gap[HEADLINE]) else ", which may be chance"
        if value < 0:
            sentences.append(
                f"**The plain {title(regression(name))} beats {rung}** by {points(-value)} points{unsure}."
            )
        else:
            sentences.append(f"{rung} is {points(value)} points ahead of the plain {title(regression(name))}{unsure}.")
    return sentences


def _unsure(measured: Mapping[str, float | None]) -> bool:
    return measured["low"] is None or measured["high"] is None or measured["low"] <= 0 <= measured["high"]


def _winner(results: Results) -> str:
    systems = results.numbers["systems"]
    best = max(systems, key=lambda name: systems[name][HEADLINE]["value"])
    return (
        f"Best of all by weighted F1: {title(best)} with {points(systems[best][HEADLINE]['value'])} (accuracy "
        f"{points(systems[best]['accuracy']['value'])})."
    )


def _caveat(manifest: Manifest) -> str:
    sentence = "The labels are *perceived* emotion: what annotators saw and heard, not what the person felt."
    if "sample" in manifest.corpora:
        sentence = (
            "The sample is a synthetic corpus: warped pictures of one face and a speech synthesiser, with planted "
            "emotions. Its numbers say that the pipeline works and that each modality gets through; they say nothing "
            "about people, and nothing about how the method does on MELD or IEMOCAP. Its labels are what was planted; "
            "in a real corpus they are *perceived* emotion: what annotators saw and heard, not what the person felt."
        )
    return sentence


# ------------------------------------------------------------------------------------------------------------- Markdown


def markdown(results: Results, has_curves: bool, before: Mapping[str, int], conflict: Sequence[str] = ()) -> str:
    """The report; plots are linked relative to its own folder. ``before``: see test_access.py; ``conflict``: its section."""
    parts = [
        "# What the predictions are worth",
        *[paragraph for paragraph in opening(results, before) if paragraph],
        *_ladder_section(results),
        *_differences_section(results),
        *_label_section(results),
        *_group_section(results),
        *_case_section(results),
        *conflict,
        "## Mistakes",
        "Every test utterance that a variant labelled wrongly, with each variant's label and its probability, is in "
        "[mistakes.csv](mistakes.csv); the last variant's most confident mistakes stand first.",
        *(["## Training", "![Training curves](plots/training.png)"] if has_curves else []),
        *_method_section(results),
    ]
    return "\n\n".join(parts) + "\n"


def _ladder_section(results: Results) -> list[str]:
    systems = results.numbers["systems"]
    head = ["", *METRIC_TITLES.values(), "calibration error", *(["best possible accuracy"] if results.ceilings else [])]
    rows = [
        [
            title(name),
            *(ranged(systems[name][m]) for m in METRIC_TITLES),
            points(systems[name]["ece"]),
            *([points(results.ceilings.get(name))] if results.ceilings else []),
        ]
        for group in in_groups(results)
        for name in group
    ]
    note = (
        f"{_per_cent(results.numbers)} Calibration error: how far the probabilities are from the share that is right "
        "(ECE, 15 bins); a model's are at the temperature fitted on dev."
    )
    if results.ceilings:
        note += (
            " Best possible accuracy: computed from what was planted in the sample; only a synthetic corpus has such "
            "a number."
        )
    return [
        "## The ladder: words, then voice, then face and body" if len(results.variants) > 1 else "## The numbers",
        "![The ladder](plots/ladder.png)",
        table(head, rows),
        note,
    ]


def _per_cent(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Per cent; one dialogue is too little for intervals."
    return f"Per cent, with {100 * numbers['confidence']:g} % intervals."


def _differences_section(results: Results) -> list[str]:
    differences = results.numbers["differences"]
    if not differences:
        return []
    rows = [
        [_difference_title(name), *(ranged(metrics_of[m], signed) for m in METRIC_TITLES)]
        for name, metrics_of in differences.items()
    ]
    return [
        "## What each step adds",
        table(["", *METRIC_TITLES.values()], rows),
        _of_points(results.numbers),
        *([_WORTH_IS] if {"TV", "TVB"} <= set(results.variants) else []),
    ]


def _of_points(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Points, on the same utterances; one dialogue is too little for intervals."
    return (
        "Points, on the same utterances, with paired intervals: a difference whose interval does not contain 0 is "
        "hardly chance."
    )


def _label_section(results: Results) -> list[str]:
    systems, labels = results.numbers["systems"], results.numbers["labels"]
    names = [*results.variants, *(name for name in systems if name.startswith("regression_"))]
    head = ["label", "utterances", *(title(name) if name not in results.variants else name for name in names)]
    first = systems[names[0]]["per_class"]
    rows = [
        [cell(label), f"{first[label]['support']:.0f}", *(points(systems[n]["per_class"][label]["f1"]) for n in names)]
        for label in labels
    ]
    parts = [
        "## Label by label",
        "![F1 per label](plots/per_class.png)",
        "F1 per label, per cent (precision and recall: plots/per_class.csv).",
        table(head, rows),
    ]
    return [*parts, "![What is taken for what](plots/confusion.png)"]


def _group_section(results: Results) -> list[str]:
    systems = results.numbers["systems"]
    sizes = {name: measures["utterances"] for name, measures in systems[results.variants[0]]["groups"].items()}
    rows = [
        [GROUP_TITLES[g], str(n), *(ranged(systems[v]["groups"][g]["accuracy"]) for v in results.variants)]
        for g, n in sizes.items()
        if n
    ]
    of_speakers = {v: systems[v]["speakers"] for v in results.variants}
    speakers = sorted(of_speakers[results.variants[0]].items(), key=lambda item: (-item[1]["utterances"], item[0]))[:12]
    speaker_rows = [
        [
            cell(name),
            f"{measures['utterances']:.0f}",
            *(points(of_speakers[v][name]["accuracy"]) for v in results.variants),
        ]
        for name, measures in speakers
    ]
    return [
        "## For whom, and when",
        table(["accuracy", "utterances", *results.variants], rows),
        "A label changes or stays relative to the same speaker's previous turn in the dialogue; first turns are in "
        "neither row.",
        f"The {len(speakers)} speakers with most test utterances:",
        table(["accuracy", "utterances", *results.variants], speaker_rows),
    ]


def _case_section(results: Results) -> list[str]:
    if not results.cases:
        return []
    names = [*results.variants, *(n for n in results.numbers["systems"] if n.startswith("regression_"))]
    head = [
        "accuracy by what carries the emotion",
        "utterances",
        *(n if n in results.variants else title(n) for n in names),
    ]
    rows = [
        [CASE_TITLES[case], str(next(iter(accuracies.values()))[1]), *(points(accuracies[n][0]) for n in names)]
        for case, accuracies in results.cases.items()
    ]
    return [
        "## By modality that carries the emotion (sample only)",
        "Only in a synthetic corpus is it recorded which modalities carry the emotion; no model has it as input. "
        "Chance differs between the rows, and the rows are small.",
        table(head, rows),
    ]


def _method_section(results: Results) -> list[str]:
    numbers = results.numbers
    picked = "; ".join(
        f"{title(regression(n))}: {fit.features}, C = {fit.strength:g} (dev accuracy {points(fit.dev_accuracy)})"
        for n, fit in results.fits.items()
    )
    return [
        "## How the numbers were computed",
        _intervals(numbers),
        "Regressions: columns scaled by train, picked on dev between a few ways and strengths; behavior tokens side "
        "by side or as mean, minimum and maximum. "
        '"Own words" are the utterance\'s; "words and speakers in the window" are those and, as counts, the words and speakers of the turns before it that a prompt shows, and who speaks. '
        f"Picked: {picked}.",
        "Metrics are scikit-learn's: weighted F1 by support, macro F1 over the labels that occur.",
    ]


def _intervals(numbers: Mapping[str, Any]) -> str:
    if numbers["dialogues"] < 2:
        return "Intervals: none, since one dialogue does not say what another would change."
    return (
        f"Intervals: Student's t with the deviation over {numbers['resamples']} resamples of whole dialogues, the same "
        "resamples for every system. They hold what another draw of dialogues would change; what another seed of the "
        "training would change is not in them (`bemerc compare` takes several seeds)."
    )
