"""report.html: the report's text, its pictures inside, mistakes that lead to their moment, strangers' words as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.evaluate import report_page
from bemerc.language.predict.records import Prediction

TEXT = "# The report\n\nAll of it.\n\n## First\n\n![A plot](plots/ladder.png)\n\n## Second <b>\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n"


class Parsed(HTMLParser):
    """Which elements a page has, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def values(self, tag: str, name: str) -> list[str]:
        return [given[name] or "" for one, given in self.elements if one == tag and name in given]


def corpus(folder: Path, text: str = "hello") -> Manifest:
    whole = Utterance("a", "d", 0, "Ann", text, "joy", "test", "clips/one two.mp4")
    cue = replace(whole, id="b", index=1, start_s=12.5, end_s=14.0)
    words = replace(whole, id="c", index=2, clip=None)
    return Manifest((whole, cue, words), ("joy", "fear"), ("mine",), folder)


def made(tmp_path: Path, text: str = "hello") -> str:
    (tmp_path / "results" / "plots").mkdir(parents=True)
    (tmp_path / "results" / "plots" / "ladder.png").write_bytes(b"picture")
    wrong = [Prediction(key, "joy", "fear", {"joy": 0.2, "fear": 0.8}, None) for key in "abc"]
    return report_page.page(TEXT, tmp_path / "results", corpus(tmp_path, text), {"T": wrong})


def test_the_page_holds_the_report_and_its_pictures_and_fetches_nothing(tmp_path: Path) -> None:
    html = made(tmp_path)
    parsed = Parsed(html)
    assert parsed.values("img", "src") == ["data:image/png;base64,cGljdHVyZQ=="]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.elements}
    assert "default-src 'none'" in parsed.values("meta", "content")[-1]
    anchors = [address[1:] for address in parsed.values("a", "href") if address.startswith("#")]
    assert len(anchors) == 3
    assert set(anchors) <= {given.get("id") for _, given in parsed.elements}
    assert not re.search(r"""(src|href)=["']https?:""", html)


def test_a_mistake_leads_to_its_moment(tmp_path: Path) -> None:
    addresses = [one for one in Parsed(made(tmp_path)).values("a", "href") if not one.startswith("#")]
    assert addresses == ["../clips/one%20two.mp4", "../clips/one%20two.mp4#t=12.5,14"]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</table>", "&amp;"])
def test_the_words_of_strangers_are_text(tmp_path: Path, text: str) -> None:
    plain, given = (Parsed(made(tmp_path / str(number), words)) for number, words in enumerate(("hello", text)))
    assert given.elements == plain.elements


def test_hidden_characters_are_seen_and_long_words_are_cut(tmp_path: Path) -> None:
    html = made(tmp_path, "\u202egpj \x1b[2J \x00 " + "w" * 100_000)
    assert "\\u202egpj \\x1b[2J \\x00 www" in html
    assert len(html) < 20_000


def test_a_clip_in_an_object_store_has_no_link(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    remote = replace(corpus(tmp_path).utterances[0], clip="s3://bucket/a.mp4")
    wrong = {"T": [Prediction("a", "joy", "fear", {"joy": 0.2, "fear": 0.8}, None)]}
    html = report_page.page("# R\n", tmp_path, Manifest((remote,), ("joy", "fear"), ("mine",), tmp_path), wrong)
    assert "s3:" not in html
