"""Train a two-layer perceptron on the 1,797 scanned digits of scikit-learn.

The layers are written out as tensor operations, and the same code runs on jitgrad or on PyTorch,
whichever is handed to `train`.

    pip install "jitgrad[examples]"
    python examples/digits.py                    # writes digits.png
    python examples/digits.py --backend torch    # the same run with PyTorch
    python examples/digits.py --help
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

HINT = 'pip install "jitgrad[examples]"'
SPLIT_SEED = 0  # the test set stays the same whatever --seed is
CLASSES = 10

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Report = Callable[[int, float], None]
Backend = Literal["jitgrad", "torch"]
Dtype = Literal["float32", "float64"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Digits:
    """Images as rows of 64 pixels in [0, 1], and which digit each one shows."""

    train_x: Floats  # (n_train, 64)
    train_y: Ints  # (n_train,)
    test_x: Floats  # (n_test, 64)
    test_y: Ints  # (n_test,)


@dataclass(frozen=True)
class Settings:
    """What decides a run, apart from the backend."""

    dtype: Dtype = "float32"
    epochs: int = 20
    batch: int = 32
    hidden: int = 128
    lr: float = 0.15
    momentum: float = 0.9
    seed: int = 0
    device: Device = "cpu"


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    losses: list[float]  # one per step, in the precision of the run
    seconds: list[float]  # one per step
    predicted: Ints  # (n_test,)
    accuracy: float  # on the test set, 0 to 1


def load_digits(test_fraction: float = 0.2) -> Digits:
    """Load the digits, scale the pixels to [0, 1] and split them at random, always alike."""
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    x, y = pixels[order] / 16.0, labels[order].astype(np.int64)
    n_test = round(len(y) * test_fraction)
    return Digits(x[n_test:], y[n_test:], x[:n_test], y[:n_test])


def initial_weights(hidden: int, pixels: int, rng: np.random.Generator) -> list[Floats]:
    """Draw weights and zero biases of both layers, in float64 so that all backends start equal."""

    def he(n_out: int, n_in: int) -> Floats:
        return rng.normal(0.0, np.sqrt(2.0 / n_in), (n_out, n_in))

    return [he(hidden, pixels), np.zeros(hidden), he(CLASSES, hidden), np.zeros(CLASSES)]


def forward(torch: Any, params: list[Any], x: Any) -> Any:
    """Compute the scores, shape (n, 10), of images of shape (n, 64)."""
    w1, b1, w2, b2 = params
    linear = torch.nn.functional.linear
    return linear(torch.relu(linear(x, w1, b1)), w2, b2)


def step(torch: Any, params: list[Any], optimizer: Any, x: Any, y: Any) -> float:
    """Do one step of gradient descent with momentum and return the loss before it."""
    loss = torch.nn.functional.cross_entropy(forward(torch, params, x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


def train(
    torch: Any, data: Digits, settings: Settings | None = None, report: Report | None = None
) -> Result:
    """Train on `data` with the library `torch` and measure the accuracy on the test set.

    Parameters
    ----------
    torch
        The namespace that does the work: the module `torch` or `jitgrad`.
    data
        Images and labels.
    settings
        Sizes, rates and the seed of the weights and of the order of the images.
    report
        Called after each epoch with its number, from 1, and its mean loss.

    Returns
    -------
    Result
        Every step's loss and time, the predictions for the test set and their accuracy.
    """
    settings = settings or Settings()
    dtype = getattr(torch, settings.dtype)
    rng = np.random.default_rng(settings.seed)
    start = initial_weights(settings.hidden, data.train_x.shape[1], rng)
    on = settings.device
    params = [torch.tensor(w, dtype=dtype, device=on, requires_grad=True) for w in start]
    optimizer = torch.optim.SGD(params, lr=settings.lr, momentum=settings.momentum)
    losses: list[float] = []
    seconds: list[float] = []
    for epoch in range(1, settings.epochs + 1):
        done = len(losses)
        for rows in batches(len(data.train_y), settings.batch, rng):
            x = torch.tensor(data.train_x[rows], dtype=dtype, device=on)
            y = torch.tensor(data.train_y[rows], device=on)
            begin = time.perf_counter()
            losses.append(step(torch, params, optimizer, x, y))
            seconds.append(time.perf_counter() - begin)
        if report is not None:
            report(epoch, statistics.fmean(losses[done:]))
    with torch.no_grad():
        scores = forward(torch, params, torch.tensor(data.test_x, dtype=dtype, device=on))
        predicted = np.array(torch.argmax(scores, dim=1).tolist(), dtype=np.int64)
    return Result(losses, seconds, predicted, float(np.mean(predicted == data.test_y)))


def batches(n: int, size: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield the rows of each batch of one epoch, in random order; the last batch may be smaller."""
    order = rng.permutation(n)
    for first in range(0, n, size):
        yield order[first : first + size]


def confusion(truth: Ints, predicted: Ints) -> Ints:
    """Count, in row i and column j, the images of digit i that were taken for j."""
    counts = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def draw(result: Result, truth: Ints, title: str, out: Path) -> None:
    """Write a PNG with the loss curve beside the confusion matrix."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    curve, matrix = figure.subplots(1, 2)
    curve.semilogy(np.arange(1, len(result.losses) + 1), result.losses, linewidth=0.8)
    curve.set(xlabel="step", ylabel="cross-entropy of the batch", title="Training loss")
    counts = confusion(truth, result.predicted)
    matrix.imshow(np.log1p(counts), cmap="Blues")
    matrix.set(xlabel="predicted", ylabel="true", title="Test set: number of images")
    matrix.set_xticks(range(CLASSES))
    matrix.set_yticks(range(CLASSES))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if row == column else "black"
            matrix.text(column, row, str(count), ha="center", va="center", color=color, size=8)
    figure.savefig(out, dpi=120)


@contextmanager
def reporting(console: Console, epochs: int) -> Iterator[Report]:
    """Give a function that shows the progress: a bar in a terminal, else a few plain lines."""
    if not console.is_terminal:
        every = max(1, epochs // 5)

        def line(epoch: int, loss: float) -> None:
            if epoch % every == 0 or epoch == epochs:
                console.print(f"epoch {epoch}/{epochs}  loss {loss:.4f}")

        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"))
    with Progress(TextColumn("epoch"), *columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=epochs, loss=float("nan"))
        yield lambda epoch, loss: bar.update(task, completed=epoch, loss=loss)


def give_up(message: str) -> NoReturn:
    """Say on stderr what is missing and end with exit code 1."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message)
    raise typer.Exit(1)


def load_backend(name: str, threads: int | None) -> Any:
    """Import the library that does the work and set its number of threads."""
    try:
        torch = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        give_up(f"{name} is not installed: pip install {name}")
    if threads is not None:
        torch.set_num_threads(threads)
    return torch


def main(
    backend: Annotated[Backend, typer.Option(help="Library that trains.")] = "jitgrad",
    dtype: Annotated[Dtype, typer.Option(help="Type of weights and images.")] = "float32",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = (
        Settings.epochs
    ),
    batch: Annotated[int, typer.Option(min=1, help="Images per step.")] = Settings.batch,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units.")] = Settings.hidden,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = Settings.lr,
    momentum: Annotated[float, typer.Option(help="Momentum.")] = Settings.momentum,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = Settings.seed,
    device: Annotated[Device, typer.Option(help="Where to train; cuda is the GPU.")] = "cpu",
    images: Annotated[int | None, typer.Option(min=1, help="Train on so many images only.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; the library's own.")] = None,
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("digits.png"),
    losses: Annotated[Path | None, typer.Option(help="JSON file for every step's loss.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the outcome only.")] = False,
) -> None:
    """Train a two-layer perceptron on scanned digits, and draw how it went."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        import matplotlib  # noqa: F401  (asked for now, so as not to fail after the training)

        data = load_digits()
    except ModuleNotFoundError as error:
        give_up(f"This example needs scikit-learn and matplotlib ({error}): {HINT}")
    if images is not None:
        data = Digits(data.train_x[:images], data.train_y[:images], data.test_x, data.test_y)
    torch = load_backend(backend, threads)
    settings = Settings(dtype, epochs, batch, hidden, lr, momentum, seed, device)
    if quiet:
        result = train(torch, data, settings)
    else:
        with reporting(console, epochs) as report:
            result = train(torch, data, settings, report)
    percent = f"{100 * result.accuracy:.2f} %"
    median = f"{1e6 * statistics.median(result.seconds):.0f} us per step (median)"
    console.print(f"loss {result.losses[-1]:.4f}  test accuracy {percent}  {median}")
    if losses is not None:
        losses.write_text(json.dumps(result.losses))
    draw(result, data.test_y, f"{backend}, {dtype}: {percent} right", out)
    if not quiet:
        console.print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
