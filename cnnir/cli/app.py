"""Puts the commands together, and turns errors into one sentence and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from cnnir import __version__
from cnnir.cli import bench, compile, info, inspect, models, passes, run, show, targets, validate
from cnnir.cli.console import ReaderGoneError, err, note
from cnnir.errors import CnnirError, UnknownNameError, VerificationError

app = typer.Typer(
    name="cnnir",
    help="A compiler for convolutional networks.",
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

# Typer takes its parser's errors from click, or brings its own copy: the base of a public one is right in both.
ParserError: type[Exception] = typer.BadParameter.__mro__[2]

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGINT or SIGPIPE ended."""

USERS_OS_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
}
"""What the machine or the user's files are to blame for, never we."""


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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry of `cnnir`: exit code 2 for the user's mistake, 1 for a failed validation or a bug of ours."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    code = _guarded(given)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.exit(code)
    _close_output()
    sys.exit(BROKEN_PIPE)


def _guarded(arguments: Sequence[str]) -> int:
    """Runs a command; the exit code of what came of it, once it is reported."""
    try:
        # Typer answers an interrupt with the exit code; other exceptions come through.
        code = app(args=list(arguments), prog_name="cnnir", standalone_mode=False)
    except CnnirError as error:
        print_error(error)
        if _is_bug(error):
            _report_bug(error, arguments)
        return error.exit_code
    except ReaderGoneError:
        _close_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in USERS_OS_ERRORS:
            return _report_bug(error, arguments)
        place = f": '{error.filename}'" if error.filename else ""
        print_error(CnnirError(f"{os.strerror(error.errno or 0)}{place}."))
        return 2
    except MemoryError:
        print_error(CnnirError("There is not enough memory for this."))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except ParserError as error:
        print_error(_parser_error(error))
        return 2
    except Exception as error:
        return _report_bug(error, arguments)
    if code == INTERRUPTED:
        note("interrupted")
    return code if isinstance(code, int) else 0


def _parser_error(error: Exception) -> CnnirError:
    """What the parser of the command line has to say, in our form."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "cnnir"
    names = [c.__name__ for c in COMMANDS]
    words = str(error.format_message() if hasattr(error, "format_message") else error)
    if words.startswith("No such command "):
        return UnknownNameError("command", words.split("'")[1], names, see="'cnnir --help' lists them.")
    sentence = " ".join(words.replace("\n", " ").split())
    return CnnirError(
        sentence if sentence.endswith((".", "?")) else sentence + ".", hints=[f"See '{command} --help'."]
    )


def print_error(error: CnnirError) -> None:
    """One sentence with its place, then why, then what to do."""
    err.print("[bold red]error:[/] ", end="")
    note(f"{error.at}: {error.message}" if error.at else error.message)
    for why in error.notes:
        note(f"  note: {why}")
    for hint in error.hints:
        note(f"  hint: {hint}")


def _is_bug(error: CnnirError) -> bool:
    """Whether a sentence for the user is about a mistake of ours."""
    # Loaded already if the error is one of theirs.
    compiler, manager = sys.modules.get("cnnir.compiler"), sys.modules.get("cnnir.passes.manager")
    kinds: list[type[CnnirError]] = [VerificationError]
    kinds += [compiler.WrongCodeError] if compiler else []
    kinds += [manager.PassError] if manager else []
    return isinstance(error, tuple(kinds))


def _report_bug(error: Exception, arguments: Sequence[str]) -> int:
    from cnnir.cli.bug import write_bundle

    if not isinstance(error, CnnirError):
        err.print("[bold red]bug:[/] ", end="")
        note(f"{type(error).__name__} inside cnnir {__version__}: {error}")
    folder = write_bundle(error, arguments)
    if folder is None:
        import traceback

        traceback.print_exception(error)
        note("This is a bug of cnnir: please report it with the lines above.")
    else:
        note(f"This is a bug of cnnir: please report it with the folder '{folder}'.")
    return 1


def _close_output() -> None:
    """Nobody reads any more: what is left in the buffers goes nowhere, and the interpreter's exit stays quiet."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
