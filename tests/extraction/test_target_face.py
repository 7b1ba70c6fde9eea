"""Whose face is measured: policies over tracks that are made up, and a voice that is too."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.cache import Choice
from bemerc.core.jsonfile import JsonError
from bemerc.extraction.face import target_face
from bemerc.extraction.face.target_face import BY_SOUND, FaceTrack, Policy
from bemerc.media.pitch import SAMPLE_RATE_HZ

FPS = 25
Array = NDArray[np.float64]


def speech(seconds: float, seed: int) -> Array:
    """How loud somebody is at each hundredth of a second, 0 to 1: syllables and pauses."""
    rng, steps = np.random.default_rng(seed), np.zeros(int(seconds * 100) + 100)
    at = 0
    while at < len(steps):
        length = int(rng.uniform(10, 28))
        steps[at : at + int(0.7 * length)] = rng.uniform(0.3, 1) * (rng.random() < 0.8)
        at += length
    bell = np.hanning(15)
    return np.convolve(steps, bell / bell.sum(), mode="same")


def wave(loudness: Array, seconds: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    count = int(seconds * SAMPLE_RATE_HZ)
    level = np.interp(np.arange(count) / SAMPLE_RATE_HZ, np.arange(len(loudness)) / 100, loudness)
    return ((0.2 * level**2 + 1e-3) * rng.normal(0, 1, count)).astype(np.float32)


def track(
    number: int,
    rows: range,
    x: float,
    *,
    mouth: Array | None = None,
    area: float = 0.05,
    shot: int = 0,
    view: int | None = None,
    colour: int | None = None,
    turn_deg: float = 0.0,
) -> FaceTrack:
    """Nobody looks like anybody else, but for those who are given a colour."""
    rng = np.random.default_rng(number)
    lips = np.full(len(rows), 0.04) if mouth is None else mouth
    moved = np.stack([lips, 1.2 + lips, np.full(len(rows), 0.6)], axis=1) + rng.normal(0, 0.004, (len(rows), 3))
    at, first_view = np.array(rows), shot if view is None else view
    heads = np.full((len(at), 8, 8, 3), colour or 0, np.uint8)
    if colour is None:
        heads[:] = np.random.default_rng([first_view, int(100 * x)]).integers(0, 255, (8, 8, 3))
    middle, large, turn = (np.full(len(at), value) for value in (x, area, np.cos(np.radians(turn_deg))))
    mouths = np.zeros((len(at), 24, 24), np.uint8)
    return FaceTrack(number, shot, first_view, at, middle, large, moved, turn, mouths, heads)


def lips(loudness: Array, rows: range, gain: float = 0.15) -> Array:
    """A mouth that is 60 ms ahead of the sound."""
    return gain * np.interp(np.array(rows) / FPS + 0.06, np.arange(len(loudness)) / 100, loudness)


def select(*given: Any, **options: Any) -> Choice:
    return target_face.select(*given, **options)[0]


def stamps(rows: range) -> Array:
    return np.array(rows) / FPS


def test_one_face_leaves_no_choice_and_no_doubt() -> None:
    rows = range(50)
    for policy in get_args(Policy):
        choice = select([track(3, rows, 0.5)], stamps(rows), policy, None, 0.6)
        assert (choice.by, choice.faces, choice.score, choice.uncertain) == ("alone", 1, 1.0, False)
        assert [(s.first, s.end, s.track) for s in choice.spans] == [(0, 50, 3)]
    assert select([], stamps(rows), "speaking", None, 0.6) == Choice("speaking", "alone", 0, 1.0, False)


def test_a_lone_face_is_doubted_where_the_voice_is_anothers() -> None:
    voice, rows = speech(4, 1), range(100)
    speaker, listener = track(0, rows, 0.5, mouth=lips(voice, rows)), track(0, rows, 0.5)
    speaks, listens = (select([one], stamps(rows), "speaking", wave(voice, 4), 0.7) for one in (speaker, listener))
    assert (speaks.by, speaks.uncertain) == ("alone", False)
    assert (listens.by, listens.uncertain) == ("alone", True)
    assert [(span.first, span.end) for span in listens.spans] == [(0, 100)], "doubted, and measured all the same"


def test_a_shot_of_listeners_alone_is_nobodys() -> None:
    voice, rows = speech(8, 1), range(200)
    shown, listeners = range(100), range(100, 200)
    tracks = [
        track(0, shown, 0.2, mouth=lips(voice, shown)),
        track(1, shown, 0.7),
        track(2, listeners, 0.3, shot=1),
        track(3, listeners, 0.8, shot=1),
    ]
    choice = select(tracks, stamps(rows), "speaking", wave(voice, 8), 0.7)
    assert [span.track for span in choice.spans] == [0]
    assert not choice.uncertain


def test_a_mouth_in_few_frames_has_little_to_say() -> None:
    """Every sixth frame of a face is no better evidence than a sixth of the time."""
    voice, rows = speech(6, 1), range(150)
    few = track(1, range(0, 150, 6), 0.7, mouth=lips(voice, range(0, 150, 6)))
    whole = track(1, rows, 0.7, mouth=lips(voice, rows))
    scores = [
        select([track(0, rows, 0.2), one], stamps(rows), "speaking", wave(voice, 6), 0.7).score for one in (few, whole)
    ]
    assert scores[0] < scores[1]


def test_a_silent_mouth_that_is_seen_from_the_side_says_little() -> None:
    """Who speaks behind a microphone, in profile, leaves the one who listens in doubt."""
    voice, others, rows = speech(6, 1), (speech(6, 2), speech(6, 3)), range(150)
    half = (lips(voice, rows) + 2 * lips(others[0], rows)) / 3
    scores = []
    for turn_deg in (0, 29, 45, 61, 80):
        hidden = track(0, rows, 0.2, mouth=lips(others[1], rows), turn_deg=turn_deg)
        choice = select([hidden, track(1, rows, 0.7, mouth=half)], stamps(rows), "speaking", wave(voice, 6), 0.7)
        assert [span.track for span in choice.spans] == [1]
        scores.append(choice.score)
    assert scores[0] == scores[1] > scores[2] > scores[3] == scores[4]
    speaker = track(0, rows, 0.2, mouth=lips(voice, rows), turn_deg=80)
    choice = select([speaker, track(1, rows, 0.7)], stamps(rows), "speaking", wave(voice, 6), 0.7)
    assert [span.track for span in choice.spans] == [0]
    assert not choice.uncertain


@pytest.mark.parametrize("turn_deg", [0, 45, 60, 80])
def test_a_silent_profile_is_no_speaker_itself(turn_deg: float) -> None:
    """Neither alone in the picture, where the voice is another's, nor in a shot of its own between those of the speaker."""
    voice, rows, later = speech(8, 1), range(100), range(100, 200)
    alone = select([track(0, range(200), 0.5, turn_deg=turn_deg)], stamps(range(200)), "speaking", wave(voice, 8), 0.7)
    assert alone.uncertain
    listener = track(1, later, 0.7, shot=1, turn_deg=turn_deg)
    speaks = track(0, rows, 0.3, mouth=lips(voice, rows))
    choice = select([speaks, listener], stamps(range(200)), "speaking", wave(voice, 8), 0.7)
    assert [span.track for span in choice.spans] == [0]


@pytest.mark.parametrize("turn_deg", [0, 80])
def test_a_shot_of_profiles_in_which_somebody_speaks_is_not_dropped_for_its_doubt(turn_deg: float) -> None:
    voice, first, second = speech(12, 1), range(150), range(150, 300)
    listeners = [lips(speech(12, seed), second) for seed in (2, 52, 92)]
    weak = (lips(voice, second) + 8 * listeners[0]) / 9
    faces = [
        track(0, first, 0.5, mouth=lips(voice, first)),
        track(1, second, 0.2, mouth=weak, shot=1, turn_deg=turn_deg),
        track(2, second, 0.5, mouth=listeners[1], shot=1, turn_deg=turn_deg),
        track(3, second, 0.8, mouth=listeners[2], shot=1, turn_deg=turn_deg),
    ]
    choice = select(faces, stamps(range(300)), "speaking", wave(voice, 12), 0.7)
    assert len(choice.spans) == 2
    assert choice.uncertain


def test_how_much_of_a_mouth_was_seen_is_told_by_all_frames_of_the_person() -> None:
    voice, others, first, second = speech(12, 1), (speech(12, 2), speech(12, 3)), range(200), range(200, 300)
    scores = []
    for turns_deg in ((0, 0), (0, 80), (80, 80)):
        silent = [
            track(2 * shot, rows, 0.2, mouth=lips(others[1], rows), turn_deg=turn, shot=shot, colour=10)
            for shot, rows, turn in zip((0, 1), (first, second), turns_deg, strict=True)
        ]
        half = [
            track(
                2 * shot + 1,
                rows,
                0.7,
                mouth=(lips(voice, rows) + 6 * lips(others[0], rows)) / 7,
                shot=shot,
                colour=200,
            )
            for shot, rows in ((0, first), (1, second))
        ]
        given = [*silent, *half], stamps(range(300)), "speaking", wave(voice, 12), 0.7
        scores.append(target_face.select(*given)[1][3])
    assert scores[0] > scores[1] > scores[2]
    assert scores[0] - scores[1] < scores[1] - scores[2]


def test_a_network_knows_profiles_itself() -> None:
    """Its scores are compared as they are."""
    rows, scores = range(100), []
    for turn_deg in (0, 80):
        faces = [track(0, rows, 0.2, turn_deg=turn_deg), track(1, rows, 0.7)]
        log_odds = {0: np.full(100, -2.0), 1: np.full(100, 0.5)}
        options = {"log_odds": log_odds}
        scores.append(target_face.select(faces, stamps(rows), "network", wave(speech(4, 1), 4), 0.7, **options)[1])
    assert scores[0] == scores[1]
    assert scores[0][1] > scores[0][0] > 0


def test_what_is_a_face_for_a_moment_is_none() -> None:
    """A wall is taken for a face in one frame, and a man's mouth does not fit the voice: he is measured, and not the wall."""
    wall, man = track(0, range(90, 91), 0.7, area=0.01), track(1, range(96, 168), 0.4, shot=1)
    assert target_face.lasting([wall, man], stamps(range(168))) == [man]
    choice, scores = target_face.select([wall, man], stamps(range(168)), "largest", None, 0.6)
    assert [span.track for span in choice.spans] == [1]
    assert target_face.others([wall, man], choice, scores) == {}
    assert target_face.lasting([wall], stamps(range(168))) == []
    assert target_face.lasting([wall], stamps(range(9))) == [wall], "of a clip that short it is much"
    flickers = [track(n, range(30 + 3 * n, 32 + 3 * n), 0.5) for n in range(10)]
    assert target_face.lasting(flickers, stamps(range(250))) == flickers
    cut = [track(0, range(40), 0.3), track(1, range(40, 44), 0.6, shot=1)]
    assert target_face.lasting(cut, stamps(range(60))) == cut[:1]
    assert target_face.lasting(cut, stamps(range(44))) == cut, "the utterance ends there, and not the shot"
    assert target_face.lasting([], stamps(range(0))) == []
    five, six = track(0, range(20, 25), 0.5), track(1, range(60, 66), 0.5, shot=1)
    for first in (0, 80, 2932):  # .2 s are .2 s wherever the clip begins
        assert target_face.lasting([five, six], stamps(range(first, first + 250))) == [six]
    slower = np.append(np.arange(200) / 100, 2 + np.arange(100) / 10)
    seen = track(0, range(250, 265), 0.5)
    assert target_face.lasting([seen], slower) == [seen], "a second and a half, in few frames"
    twins = [track(0, range(30, 33), 0.2), track(1, range(30, 33), 0.7)]
    assert target_face.lasting(twins, stamps(range(250))) == []


def test_somebody_who_is_lost_and_found_under_another_number_stays_in() -> None:
    rows = range(50)
    parts = [track(0, range(20), 0.5), track(1, range(32, 50), 0.2), track(2, range(21, 31), 0.5)]
    choice = select(parts, stamps(rows), "speaking", None, 0.6)
    assert [s.track for s in choice.spans] == [0, 2, 1]
    assert not choice.uncertain


@pytest.mark.parametrize("speaker", [0, 1])
@pytest.mark.parametrize("seconds", [1.2, 3.0])
def test_the_mouth_that_moves_with_the_sound_is_chosen_and_the_sound_alone_decides(
    seconds: float, speaker: int
) -> None:
    rows = range(int(seconds * FPS))
    voices = [speech(seconds, seed) for seed in (1, 2)]
    both = [track(i, rows, 0.2 + 0.5 * i, mouth=lips(voices[i], rows), area=0.1 - 0.05 * i) for i in (0, 1)]
    choice = select(both, stamps(rows), "speaking", wave(voices[speaker], seconds), 0.6)
    assert [s.track for s in choice.spans] == [speaker]
    assert (choice.by, choice.faces) == ("speaking", 2)
    if seconds > 2:
        assert not choice.uncertain


def test_a_voice_from_off_leaves_doubt() -> None:
    rows = range(75)
    resting = [track(0, rows, 0.2), track(1, rows, 0.7)]
    choice = select(resting, stamps(rows), "speaking", wave(speech(3, 4), 3), 0.6)
    assert choice.uncertain
    assert choice.score < 0.6


def test_every_shot_is_judged_by_itself() -> None:
    voice, rows = speech(6, 1), range(150)
    first, second = range(75), range(75, 150)
    tracks = [
        track(0, first, 0.2, mouth=lips(voice, first)),
        track(1, first, 0.7),
        track(2, second, 0.2, shot=1),
        track(3, second, 0.7, mouth=lips(voice, second), shot=1),
    ]
    choice = select(tracks, stamps(rows), "speaking", wave(voice, 6), 0.6)
    assert [(s.first, s.end, s.track, s.tracks) for s in choice.spans] == [(0, 75, 0, 2), (75, 150, 3, 2)]


def test_who_is_seen_again_from_the_same_view_is_judged_by_both_shots() -> None:
    """Half a second says little; four of them at the same places, with others in between, say it."""
    voice, rows, tracks = speech(8, 1), range(200), []
    for shot in range(8):
        mine, view = range(25 * shot, 25 * shot + 25), shot % 2
        if view:
            tracks.append(track(10 * shot, mine, 0.5, shot=shot, view=1, area=0.2))
        else:
            tracks.append(track(10 * shot, mine, 0.25, shot=shot, view=0))
            tracks.append(track(10 * shot + 1, mine, 0.75, shot=shot, view=0, mouth=lips(voice, mine)))
    grouped = [[t.number for t in one] for one in target_face.group_tracks_by_person(tracks)]
    assert grouped == [[0, 20, 40, 60], [1, 21, 41, 61], [10, 30, 50, 70]]
    choice = select(tracks, stamps(rows), "speaking", wave(voice, 8), 0.6)
    assert [s.track for s in choice.spans] == [1, 21, 41, 61], "who rests, alone in the other view, only listens"
    pairs = [s.score for s in choice.spans if s.tracks == 2]
    assert len(set(pairs)) == 1
    assert pairs[0] > 0.9


def shots_of_two_and_of_one(voice: Array, *, colours: tuple[int, int, int]) -> list[FaceTrack]:
    """Six shots, by turns of two people and of one alone: the one at the right speaks, and so does the one alone."""
    tracks = []
    for shot in range(6):
        mine = range(20 * shot, 20 * shot + 20)
        if shot % 2:
            tracks.append(
                track(10 * shot, mine, 0.5, shot=shot, view=1, area=0.2, mouth=lips(voice, mine), colour=colours[2])
            )
        else:
            tracks.append(track(10 * shot, mine, 0.25, shot=shot, view=0, colour=colours[0]))
            tracks.append(
                track(10 * shot + 1, mine, 0.75, shot=shot, view=0, mouth=lips(voice, mine), colour=colours[1])
            )
    return tracks


def test_who_is_alone_in_another_view_is_known_by_the_colours() -> None:
    voice = speech(6, 1)
    apart, same, between = (shots_of_two_and_of_one(voice, colours=(90, 150, alone)) for alone in (240, 155, 120))
    assert [[t.number for t in one] for one in target_face.group_tracks_by_person(same)] == [
        [0, 20, 40],
        [1, 10, 21, 30, 41, 50],
    ]
    for tracks in (apart, between):
        assert [[t.number for t in one] for one in target_face.group_tracks_by_person(tracks)] == [
            [0, 20, 40],
            [1, 21, 41],
            [10, 30, 50],
        ]
    stamps_s, sound = stamps(range(120)), wave(voice, 6)
    scores = [select(tracks, stamps_s, "speaking", sound, 0.6).spans[0].score for tracks in (apart, same)]
    assert scores[1] > scores[0] > 0.5, "more of a person is seen"


def test_two_who_are_seen_together_are_never_one() -> None:
    tracks = [
        track(0, range(20), 0.2, colour=100),
        track(1, range(20), 0.5, colour=160),
        track(2, range(20), 0.8, colour=101),
        track(3, range(20, 40), 0.4, shot=1, colour=100),
        track(4, range(20, 40), 0.6, shot=1, colour=101),
    ]
    grouped = [{t.number for t in one} for one in target_face.group_tracks_by_person(tracks)]
    assert not any(pair <= one for one in grouped for pair in ({0, 2}, {3, 4}, {0, 1}))


def test_a_mouth_that_the_points_lose_is_seen_in_the_picture() -> None:
    rows, voice = range(75), speech(3, 2)
    down = 3 * np.interp(np.array(rows) / FPS + 0.06, np.arange(len(voice)) / 100, voice)
    lines = 130 + 60 * np.sin(np.arange(24)[:, None] * 0.7 + np.arange(24) * 0.3)
    mouths = np.array([np.where(np.arange(24)[:, None] > 9, _lower(lines, by), lines) for by in down]).astype(np.uint8)
    lost = [track(i, rows, 0.2 + 0.5 * i) for i in (0, 1)]
    shown = replace(lost[1], mouths=mouths)
    choice = select([lost[0], shown], stamps(rows), "speaking", wave(voice, 3), 0.6)
    assert (choice.spans[0].track, choice.uncertain) == (1, False)


def _lower(picture: Array, by: float) -> Array:
    """A picture (24, 24) moved down by a part of a pixel or several."""
    at = np.arange(24) - by
    return np.stack([np.interp(at, np.arange(24), column) for column in picture.T], axis=1)


def test_without_sound_speaking_means_the_largest_and_says_so() -> None:
    rows = range(50)
    tracks = [track(0, rows, 0.2, area=0.02), track(1, rows, 0.7, area=0.08)]
    for silence in (None, np.zeros(32_000, np.float32)):
        choice = select(tracks, stamps(rows), "speaking", silence, 0.6)
        assert (choice.policy, choice.by, choice.spans[0].track) == ("speaking", "largest", 1)
        assert choice.score == pytest.approx(0.8)


def test_the_other_policies() -> None:
    rows = range(100)
    tracks = [
        track(0, range(60), 0.2, area=0.09),
        track(1, rows, 0.5, area=0.05),
        track(2, range(10, 90), 0.8, area=0.02),
        track(3, range(40, 44), 0.05, area=0.02),
    ]
    chosen = {
        p: select(tracks, stamps(rows), p, None, 0.6).spans[0].track for p in get_args(Policy) if p not in BY_SOUND
    }
    assert chosen == {"largest": 0, "longest": 1, "left": 0, "right": 2}, "whoever flits by is at no edge"


def test_two_equals_are_uncertain() -> None:
    rows = range(50)
    tracks = [track(0, rows, 0.2, area=0.05), track(1, rows, 0.7, area=0.051)]
    choice = select(tracks, stamps(rows), "largest", None, 0.6)
    assert choice.spans[0].track == 1
    assert choice.uncertain


def test_a_choice_is_one_line_and_comes_back() -> None:
    rows = range(30)
    tracks = [track(0, rows, 0.2, area=0.05), track(1, rows, 0.7, area=0.02)]
    choice = select(tracks, stamps(rows), "largest", None, 0.6)
    assert "\n" not in choice.as_json()
    back = Choice.from_json(choice.as_json())
    assert back.as_json() == choice.as_json()
    assert back.spans[0].score == pytest.approx(choice.spans[0].score, abs=1e-4)
    for broken in ("{}", "[]", '{"policy": 1}', "nonsense"):
        with pytest.raises((JsonError, ValueError, KeyError, TypeError)):
            Choice.from_json(broken)


def joined_plainly(tracks: list[FaceTrack]) -> list[list[int]]:
    """What people() says it does, pair by pair: the numbers of the tracks of each person."""

    def again(a: FaceTrack, b: FaceTrack) -> bool:
        wide = float(np.sqrt(min(a.area.mean(), b.area.mean())))
        near, ratio = abs(float(a.x.mean() - b.x.mean())) < wide, float(a.area.mean() / b.area.mean())
        return a.view == b.view and a.shot != b.shot and near and 0.4 < ratio < 2.5

    def meet(one: list[FaceTrack], other: list[FaceTrack]) -> bool:
        return any(a.rows[0] <= b.rows[-1] and b.rows[0] <= a.rows[-1] for a in one for b in other)

    people: list[list[FaceTrack]] = []
    for track in tracks:
        mine = [one for one in people if all(again(track, other) for other in one)]
        if mine:
            min(mine, key=lambda one: abs(one[-1].x.mean() - track.x.mean())).append(track)
        else:
            people.append([track])
    heads = [np.concatenate([track.heads for track in one]).mean(axis=0) for one in people]
    differ = {(i, j): np.abs(heads[i] - heads[j]).mean() for j in range(len(people)) for i in range(j)}
    least = 0.5 * min((d for (i, j), d in differ.items() if meet(people[i], people[j])), default=0.0)
    group = list(range(len(people)))
    for (i, j), d in sorted(differ.items(), key=lambda pair: pair[1]):
        members = [[k for k in range(len(people)) if group[k] == group[which]] for which in (i, j)]
        if (
            d < least
            and group[i] != group[j]
            and not any(meet(people[a], people[b]) for a in members[0] for b in members[1])
        ):
            group = [group[i] if one == group[j] else one for one in group]
    people = [[t for k, one in enumerate(people) if group[k] == which for t in one] for which in sorted({*group})]
    return [[t.number for t in sorted(one, key=lambda t: (t.rows[0], t.number))] for one in people]


def film(shots: int, seed: int, frames: int = 6) -> list[FaceTrack]:
    """Six people, one to three a shot, some views again; what their heads look like varies from shot to shot."""
    rng = np.random.default_rng(seed)
    looks, tracks = rng.integers(40, 215, (6, 8, 8, 3)), []
    for shot in range(shots):
        view = shot if rng.random() < 0.7 else int(rng.integers(0, shot + 1))
        for who in rng.choice(6, int(rng.integers(1, 4)), replace=False):
            first = shot * frames + int(rng.integers(0, 3))
            rows = range(first, (shot + 1) * frames + (rng.random() < 0.1))
            one = track(len(tracks), rows, rng.uniform(0.2, 0.8), area=rng.uniform(0.02, 0.1), shot=shot, view=view)
            heads = np.clip(looks[who] + rng.normal(0, 40, one.heads.shape), 0, 255).astype(np.uint8)
            tracks.append(replace(one, heads=heads))
    return tracks


def test_the_quick_way_to_join_a_films_tracks_is_the_plain_one() -> None:
    sizes = []
    for seed in range(12):
        tracks = film(3 * seed, seed)
        people = [[t.number for t in one] for one in target_face.group_tracks_by_person(tracks)]
        assert people == joined_plainly(tracks)
        sizes += [len(one) for one in people]
    assert max(sizes) > 5


def test_a_films_thousand_groups_are_joined_in_seconds_and_with_signs_of_life() -> None:
    beats: list[float] = []
    tracks = film(700, 1, 3)
    start = time.process_time()
    people = target_face.group_tracks_by_person(tracks, lambda: beats.append(time.process_time()))
    assert time.process_time() - start < 20  # pair by pair it took minutes
    assert sum(map(len, people)) == len(tracks) > 1200
    assert max(np.diff([start, *beats])) < 5
