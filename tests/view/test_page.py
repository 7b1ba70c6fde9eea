"""The page in a browser: it draws, stays offline, its overlay stands on the face, keys work, strangers' words are text.

In headless Chromium by Playwright; without them these tests are skipped.
"""

from __future__ import annotations

import html
import http.client
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, Head, Rows, TrackSpan, open_cache, pack_landmarks, write_cache
from bemerc.core.errors import BemercError
from bemerc.core.hashing import sha256
from bemerc.corpus.corpora import caveat
from bemerc.corpus.manifest import Utterance, read_manifest, write_manifest
from bemerc.evaluate import report_page
from bemerc.extraction.networks import MESH_POINTS
from bemerc.media.video import Video, probe
from bemerc.view import annotated, arrays, build, media_files, page_file, serve, sources
from bemerc.view.conversion import coarsened
from bemerc.view.encoding import write_video
from bemerc.view.lines import LINES
from tests.cli.test_cli import bemerc
from tests.clips import ffmpeg
from tests.slow import beyond

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZE = (320, 240)
RADIUS = 40.0
CORPORA = {"corpora": ["sample"]}
EVIL = "</script><img src=x onerror=\"document.title='taken'\"> \u05e9\u05dc\u05d5\u05dd"
NAMES = ("J\u00fcrgen", "\u738b\u5c0f\u660e", "<b>Eve</b>")


def nose(frame: int) -> NDArray[np.float64]:
    """Where the nose, a white disc, is in a frame."""
    return np.array([90 + 5.0 * (frame % 27), 80 + 7.0 * (frame % 11)])


def times_s() -> NDArray[np.float64]:
    """A variable rate: from 15 to 60 frames a second."""
    steps = np.random.default_rng(3).uniform(1 / 60, 1 / 15, 79)
    return np.concatenate([[0.0], np.cumsum(steps)])


def picture(frame: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    disc = np.hypot(x + 0.5 - nose(frame)[0], y + 0.5 - nose(frame)[1]) < 8
    return np.where(disc[..., None], 255, 12).astype(np.uint8).repeat(3, axis=2)


def landmarks(frame: int) -> NDArray[np.float32]:
    """A ring of mesh points around the nose, the face oval outermost."""
    oval = LINES[0][:-1]
    angle = np.linspace(0, 2 * np.pi, MESH_POINTS, endpoint=False)
    ring = 0.4 * RADIUS * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    around = np.linspace(0, 2 * np.pi, len(oval), endpoint=False)
    ring[list(oval)] = RADIUS * np.stack([np.cos(around), np.sin(around), 0 * around], axis=1)
    return (ring + np.append(nose(frame), 0)).astype(np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of variable rate, its caches, predictions and evidence, with words that try to be code."""
    folder = tmp_path_factory.mktemp("view")
    clip = folder / "a b#1.mp4"
    write_video(clip, ((t, picture(i)) for i, t in enumerate(times_s())), np.zeros(16_000, np.float32))
    with Video(clip) as video:
        stamps = np.array([frame.timestamp_s for frame in video])
    assert np.abs(stamps - times_s()).max() < 1e-3
    names = ("AU01_r", "AU12_r", "pose_pitch_deg", "face_x", "face_y", "face_size")
    rows, all_ids = [], [f"d/{n}" for n in range(3)]
    cuts_s = np.linspace(0, stamps[-1] + 0.01, len(all_ids) + 1)
    utterances = []
    for n, id_ in enumerate(all_ids):
        inside = np.flatnonzero((stamps >= cuts_s[n]) & (stamps < cuts_s[n + 1]))
        places = np.array([[*(nose(i) / SIZE), 2 * RADIUS / SIZE[1]] for i in inside])
        values = np.column_stack([np.abs(np.sin(inside)), inside % 5, inside % 3, places]).astype(np.float32)
        packed = pack_landmarks(np.stack([landmarks(i) for i in inside]))
        features = Features(values, stamps[inside] - cuts_s[n], names)
        rows.append((id_, features, float(cuts_s[n + 1] - cuts_s[n]), packed))
        text = (EVIL, "\u4f60\u597d", "\u0645\u0631\u062d\u0628\u0627 world")[n]
        start, end = float(cuts_s[n]), float(cuts_s[n + 1])
        utterances.append(Utterance(id_, "d", n, NAMES[n], text, "joy", "test", clip.name, start, end))
    write_cache(folder / "face.h5", Head("face", names, "clip", "x/1", {}), Rows(rows))  # fmt: skip
    write_manifest(folder / "manifest.jsonl", utterances, ("joy", "anger"), ("sample",))
    lines, evidence = [], []
    for n, id_ in enumerate(all_ids):
        p = (0.9, 0.2, 0.4)[n]
        scores = {"joy": p, "anger": 1 - p}
        best = max(scores, key=lambda label: scores[label])
        lines.append({"id": id_, "gold": "joy", "label": best, "scores": scores, "description": None} | CORPORA)
        parts = [
            {"part": part, "log_probs": {"joy": math.log(0.6), "anger": math.log(0.4)}}
            for part in ("body", "face", "face:brows", "posture", "turn:d/0")
        ]
        evidence.append(
            {
                "id": id_,
                "labels": list(scores),
                "log_probs": {"joy": math.log(0.9), "anger": math.log(0.1)},
                "parts": parts,
            }
        )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "evidence.jsonl").write_text("".join(json.dumps(line) + "\n" for line in evidence))
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """The browser; what a test leaves open would go on drawing."""
    yield chromium
    for context in chromium.contexts:
        context.close()


class Opened:
    """A page in the browser, and what it asked for and complained of."""

    def __init__(self, browser: Any, page: Path | str, **context: Any) -> None:
        self.page = browser.new_context(viewport={"width": 1300, "height": 900}, **context).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.goto(page if isinstance(page, str) else page.absolute().as_uri())
        self.page.wait_for_selector(".chart canvas")
        self.settle()

    def settle(self) -> None:
        """Wait until the frame asked for is on screen. (The page's policy forbids what wait_for_function does.)"""
        while self.page.evaluate("document.getElementById('video').seeking"):
            self.page.wait_for_timeout(20)
        self.page.wait_for_timeout(250)

    def seek(self, time_s: float) -> None:
        code = "t => { const s = document.getElementById('seek'); s.value = t; s.dispatchEvent(new Event('input')) }"
        self.page.evaluate(code, time_s)
        self.settle()

    def time_s(self) -> float:
        return float(self.page.input_value("#seek"))

    def stage(self) -> NDArray[np.float64]:
        """(H, W, 3) the player's picture, 0 to 255; black at the edge, which may be half the page's."""
        from matplotlib.image import imread

        shot = np.asarray(imread(io.BytesIO(self.page.locator("#stage").screenshot())))[..., :3] * 255.0
        inside = np.zeros_like(shot)
        inside[3:-3, 3:-3] = shot[3:-3, 3:-3]
        return inside


def made(world: Path, name: str, *options: str) -> Path:
    answer = bemerc("view", world, "--out", world / f"{name}.html", *options, cwd=world)
    assert answer.returncode == 0, answer.stderr
    return world / f"{name}.html"


def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The middle of the box of a mask: x, y."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0] + columns[-1] + 1, rows[0] + rows[-1] + 1]) / 2


@pytest.mark.parametrize("embed", beyond([False], [False, True]))
def test_the_overlay_stands_on_the_nose_at_any_time_of_a_clip_of_variable_rate(
    browser: Any, world: Path, embed: bool
) -> None:
    opened = Opened(browser, made(world, f"page{embed}", *(["--embed"] if embed else [])))
    choose = random.Random(5)
    for time_s in [choose.uniform(0.05, times_s()[-1] - 0.05) for _ in range(5)]:
        opened.seek(time_s)
        with_mesh = opened.stage()
        opened.page.keyboard.press("m")
        without = opened.stage()
        opened.page.keyboard.press("m")
        scale = without.shape[1] / SIZE[0]
        disc, (red, green, blue) = middle(without.min(axis=2) > 160), with_mesh.transpose(2, 0, 1)
        mesh = middle((blue > red + 40) & (green > red + 20))
        assert np.abs(mesh - disc).max() <= 3, (time_s, mesh, disc)
        frame = int(np.searchsorted(times_s(), time_s, side="right")) - 1
        assert np.abs(disc - nose(frame) * scale).max() <= 3  # the frame on screen is that of this time
    assert not opened.complaints
    assert all(url.startswith(("file:", "blob:")) for url in opened.requests)


def test_keys_move_the_player(browser: Any, world: Path) -> None:
    opened = Opened(browser, made(world, "keys"))
    opened.seek(0.0)
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        opened.page.keyboard.press(key)
        opened.settle()
        assert abs(opened.time_s() - times_s()[frame]) < 0.003
    opened.page.keyboard.press("n")
    assert abs(opened.time_s() - times_s()[-1] / 3) < 0.02
    opened.page.keyboard.press("Space")
    opened.page.wait_for_timeout(600)
    assert opened.page.inner_text("#play") == "Pause"
    opened.page.keyboard.press("Space")
    assert opened.time_s() > times_s()[-1] / 3 + 0.1
    opened.page.keyboard.press("?")
    assert opened.page.locator("#help").is_visible()
    assert not opened.complaints


def test_the_words_of_strangers_are_text(browser: Any, world: Path) -> None:
    opened = Opened(browser, made(world, "words"))
    assert opened.page.title() == "d - bemerc"
    assert EVIL in opened.page.inner_text("#turn")
    listed = opened.page.inner_text("#transcript")
    assert all(name in listed for name in NAMES)
    assert opened.page.locator("main img, main b:has-text('Eve')").count() == 0
    arabic = opened.page.locator("#transcript bdi", has_text="world")
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert "0.7 or more (1)" in opened.page.inner_text("#lists")  # and not the wrong answer of 0.6
    opened.page.click("#lists button")
    assert abs(opened.time_s() - times_s()[-1] / 3) < 0.02
    parts = opened.page.locator("#turn tr:has(button, th):has(svg) th").evaluate_all(
        "them => them.map(t => [t.textContent, t.className])"
    )
    assert parts[2:6] == [["body", ""], ["posture", "inner"], ["face", ""], ["brows", "inner"]]
    assert not opened.complaints


def test_no_faces_leaves_the_pictures_out_and_still_plays(browser: Any, world: Path) -> None:
    page = made(world, "without", "--no-faces")
    assert b".mp4" not in page.read_bytes()
    opened = Opened(browser, page, color_scheme="dark")
    assert opened.page.locator("#video").is_hidden()
    opened.page.click("#play")
    opened.page.wait_for_timeout(500)
    assert opened.time_s() > 0.1
    assert not opened.complaints


def test_a_prediction_comes_with_what_its_model_was_trained_on(browser: Any, world: Path) -> None:
    opened = Opened(browser, made(world, "caveat", "--no-faces"))
    assert caveat(("sample",)) in opened.page.inner_text("#turn")
    assert not caveat(("meld",))


@pytest.mark.slow
def test_what_does_not_fit_on_the_left_is_pointed_to(browser: Any, world: Path) -> None:
    opened = Opened(browser, made(world, "more", "--no-faces"))
    opened.page.set_viewport_size({"width": 1300, "height": 1800})
    opened.page.wait_for_timeout(300)
    assert opened.page.locator("#more").is_hidden()
    opened.page.set_viewport_size({"width": 1300, "height": 500})
    opened.page.click("#more")
    opened.page.wait_for_timeout(1500)
    assert opened.page.locator("#left").evaluate("left => left.scrollTop") > 50


def test_a_dialogue_without_a_body_keeps_the_margins_of_its_charts(browser: Any, world: Path, tmp_path: Path) -> None:
    columns = ("lean_deg", "movement")
    with open_cache(world / "face.h5") as faces:
        rows = [(i, Features(np.full((9, 2), np.nan, np.float32), np.arange(9) / 9, columns), 1.0, None) for i in faces]
    write_cache(tmp_path / "pose.h5", Head("pose", columns, "clip", "x/1", {}), Rows(rows))  # fmt: skip
    for name in ("face.h5", "manifest.jsonl"):
        shutil.copy(world / name, tmp_path / name)
    opened = Opened(browser, made(tmp_path, "empty", "--no-faces"))
    titles = opened.page.locator(".chart .head b").all_inner_texts()
    places = opened.page.locator(".u-over").evaluate_all("them => them.map(t => t.getBoundingClientRect().left)")
    assert {"Body, degrees", "Movement"} <= set(titles)
    assert len({round(left) for left in places}) == 1


def test_what_is_served_needs_the_token_and_the_hosts_name(browser: Any, world: Path) -> None:
    # A test run in the background ignores the signal, and its children would.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bemerc.cli.main import main; main()"
    command = [sys.executable, "-c", code, "view", str(world), "--serve", "-q"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as run:
        assert run.stdout is not None
        address = run.stdout.readline().split()[1]
        try:
            opened = Opened(browser, address)
            opened.seek(1.5)
            assert (opened.stage().min(axis=2) > 160).any()  # the disc of the video
            assert not opened.complaints
            assert all(url.startswith((address, "blob:")) for url in opened.requests)
            host, port = address.split("/")[2].split(":")
            for path, name in (("/", address.split("/")[2]), (f"/{address.split('/')[3]}/", "evil.example")):
                connection = http.client.HTTPConnection(host, int(port))
                connection.request("GET", path, headers={"Host": name})
                assert connection.getresponse().status == 404
                connection.close()
        finally:
            run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        assert run.stderr.read() == ""  # no word of work that would go on
    assert run.returncode == 130


def test_ranges_are_those_that_http_has() -> None:
    """First and last byte; the whole file where a range names nothing that is there."""
    whole = (0, 9)
    ranges = {
        "bytes=2-5": (2, 5), "bytes=2-": (2, 9), "bytes=-3": (7, 9), "bytes=-99": whole, "bytes=0-99": whole,
        "bytes=5-2": whole, "bytes=-0": whole, "bytes=10-": whole, "bytes=-": whole, "bytes=0-1,4-5": whole, "": whole,
    }  # fmt: skip
    assert {text: serve._range(text, 10) for text in ranges} == ranges
    assert serve._range("bytes=0-", 0) == (0, -1)


def test_blur_leaves_the_measured_face_alone(world: Path) -> None:
    page = made(world, "blurred", "--blur")
    clip = next((world / "blurred_videos").glob("*.mp4"))
    assert clip.stat().st_mode & 0o077 == 0
    assert clip.name in page.read_text()
    with Video(clip) as coarse, Video(world / "a b#1.mp4") as sharp:
        for number, (after, before) in enumerate(zip(coarse, sharp, strict=True)):
            assert abs(after.timestamp_s - before.timestamp_s) < 1e-3
            x, y = nose(number).astype(int)
            near = np.s_[y - 6 : y + 6, x - 6 : x + 6]
            assert np.abs(after.rgb()[near].astype(float) - before.rgb()[near]).mean() < 12
    stripes = np.indices((60, 80)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * np.uint8(255)
    assert int(np.ptp(coarsened(stripes.astype(np.uint8)))) < 20


def test_the_video_has_every_frame_at_its_time_with_the_mesh_on_it(world: Path) -> None:
    answer = bemerc("view", world, "--video", world / "out.mp4", cwd=world)
    assert answer.returncode == 0, answer.stderr
    with Video(world / "out.mp4") as video:
        frames = [(frame.timestamp_s, frame.rgb().astype(float)) for frame in video]
    assert np.abs(np.array([time for time, _ in frames]) - times_s()).max() < 1e-3
    for number, (_, rgb) in enumerate(frames):
        assert np.abs(middle(rgb.max(axis=2) > 70) - nose(number)).max() < 3
    subtitles = (world / "out.vtt").read_text()
    assert "<v J\u00fcrgen>&lt;/script&gt;" in subtitles
    assert "[anger 0.80]" in subtitles


def test_a_video_without_faces_has_no_voices(world: Path, tmp_path: Path) -> None:
    for faces in ("--faces", "--no-faces"):
        answer = bemerc("view", world, "--video", tmp_path / f"{faces}.mp4", faces, "--json", cwd=world)
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["subtitles"] == str(tmp_path / f"{faces}.vtt")
    assert probe(tmp_path / "--faces.mp4").has_audio
    assert not probe(tmp_path / "--no-faces.mp4").has_audio


def test_what_is_not_there_is_said(world: Path) -> None:
    answer = bemerc("view", world, "--dialogue", "nobody", "--out", world / "x.html")
    assert (answer.returncode, "Traceback" in answer.stderr) == (1, False)
    with open_cache(world / "face.h5") as cache:
        write_cache(world / "long" / "face.h5", Head("face", cache.columns, "clip", "x/1", {}), Rows([(id_, cache[id_], 9000.0, None) for id_ in cache.ids]))  # fmt: skip
    answer = bemerc("view", world / "long", "--out", world / "x.html")
    assert (answer.returncode, "--dialogue" in answer.stderr) == (1, True)  # seven hours
    assert not (world / "x.html").exists()


def test_what_is_of_another_corpus_is_told_of(world: Path, tmp_path: Path) -> None:
    for name in ("face.h5", "manifest.jsonl", "predictions.jsonl"):
        shutil.copy(world / name, tmp_path)
    lines = (tmp_path / "predictions.jsonl").read_text().replace('"d/', '"other/')
    (tmp_path / "predictions.jsonl").write_text(lines)
    with open_cache(tmp_path / "face.h5", "face") as cache:
        manifest = read_manifest(tmp_path / "manifest.jsonl")
        beside = sources.of(manifest, {"face": cache}, tmp_path, None, None)
        assert set(beside.predictions) == {"other/0", "other/1", "other/2"}  # a warning
        with pytest.raises(BemercError, match="other/0"):
            sources.of(manifest, {"face": cache}, tmp_path, tmp_path / "predictions.jsonl", None)
        elsewhere = replace(manifest, utterances=tuple(replace(u, id=f"x/{u.id}") for u in manifest.utterances))
        with pytest.raises(BemercError, match=r"x/d/0.*'d/0'"):
            build.selected(replace(beside, manifest=elsewhere), ())


def test_hidden_characters_of_strangers_are_seen(tmp_path: Path) -> None:
    index = {"\u202eid": ["\x1b[2J", 1, None], "holds": ("a\x00",)}
    page_file.write(tmp_path / "a.html", "\u202etitle", index, [])
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "\u202e" not in page
    shown = json.loads(page.partition('id="index">')[2].partition("</script>")[0])
    assert shown == {r"\u202eid": [r"\x1b[2J", 1, None], "holds": [r"a\x00"]}


@pytest.mark.parametrize(
    "values", [[0.5, -1, np.nan], [np.inf, 3e38, -np.inf], [1e-45, np.nan], [0, np.inf], [np.nan], []]
)
def test_a_series_keeps_what_is_finite(values: list[float]) -> None:
    made, array = arrays.Arrays(), np.array(values, np.float32)
    made.add_series("x", array)
    steps, finite = np.frombuffer(made.block(), "<i2", len(array)), np.isfinite(array)
    assert (steps[~finite] == arrays.MISSING).all()
    largest = float(np.abs(array[finite]).max(initial=0))
    error = np.abs(steps[finite] * made.table["x"]["scale"] - array[finite])
    assert (error <= largest / 65534 * 1.01).all()


@pytest.mark.parametrize("title", ["{{data}}", "{{scripts}}{{style}}", "{{nothing}} \\1 </title>"])
def test_a_title_that_looks_like_a_place_of_the_template_is_a_title(tmp_path: Path, title: str) -> None:
    page_file.write(tmp_path / "page.html", title, {}, [])
    page_file.write(tmp_path / "plain.html", "title", {}, [])
    expected = (tmp_path / "plain.html").read_text().replace("<title>title<", f"<title>{html.escape(title)}<")
    assert (tmp_path / "page.html").read_text() == expected


def test_what_is_wrong_is_read_by_weak_eyes() -> None:
    """Its colour on the light pages has the contrast of 4.5 that WCAG asks of small text."""
    for sheet in ((page_file.asset_path("page.css")).read_text(), report_page._STYLE):
        channels = [int(re.search(r"--bad: #(\w{6})", sheet)[1][at : at + 2], 16) / 255 for at in (0, 2, 4)]  # type: ignore[index]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        raised = 0.91  # of #f4f5f7, the darkest ground that it stands on
        assert (raised + 0.05) / (np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05) >= 4.5


def test_each_of_two_who_speak_at_once_can_be_looked_at(browser: Any, world: Path, tmp_path: Path) -> None:
    shutil.copy(world / "a b#1.mp4", tmp_path / "a.mp4")
    columns = ("pose_pitch_deg", "face_x", "face_y", "face_size")
    who = {"Ann": (0.0, 1.5, 1.0), "Ben": (0.5, 1.5, 2.0)}
    rows, utterances = [], []
    for n, (name, (start, end, pitch)) in enumerate(who.items()):
        values = np.tile(np.array([pitch, 0.5, 0.5, 0.2], np.float32), (20, 1))
        rows.append((f"a/{n}", Features(values, np.linspace(0, end - start, 20), columns), end - start, None))
        utterances.append(Utterance(f"a/{n}", "a", n, name, name, None, "test", "a.mp4", start, end))
    write_cache(tmp_path / "face.h5", Head("face", columns, "clip", "x/1", {}), Rows(rows))
    write_manifest(tmp_path / "manifest.jsonl", utterances, ("joy",), ("x",))
    assert bemerc("view", tmp_path, "--out", tmp_path / "page.html").returncode == 0
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#transcript button")
    strip = page.locator(".chart canvas").first
    assert strip.evaluate("c => c.clientHeight") > 80  # two lanes of words

    def at(time_s: float) -> None:
        page.locator("#seek").evaluate("(e, t) => { e.value = t; e.dispatchEvent(new Event('input')); }", time_s)

    def wait_for(name: str, pitch: str) -> None:
        page.locator("#turn strong", has_text=name).wait_for()
        page.locator(".chart", has_text=re.compile(rf"Head, degrees.*{pitch}\u00b0", re.DOTALL)).wait_for()

    for button, name, pitch in ((0, "Ann", "1.0"), (1, "Ben", "2.0"), (0, "Ann", "1.0")):
        page.locator("#transcript button").nth(button).click()
        at(1.0)
        wait_for(name, pitch)
    page.keyboard.press("n")
    wait_for("Ben", "2.0")


def test_a_clip_that_was_replaced_is_named(world: Path, tmp_path: Path) -> None:
    clip = Path(shutil.copy(world / "a b#1.mp4", tmp_path / "a.mp4"))
    columns = ("face_x", "face_y", "face_size")
    face = Features(np.full((5, 3), 0.5, np.float32), np.arange(5) / 10, columns)
    rows = Rows([("a", face, 0.5, None)], sources={"a": sha256(clip)})
    write_cache(tmp_path / "face.h5", Head("face", columns, "clip", "x/1", {}), rows)
    view = ("view", tmp_path, "--video-dir", tmp_path, "--out", tmp_path / "page.html")
    look = ("inspect", tmp_path / "face.h5", "a", "--video-dir", tmp_path, "--out", tmp_path / "a.png")

    def said(*command: str | Path) -> str:
        answer = bemerc(*command)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout + answer.stderr

    for command in (view, look):
        assert "not the file that was measured" not in said(*command)
    ffmpeg("-i", world / "a b#1.mp4", "-t", "1", clip)
    for command in (view, look):
        assert "not the file that was measured" in said(*command)
    with h5py.File(tmp_path / "face.h5", "a") as file:  # the hash is that of another tool's table then
        file.attrs["params"] = '{"imported": {"from": "openface"}}'
    assert "not the file that was measured" not in said(*view)


def test_tables_of_the_report_are_read_on_a_phone(browser: Any) -> None:
    cells = "<td style='text-align: right'>42.9 [28.5, 57.2]</td>" * 4
    page = browser.new_page(viewport={"width": 380, "height": 600})
    page.set_content(
        f"<style>{report_page._STYLE}</style><div class=wide><table><tr><td>the speaker's label changes</td>{cells}</tr></table></div>"
    )
    assert page.locator("tr").bounding_box()["height"] < 80
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_nobodys_recording_is_replaced(world: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    clip = shutil.copy(world / "a b#1.mp4", tmp_path / "d/a.mp4")
    before, tables = clip.read_bytes(), (tmp_path / "face.h5", "--video-dir", tmp_path)
    columns = ("face_x", "face_y", "face_size")
    face = Features(np.full((5, 3), 0.5, np.float32), np.arange(5) / 10, columns)
    write_cache(tmp_path / "face.h5", Head("face", columns, "clip", "x/1", {}), Rows([("d/a", face, 0.5, None)]))
    for arguments in (
        ("view", *tables, "--video", clip),
        ("view", *tables, "--video", clip.with_suffix(".mkv")),
        ("view", *tables, "--out", clip),
        ("cache", "export", tmp_path / "face.h5", clip, "--to", "long", "--video-dir", tmp_path),
        ("inspect", tmp_path / "face.h5", "d/a", "--out", clip),
    ):
        answer = bemerc(*arguments)
        assert (answer.returncode, "Name " in answer.stderr) == (1, True), (arguments, answer.stderr)
    assert clip.read_bytes() == before
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["a.mp4"]


def test_clips_of_another_shape_are_not_stretched() -> None:
    shapes = [(40, 80), (60, 60), (20, 90), (40, 80)]
    frames = [rgb for _, rgb in annotated._of_one_shape((0.0, np.full((*s, 3), 9, np.uint8)) for s in shapes)]
    assert [rgb.shape[:2] for rgb in frames] == [(40, 80), (60, 120), (45, 90), (40, 80)]
    assert [int((rgb > 0).all(axis=2).sum()) for rgb in frames] == [h * w for h, w in shapes]


def test_a_clip_that_begins_later_is_converted(world: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    ffmpeg("-itsoffset", "1.4", "-i", world / "a b#1.mp4", "-c", "copy", late)
    playable = [about.playable for clip in (world / "a b#1.mp4", late) if (about := media_files.header(clip))]
    assert playable == [True, False]


def test_a_broken_clip_costs_its_own_part_of_the_video(world: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    shutil.copy(world / "a b#1.mp4", tmp_path / "d/b.mp4")
    (tmp_path / "d/a.mp4").write_bytes(b"no clip")
    columns = ("face_x", "face_y", "face_size")
    face = Features(np.full((5, 3), 0.5, np.float32), np.arange(5) / 10, columns)
    write_cache(tmp_path / "face.h5", Head("face", columns, "clip", "x/1", {}), Rows([(id_, face, 0.5, None) for id_ in ("d/a", "d/b")]))  # fmt: skip
    answer = bemerc("view", tmp_path, "--video-dir", tmp_path, "--video", tmp_path / "out.mp4")
    assert answer.returncode == 0, answer.stderr
    assert "a.mp4" in answer.stderr
    assert "out.mp4 lies in the folder of clips" in answer.stderr
    with Video(tmp_path / "out.mp4") as video:
        assert next(iter(video)).timestamp_s >= 0.5


def test_videos_that_no_browser_opens_in_a_page_are_refused(world: Path, tmp_path: Path) -> None:
    for name in ("face.h5", "manifest.jsonl", "a b#1.mp4"):
        shutil.copy(world / name, tmp_path)
    os.truncate(tmp_path / "a b#1.mp4", 400_000_000)  # zeros, which lie nowhere
    answer = bemerc("view", tmp_path, "--embed", "--out", tmp_path / "page.html")
    assert (answer.returncode, "--dialogue" in answer.stderr) == (1, True), answer.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_lone_face_that_may_not_be_the_speakers_is_told_of(browser: Any, world: Path, tmp_path: Path) -> None:
    for name in ("manifest.jsonl", "a b#1.mp4"):
        shutil.copy(world / name, tmp_path)
    with open_cache(world / "face.h5") as cache:
        ids = list(cache.ids)
        choice = Choice("speaking", "alone", 1, 0.2, True, (TrackSpan(0, 3, 0, 0.2, 1),))
        write_cache(tmp_path / "face.h5", Head("face", cache.columns, "clip", "x/1", {}), Rows([(id_, cache[id_], cache.duration_s(id_), None) for id_ in ids], choices=dict.fromkeys(ids, choice)))  # fmt: skip
    opened = Opened(browser, made(tmp_path, "doubt", "--no-faces"))
    assert "score 0.20, which leaves it uncertain" in opened.page.inner_text("#turn")


def test_a_clip_that_browsers_do_not_play_is_converted(browser: Any, world: Path, tmp_path: Path) -> None:
    ffmpeg("-i", world / "a b#1.mp4", "-c:v", "mpeg4", "-q:v", "3", "-an", "-r", "25", tmp_path / "d.avi")
    with Video(tmp_path / "d.avi") as video:
        stamps = np.array([frame.timestamp_s for frame in video])
    columns = ("face_x", "face_y", "face_size")
    values = np.full((len(stamps), 3), 0.5, np.float32)
    rows = [("d", Features(values, stamps, columns), float(stamps[-1]) + 0.04, None)]
    write_cache(tmp_path / "features" / "face.h5", Head("face", columns, "clip", "x/1", {}), Rows(rows))  # fmt: skip
    answer = bemerc("view", tmp_path / "features", "--video-dir", tmp_path / "d.avi", "--out", tmp_path / "page.html")
    assert answer.returncode == 0, answer.stderr
    assert [file.suffix for file in (tmp_path / "page_videos").iterdir()] == [".mp4"]
    opened = Opened(browser, tmp_path / "page.html")
    opened.seek(float(stamps[-1]) / 2)
    assert (opened.stage().min(axis=2) > 160).any()
    assert not opened.complaints
