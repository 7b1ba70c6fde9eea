"""Every relative link and anchor in README.md, CONTRIBUTING.md and docs/ leads somewhere, and so does every mention of a page."""

from __future__ import annotations

import ast
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bemerc.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MADE = {DOCS / "reference" / name for name in ("cli.md", "functions.md", "params.md")}  # by docs/reference_pages.py
LATER = {"docs/gpu.md"}  # by `make gpu-check`, where there is a GPU


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if target in MADE:
            continue
        assert target.exists(), link
        if page.is_relative_to(DOCS):
            assert target.is_relative_to(DOCS), f"{link} is not in the site"
        if anchor:
            assert anchor in anchors(target), link


def names(nav: object) -> Iterator[str]:
    """The pages of mkdocs.yml's nav."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from names(item)


def test_every_page_has_its_place_in_the_site() -> None:
    listed = list(names(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert len(listed) == len(set(listed))
    assert {DOCS / name for name in listed} == {page for page in PAGES if page.is_relative_to(DOCS)} | MADE


def test_every_page_that_code_names_is_there() -> None:
    kinds = ("*.py", "*.yaml", "*.toml", "Makefile", "dvc.yaml", ".ci/run")
    listing = subprocess.run(["git", "ls-files", *kinds], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in listing.splitlines():
        if name.startswith("tests/old_files/"):  # made by an earlier release
            continue
        for page in re.findall(r"\bdocs/[\w/]+\.(?:md|png)\b", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / page).exists() or ROOT / page in MADE or page in LATER, f"{name} names {page}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    for line in re.findall(r"^(?:\$ )?bemerc ([a-z].*)", re.sub(r"\\\n\s*", " ", code), re.MULTILINE):
        command: Any = typer.main.get_command(app)
        words = line.split()
        while words and hasattr(command, "commands") and words[0][:1] not in "<-":
            assert words[0] in command.commands, f"bemerc {line}"
            command = command.commands[words.pop(0)]
        options = {"--help", *(name for one in command.params for name in (*one.opts, *one.secondary_opts))}
        given = re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", re.split(r"[#|;]", " ".join(words))[0])
        assert options.issuperset(given), f"bemerc {line}"


def test_every_script_that_is_named_exists_with_its_options() -> None:
    """`python -m benchmarks.X` and fits.X, in pages and in the scripts themselves."""
    scripts = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "fits").glob("*.py")]
    for page in [*PAGES, *scripts]:
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        for folder, name, words in re.findall(r"python -m (benchmarks|fits)\.(\w+)([^`|#\n]*)", text):
            script = ROOT / folder / f"{name}.py"
            assert script.is_file(), f"{page.name} names {folder}.{name}"
            given = re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", words)
            assert set(given) <= set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text(encoding="utf-8"))), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_names_what_exists(page: Path) -> None:
    """Its imports of bemerc run; the rest is parsed."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for node in ast.parse(block).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bemerc"):
                exec(ast.unparse(node))


def test_the_tree_of_the_page_is_there() -> None:
    """Folders of the drawing, and files of the table below it."""
    page = (DOCS / "development" / "tree.md").read_text(encoding="utf-8")
    above: list[str] = []
    for indent, folder in re.findall(r"^( *)(\w+)/(?: |$)", page.split("```")[1], re.MULTILINE):
        above = [*above[: len(indent) // 2], folder]
        assert (ROOT / Path(*above)).is_dir(), "/".join(above)
    for name in re.findall(r"`([\w/]+\.py|[\w/]+/)`", page):
        assert (ROOT / name).exists() or (ROOT / "bemerc" / name).exists() or list(ROOT.rglob(f"bemerc/**/{name}")), (
            name
        )


def test_the_made_pages_are_made_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no files, so the hook of mkdocs is called here as mkdocs would."""
    monkeypatch.syspath_prepend(DOCS)
    import reference_pages

    pages = reference_pages.pages(ROOT)
    assert {DOCS / name for name in pages} == MADE
    assert "## bemerc cache export" in pages[reference_pages.CLI]
    assert "## evaluate" in pages[reference_pages.PARAMS]
    assert "### FrameCache.to_pandas" in pages[reference_pages.FUNCTIONS]


def test_the_glossary_is_short() -> None:
    assert (
        len(re.findall(r"^\| \*\*", (DOCS / "concepts" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE))
        <= 25
    )


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
