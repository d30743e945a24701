"""`bench run`: train, measure and track the runs of a study."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import Number, load, selection_options, study_options, tune_option
from benchmark.engine.executors.registry import EXECUTORS, any_of, executors_with

TITLES = any_of([entry.title for entry in EXECUTORS.values()])
SHARES = executors_with(lambda entry: entry.shares)


@click.command()
@click.argument("architectures", nargs=-1)
@click.option("--all", "run_all", is_flag=True, help="Run every architecture of the config.")
@study_options
@selection_options
@tune_option
@click.option("--epochs", type=int, help="Number of epochs; short for --set train.epochs=N.")
@click.option("--batch-size", type=int, help="Batch size; short for --set train.batch_size=N.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**31 - 1),
    multiple=True,
    help="Seed to run; repeatable.",
)
@click.option("--device", help="Device: auto, cpu, cuda, cuda:1, mps; short for --set device=D.")
@click.option("--dry-run", is_flag=True, help="Print the plan and exit.")
@click.option(
    "--workers",
    type=click.IntRange(1, 10_000),
    help="Number of concurrent runs. They share CPU cores, GPUs and memory; latency is measured "
    "afterwards, one run at a time.  [default: 1; on a cluster, as many as fit]",
)
@click.option(
    "--executor",
    type=click.Choice(list(EXECUTORS)),
    default="local",
    show_default=True,
    help=f"Where runs execute: {TITLES} (docs/cluster.md).",
)
@click.option(
    "--address",
    help="; ".join(entry.address for entry in EXECUTORS.values() if entry.address),
)
@click.option(
    "--cpus-per-run",
    type=Number(0, min_open=True),
    help=f"CPU cores per run, with {SHARES}.  [default: 1]",
)
@click.option(
    "--gpus-per-run",
    type=Number(0),
    help="GPUs per run. With several, one process per GPU trains the network; fractions such as "
    f"0.5 need {SHARES}.",
)
@click.option(
    "--processes-per-run",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that train one network together, each on its own GPU or share of the CPU.",
)
@click.option("--retry-failed", is_flag=True, help="Retry runs that failed before.")
@click.option("--fail-fast", is_flag=True, help="Stop the study at the first failed run.")
@click.option("--force", is_flag=True, help="Repeat runs that are already finished.")
@click.pass_context
def run(
    ctx: click.Context,
    architectures: tuple[str, ...],
    run_all: bool,
    config: Path,
    assignments: tuple[str, ...],
    epochs: int | None,
    batch_size: int | None,
    seeds: tuple[int, ...],
    device: str | None,
    dry_run: bool,
    workers: int | None,
    executor: str,
    address: str | None,
    cpus_per_run: float | None,
    gpus_per_run: float | None,
    processes_per_run: int,
    retry_failed: bool,
    fail_fast: bool,
    force: bool,
) -> None:
    """Train, measure and track ARCHITECTURES, or --all.

    An architecture is a timm model name (optionally with a tag), a wildcard, @FILE for a list with
    one name per line, or module:function for your own network (see `bench models`).

    Finished runs are skipped and interrupted runs resume. A failed run does not stop the others.
    Ctrl-C finishes the current step and saves it. The exit code is 0 if all runs are finished, 1
    if a run failed, 2 for invalid input, 130 after Ctrl-C.

    \b
    Examples:
      bench run --all
      bench run 'efficientnet_b*' resnet18 --epochs 3 --max-gmacs 0.5
      bench run efficientnet_b0 --image-size 64,96,112
      bench run --all -c configs/fashion.yaml --set data.path=archive.zip --seed 0 --seed 1
      bench run --all --executor ray --address head:6379 --gpus-per-run 0.5 --cpus-per-run 2
    """
    if run_all == bool(architectures):
        raise click.UsageError(
            "give ARCHITECTURES, or --all to run every architecture of the config"
        )
    given = {
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "seeds": list(seeds) or None,
        "device": device,
    }
    shorthands = tuple(f"{key}={value}" for key, value in given.items() if value is not None)
    study = load(config, (*assignments, *shorthands))

    from benchmark.engine.executors.base import Resources
    from benchmark.engine.scheduler import Policy
    from benchmark.workflows.run_study import run_study

    resources = Resources(workers, address, cpus_per_run, gpus_per_run, processes_per_run)
    policy = Policy(force, retry_failed, fail_fast, workers or 1)
    ctx.exit(run_study(study, architectures, policy, dry_run, executor, resources))
