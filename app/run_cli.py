"""The commands that look at recorded runs; see `app.cli`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

run_app = typer.Typer()


@run_app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="Recording of a run, as `ladle up --record` or `ladle eval` writes it.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Another policy than the recorded one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a policy what a run saw, without a robot, and tell where its decisions differ."""
    from app.replay import replay as run_again

    found = run_again(run, checkpoint)
    typer.echo(found.as_json() if as_json else found.as_text())
