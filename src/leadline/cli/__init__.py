"""The command line: words become one call of an engine. Results go to stdout, everything else to stderr.

Exit codes: 0 all done, 1 some inputs or checks failed, 2 usage, 130 interrupted. Engines are imported inside
the commands, so that `leadline --help` answers at once.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from leadline import __version__
from leadline.cli import bench, convert, data, doctor, eval, label, models, predict, report, train, ui

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: every command's fits a screen
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command()(predict.predict)
app.command()(train.train)
app.command()(label.label)
app.command("eval")(eval.evaluate)
app.command()(report.report)
app.command()(bench.bench)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.command()(convert.convert)
app.command()(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"leadline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks. Before the command.")] = False,
) -> None:
    """Depth and surface normals from one photograph, with diffusion priors."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line (by default the program's own) and return its exit code."""
    words = sys.argv[1:] if words is None else list(words)
    debug = "--debug" in itertools.takewhile(lambda word: word.startswith("-"), words)
    try:
        with ui.notices():
            code = typer.main.get_command(app).main(words, prog_name="leadline", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:  # the reader of our results has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug and not isinstance(error, ui.usage_errors()):
            raise
        return ui.fail(error)
