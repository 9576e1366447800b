"""Puts the commands together, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

import typer

from cnnir import __version__
from cnnir.cli import bench, compile, info, inspect, models, passes, run, show, targets, validate
from cnnir.cli.console import err
from cnnir.errors import CnnirError

app = typer.Typer(
    name="cnnir",
    help="A compiler for convolutional networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: tuple[Callable[..., None], ...] = (
    models.models,
    show.show,
    passes.passes,
    compile.compile,
    run.run,
    bench.bench,
    validate.validate,
    inspect.inspect,
    info.info,
    targets.targets,
)
for command in COMMANDS:
    app.command(command.__name__)(command)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, show_version: bool = typer.Option(False, "--version", help="Print the version.")
) -> None:
    """A compiler for convolutional networks."""
    if show_version:
        typer.echo(f"cnnir {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry of `cnnir`: exit code 2 for the user's mistake, 1 for a failed validation or a bug of ours."""
    try:
        app()
    except CnnirError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT):
            raise
        place = f" ('{error.filename}')" if error.filename else ""
        print_error(CnnirError(f"{os.strerror(error.errno)}{place}."))
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    except Exception as error:
        traceback.print_exc()
        err.print(f"[bold red]bug:[/] {type(error).__name__} inside cnnir {__version__}; please report the lines above.")
        sys.exit(1)


def print_error(error: CnnirError) -> None:
    """One sentence with its place, then why, then what to do."""
    place = f"{error.at}: " if error.at else ""
    err.print("[bold red]error:[/] ", end="")
    err.print(place + error.message, markup=False, soft_wrap=True)
    for note in error.notes:
        err.print(f"  note: {note}", markup=False, soft_wrap=True)
    for hint in error.hints:
        err.print(f"  hint: {hint}", markup=False, soft_wrap=True)
