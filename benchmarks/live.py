"""How quick `bemerc live` is: capture to overlay, end of utterance to emotion, frames dropped, processor, memory.

    python -m benchmarks.live --model models/merc/TVB --clip talk.mp4 [--minutes 1] [--page-minutes 1] [--write]
    python -m benchmarks.live --model models/merc/TVB --clip talk.mp4 --page-minutes 30 --only page

A clip with a face and a voice is played over and over: as a file at real speed, and through Chromium's fake camera and
microphone into the page. Several --model are measured one after the other. --write puts the table into docs/live.md.
Nothing else may run meanwhile. A model that reads words alone gets words: the file's subtitles, an utterance every 4 s;
no page then.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "live.md"
HEAD = (
    "| model | from | minutes | overlay p50, p95 (ms) | utterances | emotion p50, p95 (ms) | frames | dropped | cores | memory (MB) |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


def live(*arguments: str | Path, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bemerc", "live", *map(str, arguments), "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.Popen(command, text=True, cwd=ROOT, **pipes)


def of_file(model: Path, clip: Path, minutes: float, folder: Path) -> dict[str, Any]:
    """The clip over and over as one file."""
    long = folder / "long.mp4"
    ffmpeg(
        "-stream_loop", "-1", "-i", clip, "-t", str(60 * minutes), "-vf", "scale=-2:480", "-pix_fmt", "yuv420p", long
    )
    if reads_words_alone(model):
        long.with_suffix(".vtt").write_text(subtitles(60 * minutes), encoding="utf-8")
    out, err = live(long, "--model", model).communicate()
    return summary(out, err)


def reads_words_alone(model: Path) -> bool:
    return not json.loads((model / "metadata.json").read_text(encoding="utf-8"))["modalities"]


def subtitles(seconds: float) -> str:
    starts = range(0, int(seconds) - 4, 4)
    words = ("I did not expect that.", "Well, what can you do about it, honestly?", "No. Not again, please.")
    cues = [
        f"00:{s // 60:02d}:{s % 60:02d}.000 --> 00:{s // 60:02d}:{s % 60 + 3:02d}.000\n<v {'AB'[s // 4 % 2]}>{words[s // 4 % 3]}\n"
        for s in starts
    ]
    return "WEBVTT\n\n" + "\n".join(cues)


def summary(out: str, err: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in out.splitlines() if '"summary"' in line]
    if not lines:
        raise SystemExit(err[-2000:])
    return dict(lines[-1])


def of_page(model: Path, clip: Path, minutes: float, folder: Path, picture: Path | None) -> dict[str, Any]:
    """The clip over and over through Chromium's fake devices."""
    from playwright.sync_api import sync_playwright

    video, sound = folder / "clip.mjpeg", folder / "clip.wav"
    ffmpeg("-i", clip, "-an", "-vf", "scale=-2:480,fps=30", "-q:v", "3", video)
    ffmpeg("-i", clip, "-vn", "-ac", "1", "-ar", "48000", sound)
    said = folder / "events.jsonl"  # a file, since a pipe that nobody reads stops who writes into it after 64 kB
    with said.open("w", encoding="utf-8") as events, (folder / "log.txt").open("w", encoding="utf-8") as log:
        running = live("--serve", "--model", model, stdout=events, stderr=log)
    while (found := re.search(r"http://\S+", (folder / "log.txt").read_text(encoding="utf-8"))) is None:
        if running.poll() is not None:
            raise SystemExit((folder / "log.txt").read_text(encoding="utf-8"))
        time.sleep(0.2)
    address = found[0]
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--no-sandbox")
    files = (f"--use-file-for-fake-video-capture={video}", f"--use-file-for-fake-audio-capture={sound}")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*fake, *files])
        context = browser.new_context(viewport={"width": 1300, "height": 900}, permissions=["camera", "microphone"])
        page = context.new_page()
        page.goto(address)
        page.click("#start")
        page.wait_for_timeout(60_000 * minutes)
        if picture is not None:
            page.screenshot(path=picture, type="jpeg", quality=80)
        page.click("#start")
        page.wait_for_timeout(5000)
        browser.close()
    running.send_signal(signal.SIGTERM)
    running.wait()
    return summary(said.read_text(encoding="utf-8"), (folder / "log.txt").read_text(encoding="utf-8"))


def row(name: str, where: str, figures: dict[str, Any]) -> str:
    def pair(key: str) -> str:
        return f"{figures[key]['p50']:.0f}, {figures[key]['p95']:.0f}" if figures[key] else "-"

    numbers = [figures[key] for key in ("frames", "dropped", "cores", "memory_mb")]
    minutes = f"{figures['seconds'] / 60:.1f}"
    cells = [name, where, minutes, pair("overlay_ms"), figures["utterances"], pair("emotion_ms"), *numbers]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--page-minutes", type=float, default=1.0)
    parser.add_argument("--only", choices=["file", "page"])
    parser.add_argument("--picture", type=Path, help="where a picture of the page at the end goes (JPEG)")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = [HEAD]
    print(HEAD, flush=True)
    for model in options.model:
        for where in ("file", "page"):
            if options.only not in (None, where) or (where == "page" and reads_words_alone(model)):
                continue
            with tempfile.TemporaryDirectory() as folder:
                given = (model.resolve(), options.clip.resolve())
                if where == "file":
                    figures = of_file(*given, options.minutes, Path(folder))
                else:
                    figures = of_page(*given, options.page_minutes, Path(folder), options.picture)
            lines.append(row(f"{model.parent.parent.parent.name or model}/{model.name}", where, figures))
            print(lines[-1], flush=True)
    if options.write:
        text, table = PAGE.read_text(encoding="utf-8"), "\n".join(lines)
        made = re.sub(
            r"(<!-- figures -->\n).*?(\n<!-- /figures -->)", lambda at: at[1] + table + at[2], text, flags=re.DOTALL
        )
        PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
