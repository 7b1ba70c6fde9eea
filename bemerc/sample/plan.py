"""Plan the synthetic corpus: every utterance's length, speaker, roles, words and strengths, before anything is drawn.

Lengths, speakers and turns are fixed before the emotions are, so that none of them tells an emotion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bemerc.corpus.manifest import SPLITS, Split
from bemerc.sample.cases import Roles, ceilings, ceilings_of, deal
from bemerc.sample.words import sentence

NAMES = ("Ada", "Bo", "Cleo", "Dov", "Eve", "Finn", "Gia", "Hal", "Iris", "Jun", "Kim", "Leo")


@dataclass(frozen=True)
class Params:
    """Section ``sample`` of params.yaml.

    dialogues, turns     how many conversations, and utterances in each
    dev_share, test_share  of the dialogues; the rest is train
    speakers             faces and voices; unseen_speakers of them speak only in test
    min_s, max_s         shortest and longest clip
    fps, width, height   of the picture, pixels; at about 320 the face is 95 pixels wide
    hint_share           in a conflict the words tell the true emotion with this probability, else a random one
    conflicts            how often each of the two conflicts of face and voice is dealt beside one of each other case
    micro_share          of the utterances hold a micro-expression
    weakest              the weakest expression of a face; strengths are uniform from here to 1
    weakest_voice        the same for the voice
    seed                 of everything
    """

    dialogues: int = 60
    turns: int = 6
    dev_share: float = 0.15
    test_share: float = 0.25
    speakers: int = 12
    unseen_speakers: int = 3
    min_s: float = 1.2
    max_s: float = 2.0
    fps: int = 25
    width: int = 320
    height: int = 320
    hint_share: float = 0.3
    conflicts: int = 1
    micro_share: float = 0.1
    weakest: float = 0.6
    weakest_voice: float = 0.75
    seed: int = 7

    def check(self) -> list[str]:
        """Invalid values, a sentence each."""
        rules = (
            (self.dialogues >= 3, f"dialogues: {self.dialogues}; at least 3 are needed, one for each split."),
            (self.turns >= 1, f"turns: {self.turns}; a dialogue has at least 1."),
            (self.dev_share > 0 < self.test_share, "dev_share, test_share: both must be above 0."),
            (self.dev_share + self.test_share < 1, "dev_share, test_share: nothing is left for train."),
            (self.unseen_speakers >= 1, f"unseen_speakers: {self.unseen_speakers}; test needs at least 1."),
            (self.speakers >= self.unseen_speakers + 2, "speakers: at least 2 more than unseen_speakers."),
            (0.8 <= self.min_s <= self.max_s <= 20, "min_s, max_s: from 0.8 to 20 seconds, min_s first."),
            (10 <= self.fps <= 60, f"fps: {self.fps}; from 10 to 60."),
            (self.min_s * self.fps >= 15, "min_s, fps: a clip needs at least 15 frames."),
            (self.width % 4 == 0 == self.height % 4, "width, height: multiples of 4, for the encoder."),
            (160 <= self.width <= 1280 and 160 <= self.height <= 1280, "width, height: from 160 to 1280."),
            (0 <= self.hint_share <= 1, f"hint_share: {self.hint_share}; from 0 to 1."),
            (
                1 <= self.conflicts <= 20 and (4 + 2 * self.conflicts) % 7 != 0,
                f"conflicts: {self.conflicts}; from 1 to 20, and not 5, 12 or 19, with which labels and cases cannot be "
                "balanced.",
            ),
            (0 <= self.micro_share <= 1, f"micro_share: {self.micro_share}; from 0 to 1."),
            (0 < self.weakest <= 1 >= self.weakest_voice > 0, "weakest, weakest_voice: above 0, at most 1."),
        )
        return [fault for good, fault in rules if not good]


@dataclass(frozen=True)
class Planned:
    """One utterance before it is drawn: everything random about it is here or follows from ``seed``."""

    split: Split
    dialogue: int
    turn: int
    speaker: int
    frames: int
    start_s: float
    season: int
    episode: int
    roles: Roles
    text: str
    face_strength: float
    voice_strength: float
    micro: bool
    seed: int

    @property
    def name(self) -> str:
        """MELD's clip name without its suffix."""
        return f"dia{self.dialogue}_utt{self.turn}"

    @property
    def id(self) -> str:
        """The utterance's id in the manifest: sample/train/dia3_utt1."""
        return f"sample/{self.split}/{self.name}"


def summary(plan: Sequence[Planned], params: Params) -> dict[str, dict[str, float]]:
    """Ceilings of T, TV, TB, TVB: ``possible`` on infinitely many utterances, ``test`` on those of the test split."""
    test = [p.roles for p in plan if p.split == "test"]
    return {
        "possible": ceilings(params.hint_share, params.conflicts),
        "test": ceilings_of(test, params.hint_share, params.conflicts),
    }


def plan_corpus(params: Params) -> list[Planned]:
    """Every utterance, split by split, in the order of ids."""
    return [planned for split in SPLITS for planned in _plan_split(split, params)]


def split_sizes(params: Params) -> dict[Split, int]:
    """Dialogues in each split."""
    dev = max(1, round(params.dev_share * params.dialogues))
    test = max(1, round(params.test_share * params.dialogues))
    return {"train": params.dialogues - dev - test, "dev": dev, "test": test}


def casts(params: Params) -> dict[Split, list[tuple[int, int]]]:
    """Two speakers for each dialogue. About half of test's speakers are in neither train nor dev."""
    rng = np.random.default_rng([params.seed, 1])
    order = rng.permutation(params.speakers).tolist()
    test_only, shared = order[: params.unseen_speakers], order[params.unseen_speakers :]
    copies = max(1, round(len(shared) / len(test_only)))
    pools: dict[Split, list[int]] = {"train": shared, "dev": shared, "test": test_only * copies + shared}
    return {split: _pairs(pools[split], count, rng) for split, count in split_sizes(params).items()}


def _pairs(pool: Sequence[int], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """``count`` pairs of two different speakers, each of ``pool`` about equally often."""
    pairs: list[tuple[int, int]] = []
    rest: list[int] = []
    while len(pairs) < count:
        if len(set(rest)) < 2:
            rest += rng.permutation(np.array(pool)).tolist()
        first = rest.pop(0)
        second = next(i for i, speaker in enumerate(rest) if speaker != first)
        pairs.append((first, rest.pop(second)))
    return pairs


def _plan_split(split: Split, params: Params) -> Iterator[Planned]:
    number = SPLITS.index(split)
    stage, emotions = (np.random.default_rng([params.seed, 2 + k, number]) for k in (0, 1))
    pairs = casts(params)[split]
    count = len(pairs) * params.turns
    frames = np.round(stage.uniform(params.min_s, params.max_s, count) * params.fps).astype(int).tolist()
    speakers = [pair[turn % 2] for pair in pairs for turn in range(params.turns)]
    thirds = np.argsort(np.argsort(frames, kind="stable"), kind="stable") * 3 // count
    ties = [(i % params.turns, speakers[i], int(thirds[i])) for i in range(count)]
    dealt = deal(count, params.hint_share, ties, emotions, params.conflicts)
    micro = set(emotions.permutation(count)[: round(params.micro_share * count)].tolist())
    scenes = [(int(stage.integers(1, 10)), int(stage.integers(1, 25)), stage.uniform(30, 1200)) for _ in pairs]
    clock = 0.0
    for i in range(count):
        dialogue, turn = divmod(i, params.turns)
        season, episode, opening = scenes[dialogue]
        start = opening if turn == 0 else clock + stage.uniform(0.1, 0.8)
        clock = start + frames[i] / params.fps
        yield Planned(
            split, dialogue, turn, speakers[i], frames[i], start, season, episode, dealt[i],
            sentence(dealt[i].words, emotions), float(emotions.uniform(params.weakest, 1)),
            float(emotions.uniform(params.weakest_voice, 1)), i in micro, int(emotions.integers(2**31)),
        )  # fmt: skip


def speaker_name(speaker: int) -> str:
    return NAMES[speaker % len(NAMES)] + (str(speaker // len(NAMES) + 1) if speaker >= len(NAMES) else "")
