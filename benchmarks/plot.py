"""The costs as the work grows, drawn; with matplotlib, which is optional."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import peers
from growth import Growth


def why_not() -> str | None:
    """Why nothing can be drawn, if so."""
    return peers.why_no_package("matplotlib")


def draw(growths: Sequence[Growth], path: Path) -> None:
    """One picture for each kind of work: requests a second, and processor time for each."""
    importlib.import_module("matplotlib").use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(len(growths), 1, figsize=(7, 3.2 * len(growths)), squeeze=False)
    for growth, rates in zip(growths, axes[:, 0], strict=True):
        names, work = list(growth.work), list(growth.work.values())
        points = [growth.median(name) for name in names]
        costs = rates.twinx()
        rates.plot(work, [point.rate for point in points], "o-", color="tab:blue")
        costs.plot(work, [point.cost for point in points], "s--", color="tab:red")
        rates.set(xscale="log", title=growth.title.partition(": ")[2], xlabel=growth.what)
        rates.set_xticks(work, names)
        rates.minorticks_off()
        rates.set_ylim(bottom=0)
        costs.set_ylim(bottom=0)
        rates.set_ylabel("requests/s", color="tab:blue")
        costs.set_ylabel("processor µs each", color="tab:red")
    figure.tight_layout()
    figure.savefig(path)
