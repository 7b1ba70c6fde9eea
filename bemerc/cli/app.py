"""The machinery of the command line: groups of commands whose faults are sentences, exit codes, -v and -q.

Only typer is imported here; what a command needs is imported inside it, so that ``--help`` answers at once. For the
same reason the modules of commands have no ``from __future__ import annotations``: typer would compile each
annotation anew.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bemerc.cli.options import unread_settings
from bemerc.core import stopping
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable_lines

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
EXIT_CODES = """Exit codes, of every command: 0 done; 1 not done, or only in part, and the reason is printed; 2 the
command line is wrong; 130 interrupted with Ctrl-C; 143 stopped by SIGTERM, as clusters do at the end of the time."""
# Options of earlier releases, which are read for one release more.
RENAMED = {"--student": "--align"}
CONTEXT = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}


class ErrorHandlingGroup(TyperGroup):
    """A command group in which the faults that users can cause become sentences and exit codes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in self.commands.values():
            if not isinstance(command, TyperGroup):
                command.params.extend(_verbosity())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, with the new names in place of renamed options."""
        for old, new in RENAMED.items():
            if any(word == old or word.startswith(f"{old}=") for word in args):
                from bemerc.core import renames

                with logging_to_stderr():
                    renames.warn(old, new)
                args = [new + word[len(old) :] if word.split("=")[0] == old else word for word in args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; BemercError -> its sentence and exit 1, Ctrl-C -> a sentence and exit 130."""
        stopping.listen()
        try:
            with logging_to_stderr() if ctx.parent is None else nullcontext():
                return self._invoke(ctx)
        except BemercError as error:
            typer.echo(printable_lines(error), err=True)
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt as error:
            stopped = isinstance(error, stopping.Terminated)
            why = "Stopped (SIGTERM)" if stopped else "Interrupted"
            typer.echo(f"\n{why}. What was finished is kept; the same command goes on from there.", err=True)
            raise typer.Exit(TERMINATED if stopped else INTERRUPTED) from None
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] == "bemerc":
                raise
            from bemerc.doctor import INSTALL

            typer.echo(f"{error.name} is not installed: {INSTALL}. See `bemerc doctor`.", err=True)
            raise typer.Exit(FAILED) from None

    def _invoke(self, ctx: Any) -> Any:
        import logging
        from time import monotonic

        log, start = logging.getLogger(__name__), monotonic()
        try:
            result = super().invoke(ctx)
            for section in unread_settings():
                log.warning("--set: this command does not read the section %s.", section)
            if ctx.parent is None:
                log.info("Done in %.1f s.", monotonic() - start)
            return result
        except BemercError as error:
            unread_settings()
            log.debug("where the error is from", exc_info=error)
            raise


def _set_verbose(count: int) -> None:
    if count:
        import logging

        logging.getLogger("bemerc").setLevel(logging.INFO if count == 1 else logging.DEBUG)


def _set_quiet(quiet: bool) -> None:
    if quiet:
        import logging

        logging.getLogger("bemerc").setLevel(logging.ERROR)


@functools.cache
def _verbosity() -> tuple[Any, ...]:
    """The options -v and -q as typer makes them; every command has the same ones."""
    template = typer.Typer(add_completion=False)

    @template.command()
    def command(
        verbose: Annotated[
            int,
            typer.Option(
                "-v",
                "--verbose",
                count=True,
                callback=_set_verbose,
                expose_value=False,
                help="Say what is done; -vv for all details.",
                show_default=False,
            ),
        ] = 0,
        quiet: Annotated[
            bool,
            typer.Option(
                "-q",
                "--quiet",
                callback=_set_quiet,
                expose_value=False,
                help="Show no progress, only results and errors.",
            ),
        ] = False,
    ) -> None: ...

    return tuple(typer.main.get_command(template).params)


class App(typer.Typer):
    """A group of commands, each of which has -v and -q."""

    def __init__(self, group: type[ErrorHandlingGroup] = ErrorHandlingGroup, **settings: Any) -> None:
        super().__init__(
            cls=group,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings=CONTEXT,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command under its function's name, or ``name``."""
        return super().command(name, context_settings=CONTEXT, **settings)


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Send the package's log to stderr: warnings; with -v what is done, with -vv everything, with -q errors alone."""
    import logging

    class Printable(logging.Formatter):
        """Messages in which names of strangers' files cannot steer the terminal."""

        def format(self, record: logging.LogRecord) -> str:
            return printable_lines(super().format(record))

    package, handler = logging.getLogger("bemerc"), logging.StreamHandler()
    handler.setFormatter(Printable("%(message)s"))
    before = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(logging.WARNING)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before[0])
        package.propagate = before[1]
