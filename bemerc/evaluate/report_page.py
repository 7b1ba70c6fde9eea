"""report.html: the report as one page to open from disk, with its plots inside, and a list of mistakes to look at.

The text is report.md's, so the two never differ. Each mistake links to its moment in the clip, by a path relative to
the page. Nothing is fetched and nothing runs: there is no script, a content security policy forbids every connection,
and strangers' words are escaped.
"""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from markdown_it import MarkdownIt

from bemerc.core.terminal import settled
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.evaluate import mistakes
from bemerc.language.predict.records import Prediction

LONGEST = 500  # characters of an utterance's words
MOST = 200  # mistakes on the page; mistakes.csv has all

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --line: #d5d9de; --faint: #5b6570; --raised: #f4f5f7; --accent: #0072b2; --bad: #ad4c00; }
@media (prefers-color-scheme: dark) {
  :root { --line: #363d45; --faint: #a0a9b3; --raised: #1d2126; --accent: #56b4e9; --bad: #e69f00; }
  img { background: #fff; border-radius: 4px; }
}
body { font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", "Noto Sans Arabic", sans-serif; max-width: 72rem; margin: 1.5rem auto; overflow-wrap: anywhere; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; } a { color: var(--accent); }
.wide { overflow-x: auto; } tr > :first-child { min-width: 8rem; }
table { border-collapse: collapse; font-size: .88rem; } th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: start; vertical-align: top; }
th { background: var(--raised); position: sticky; top: 0; } td[style*="right"], .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; height: auto; } code { background: var(--raised); padding: 0 .25rem; }
.wrong { color: var(--bad); font-weight: 600; } .faint { color: var(--faint); }
"""


def page(text: str, folder: Path, manifest: Manifest, predictions: Mapping[str, Sequence[Prediction]]) -> str:
    """The page, HTML.

    text         report.md's content; its pictures lie in ``folder``, where the page will, too
    predictions  variant -> predictions, for the list of mistakes
    """
    body, headings = _body(text, folder)
    listed = _mistakes(folder, manifest, predictions)
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in [*headings, ("mistakes", "Every mistake")])
    title = escape(text.partition("\n")[0].lstrip("# "))
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<style>{_STYLE}</style>\n<main>\n<nav aria-label="Sections">{links}</nav>\n{body}{listed}</main>\n</html>\n'
    )


def escape(text: str) -> str:
    """A stranger's text as text of the page."""
    return html.escape(settled(text))


def _body(text: str, folder: Path) -> tuple[str, list[tuple[str, str]]]:
    """The report as HTML with its pictures inside, and its sections: (anchor, name)."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(settled(text))
    headings: list[tuple[str, str]] = []

    def heading(match: re.Match[str]) -> str:
        headings.append((f"s{len(headings)}", match[1]))
        return f'<h2 id="{headings[-1][0]}">{match[1]}</h2>'

    body = re.sub(r"<h2>(.*?)</h2>", heading, body)
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    return re.sub(r'src="(plots/[\w.]+\.png)"', lambda match: f'src="{_picture(folder / match[1])}"', body), headings


def _picture(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _mistakes(folder: Path, manifest: Manifest, predictions: Mapping[str, Sequence[Prediction]]) -> str:
    wrong = mistakes.wrong(manifest, predictions)
    more = f" The first {MOST} of {len(wrong)}; all are in mistakes.csv." if len(wrong) > MOST else ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("utterance", "words", "label", *predictions))
    rows = "\n".join(_row(one, folder, manifest, predictions) for one in wrong[:MOST])
    return (
        '<h2 id="mistakes">Every mistake, the last model\'s most confident first</h2>\n'
        f"<p>A name opens the clip at that moment. For mesh, curves and sentences of the same moment: "
        f"<code>bemerc view</code> with <code>--predictions</code>.{more}</p>\n"
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n'
    )


def _row(
    one: mistakes.Mistake, folder: Path, manifest: Manifest, predictions: Mapping[str, Sequence[Prediction]]
) -> str:
    u = one.utterance
    moment = _moment(u, manifest, folder)
    clip = f'<a href="{escape(moment)}">{escape(u.id)}</a>' if moment else escape(u.id)
    speaker = f' <span class="faint">{escape(u.speaker)}</span>' if u.speaker else ""
    words = u.text if len(u.text) <= LONGEST else f"{u.text[:LONGEST]} ..."
    cells = "".join(f"<td>{cell}</td>" for cell in _answers(one, predictions))
    return f'<tr><td dir="auto">{clip}{speaker}</td><td dir="auto">{escape(words)}</td><td>{escape(u.label or "")}</td>{cells}</tr>'


def _answers(one: mistakes.Mistake, predictions: Mapping[str, Sequence[Prediction]]) -> Iterator[str]:
    for name in predictions:
        answer = one.answers.get(name)
        if answer is None:
            yield '<span class="faint">none</span>'
        else:
            right = answer.label == one.utterance.label
            kind = "" if right else ' class="wrong"'
            yield f"<span{kind}>{escape(answer.label)}</span> {answer.scores[answer.label]:.2f}"


def _moment(utterance: Utterance, manifest: Manifest, folder: Path) -> str:
    """The clip's address relative to the page, at the utterance's seconds; empty where it has no clip."""
    clip = manifest.local_clip(utterance)
    if clip is None:
        return ""
    spans = (utterance.start_s, utterance.end_s)
    times = ",".join(f"{second:.3f}".rstrip("0").rstrip(".") for second in spans if second is not None)
    address = quote(Path(os.path.relpath(clip, folder)).as_posix())
    return f"{address}#t={times}" if utterance.start_s is not None else address
