"""How results stand on the terminal, and as JSON for programs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from pathlib import Path

    from bemerc.corpus.manifest import Utterance

LISTED = 10
_QUOTED = 60  # letters of an utterance's words on a line of the terminal


def print_json(value: Any) -> None:
    """A result for programs; NaN and paths as JSON can hold them."""
    from bemerc.extraction.validate.report import as_json

    typer.echo(as_json(value))


@contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Ctrl-C is how the block ends: nothing was being made of which a part is kept. SIGTERM stays what it is."""
    from bemerc.cli.app import INTERRUPTED
    from bemerc.core.stopping import Terminated

    try:
        yield
    except Terminated:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def print_reasons(reasons: Mapping[Any, str], what: str = "", all_at: str = "--json") -> None:
    """Ids or paths with a sentence each, ten at most; ``all_at``: what lists all of them."""
    mark = f" [{what}]" if what else ""
    for name, reason in list(reasons.items())[:LISTED]:
        typer.echo(f"{printable(name)}: {printable(reason, 500)}{mark}")
    if len(reasons) > LISTED:
        typer.echo(f"and {len(reasons) - LISTED} more{f': {what}' if what else ''} ({all_at} lists all)")


def strings(reasons: "Mapping[Path, str]") -> dict[str, str]:
    """The same with names in place of paths, for JSON."""
    return {str(path): reason for path, reason in reasons.items()}


def utterance_line(u: "Utterance", width: int = 0) -> str:
    """Id, when, who and what was said, as far as they are known."""
    when = "" if u.start_s is None else f"{int(u.start_s) // 60:02d}:{u.start_s % 60:04.1f} "
    who = f"{printable(u.speaker, 40)} " if u.speaker else ""
    words = f'"{printable(u.text, _QUOTED)}"' if u.text else ""
    return f"{printable(u.id):<{width}}  {when}{who}{words}".rstrip()


def utterance_fields(u: "Utterance") -> dict[str, Any]:
    """The same for programs."""
    keys = ("id", "dialogue", "index", "start_s", "end_s", "speaker", "text")
    return {"turn" if key == "index" else key: getattr(u, key) for key in keys}


def in_order(utterances: "tuple[Utterance, ...]") -> "Iterator[Utterance]":
    """Utterances as people number ids: t2 before t10."""
    from bemerc.corpus.reading import natural_id

    return iter(sorted(utterances, key=lambda one: natural_id(one.id)))
