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


@run_app.command("measure-delay")
def measure_delay(
    run: Annotated[Path, typer.Argument(help="Recording of a run in which the arm moved; homing is enough.")],
    store: Annotated[Path | None, typer.Option(help="Task file to write the delay into.")] = None,
) -> None:
    """How late the arm follows its commands; targets are then sent earlier by that."""
    from app.delay import measure_delay as measure
    from app.delay import store_delay

    found = measure(run)
    typer.echo(f"the arm follows {1000 * found.delay_s:.1f} ms late; {1000 * found.residual_rad:.2f} mrad are left "
               f"(root mean square) over {found.travel_rad:.2f} rad of travel")
    if store is not None:
        store_delay(store, found.delay_s)
        typer.echo(f"written to {store}: joints.tracking_delay_s")


@run_app.command()
def serve(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder of the policy.")],
    task: Annotated[str, typer.Option(help="Task name or path of a task file.")] = "scoop",
    robot: Annotated[str, typer.Option(help="sim or franka: whose network settings to take.")] = "sim",
    threads: Annotated[int, typer.Option(min=1, help="Of the policy's network.")] = 1,
    target_mass_g: Annotated[float | None, typer.Option(help="Final mass to ask the policy for, in grams.")] = None,
    guidance_weight: Annotated[float | None, typer.Option(help="How hard to ask: 1, the default, as learnt.")] = None,
) -> None:
    """Run a policy here for a run elsewhere: `ladle up --remote-policy`, with the same ROS_DOMAIN_ID."""
    from app.mass_options import mass_wish
    from app.serve import serve as become_server
    from ladle_bringup.settings import BringupSettings

    become_server(BringupSettings(task=task, checkpoint=str(checkpoint.absolute()), robot=robot,
                                  policy_threads=threads),
                  mass_wish(checkpoint, target_mass_g, None, guidance_weight)[0])


@run_app.command()
def control(
    word: Annotated[str, typer.Argument(help="start, stop, home, resume or clear_fault; none serves the keys.")] = "",
    robot: Annotated[str, typer.Option(help="sim or franka: whose network settings to take.")] = "sim",
    hold_topic: Annotated[str, typer.Option(
        help="Tell there, as button 0, whether the space bar is held, to a run that has the same --hold-topic.")] = "",
) -> None:
    """Start, stop, home, resume a run or clear its fault, and see its state: keys c, s, h, r, f, q."""
    from app.control import control as carry_out

    typer.echo(carry_out(word, robot, hold_topic))
