"""Plot of the confusion matrix of a run."""

from __future__ import annotations

from pathlib import Path

from clothclf.results import Evaluation

MAX_SIDE_INCHES = 40.0


def draw_confusion(evaluation: Evaluation, path: Path, title: str) -> None:
    """Draw the confusion matrix as a PNG; rows are true classes, cells are percent of the row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    labels = [result.label for result in evaluation.per_class]
    shares = [[100 * count / max(sum(row), 1) for count in row] for row in evaluation.confusion]
    # Without a maximum, a plot of a thousand classes would take gigabytes.
    side = min(max(4.0, 0.45 * len(labels) + 2), MAX_SIDE_INCHES)
    figure, axes = pyplot.subplots(figsize=(side + 0.6, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    # Labels are plain text: `$` must not start a formula.
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    heading = f"{title}: {100 * evaluation.accuracy:.1f} % of {evaluation.images} test images"
    axes.set_title(heading, parse_math=False)
    if len(labels) <= 30:
        for row, values in enumerate(shares):
            for column, share in enumerate(values):
                if share >= 0.5:
                    colour = "white" if share > 60 else "black"
                    axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour)
    figure.colorbar(image, label="% of the true class", shrink=0.8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
