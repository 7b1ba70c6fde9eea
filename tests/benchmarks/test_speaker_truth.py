"""benchmarks/speaker_truth.py: whose face was measured, beside what somebody wrote down."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bemerc.cache import Choice, TrackSpan
from bemerc.extraction.face.target_face import FaceTrack
from benchmarks.speaker_truth import Judged, Stretch, measured_places, read_truth, row


def track(number: int, x: float, rows: range) -> FaceTrack:
    n = len(rows)
    crops = np.zeros((n, 24, 24), np.uint8), np.zeros((n, 8, 8, 3), np.uint8)
    return FaceTrack(number, 0, 0, np.array(rows), np.full(n, x), np.ones(n), np.zeros((n, 3)), np.ones(n), *crops)


def test_the_truth_is_read_with_one_place_or_two(tmp_path: Path) -> None:
    table = tmp_path / "truth.csv"
    table.write_text("clip,file,start_s,end_s,x_range\na,a.mp4,0.2,7.8,0-0.47 or 0.5-1\nb,b.mp4,0,9,0.5-1\n")
    both, one = read_truth(table)
    assert both == Stretch("a.mp4", 0.2, 7.8, ((0.0, 0.47), (0.5, 1.0)))
    assert one.places == ((0.5, 1.0),)


def test_rows_are_those_of_the_spans_that_were_selected() -> None:
    tracks = [track(0, 0.2, range(10)), track(1, 0.8, range(4, 10))]
    spans = (TrackSpan(0, 5, 0, 0.9, 2), TrackSpan(5, 10, 1, 0.9, 2))
    choice = Choice("speaking", "speaking", 2, 0.9, False, spans)
    assert measured_places(tracks, choice) == [0.2] * 5 + [0.8] * 5


def test_another_s_voice_is_never_right() -> None:
    foreign = [Judged(None, 1.0, 1, 0.2, True), Judged(None, 1.0, 1, 0.9, False)]
    assert row("x", foreign) == "| x | 2 | - | 1 | 1 |"
    own = [Judged(True, 1.0, 2, 0.2, True), Judged(False, 1.0, 2, 0.9, False), Judged(False, 1.0, 2, 0.4, True)]
    assert row("x", own) == "| x | 3 | 1 | 2 | 1 |"
