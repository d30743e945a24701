"""`bench run`: train, cost and track the runs of a study."""

from __future__ import annotations

from pathlib import Path

import click

from benchmark.commands.options import Number, load, selection_options, study_options
from benchmark.engine.executors.registry import EXECUTORS


@click.command()
@click.argument("architectures", nargs=-1)
@click.option("--all", "run_all", is_flag=True, help="Run every architecture of the config.")
@study_options
@selection_options
@click.option("--epochs", type=int, help="Short for --set train.epochs=N.")
@click.option("--batch-size", type=int, help="Short for --set train.batch_size=N.")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, 2**31 - 1),
    multiple=True,
    help="Run this seed; may be repeated.",
)
@click.option("--device", help="Short for --set device=D: auto, cpu, cuda, cuda:1, mps.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option(
    "--workers",
    type=click.IntRange(1, 10_000),
    help="Runs at a time. Here: 1 unless you say more, which share cores, GPUs and memory and are "
    "measured at the end, one by one. On a cluster: as many as it has room for.",
)
@click.option(
    "--executor",
    type=click.Choice(list(EXECUTORS)),
    default="local",
    show_default=True,
    help="Where runs go: this machine, or the nodes of a Ray cluster (docs/cluster.md).",
)
@click.option("--address", help="Of the Ray cluster: HOST:PORT or auto; else one is started here.")
@click.option(
    "--cpus-per-run",
    type=Number(0, min_open=True),
    help="CPUs of a node that each run has, with --executor ray.  [default: 1]",
)
@click.option(
    "--gpus-per-run",
    type=Number(0),
    help="GPUs that each run has; several train its network together, and Ray gives out parts, "
    "such as 0.5.",
)
@click.option(
    "--processes-per-run",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that train one network together, each on a GPU, or with part of the CPU.",
)
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--fail-fast", is_flag=True, help="Stop the study at the first failure.")
@click.option("--force", is_flag=True, help="Run again what is finished already.")
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
    """Train, cost and track ARCHITECTURES, or --all of the config.

    An architecture is a name of timm's, with a tag if you like, or a wildcard; @FILE for a list,
    a name on each line; or module:function for one of your own (see `bench models`).

    Finished runs are skipped, and runs that were stopped go on where they were; a run that fails
    does not stop the others. Ctrl-C finishes the step and keeps it. The exit code is 0 if
    everything asked for is done, 1 if a run failed, 2 for bad input, 130 after Ctrl-C.

    \b
    Examples:
      bench run --all
      bench run 'efficientnet_b*' resnet18 --epochs 3 --max-gmacs 0.5
      bench run efficientnet_b0 --image-size 64,96,112
      bench run --all -c configs/fashion.yaml --set data.path=archive.zip --seed 0 --seed 1
      bench run --all --executor ray --address head:6379 --gpus-per-run 0.5 --cpus-per-run 2
    """
    if run_all == bool(architectures):
        raise click.UsageError("name architectures, or say --all for those of the config")
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
