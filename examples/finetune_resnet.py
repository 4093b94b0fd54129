"""Fine-tune a ResNet-18: freeze every parameter, put a new layer at its end, train that.

    pip install "jitgrad[examples]"
    python examples/finetune_resnet.py --weights resnet18-f37072fd.pth    # torchvision's file
    python examples/finetune_resnet.py           # without a file the frozen network is random
    python examples/finetune_resnet.py --quick   # a few steps on a few images
    python examples/finetune_resnet.py --help

The images are scikit-learn's 1,797 scanned digits, enlarged.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import jitgrad as torch
from jitgrad import Tensor, nn, optim
from jitgrad.models import resnet18
from jitgrad.utils.data import DataLoader, TensorDataset, random_split

HINT = 'pip install "jitgrad[examples]"'
# What torchvision's weights were trained with: the mean and deviation of each colour.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pretrained(weights: Path | None) -> nn.Module:
    """Load a ResNet-18, freeze it, and give it a new last layer of 100 classes."""
    model = resnet18(weights)
    for param in model.parameters():
        param.requires_grad = False
    model.fc = nn.Linear(512, 100)
    return model


def digits(size: int) -> TensorDataset:
    """Load the digits as colour images (3, size, size), with what each one shows."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    grey = torch.tensor(pixels / 16.0, dtype=torch.float32).view(-1, 1, 8, 8)
    grey = nn.functional.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return TensorDataset((grey - mean) / std, torch.tensor(np.asarray(labels, np.int64)))


def step(model: nn.Module, optimizer: optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Do one step and return the loss before it."""
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """Measure the share of images whose label gets the greatest score."""
    model.eval()
    right = [(model(images).argmax(1) == labels).tolist() for images, labels in loader]
    model.train()
    return float(np.mean(np.concatenate(right)))


def give_up(message: str) -> NoReturn:
    """Say on stderr what is wrong and end with exit code 1."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message)
    raise typer.Exit(1)


def main(
    weights: Annotated[Path | None, typer.Option(help="torchvision's file of a ResNet-18.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training set.")] = 2,
    batch: Annotated[int, typer.Option(min=2, help="Images per step.")] = 32,
    size: Annotated[int, typer.Option(min=32, help="Height and width of an image.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; one per core.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the state after training.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="160 small images, one pass.")] = False,
) -> None:
    """Train the last layer of a frozen ResNet-18 on scanned digits."""
    console = Console(highlight=False, soft_wrap=True)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if quick:
        epochs, size = 1, 32
    try:
        images = digits(size)
    except ModuleNotFoundError as error:
        give_up(f"This example needs scikit-learn ({error}): {HINT}")
    try:
        model = pretrained(weights)
    except (OSError, RuntimeError) as error:
        give_up(f"{weights} does not load as a ResNet-18: {error}")
    parts = (128, 32, len(images) - 160) if quick else (len(images) - 360, 360)
    train, test = random_split(images, parts)[:2]
    loader = DataLoader(train, batch_size=batch, shuffle=True, drop_last=True)
    optimizer = optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.4f}"))
    begin, loss = time.perf_counter(), float("nan")
    bar = Progress(
        TextColumn("step"),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=epochs * len(loader), loss=loss)
        for epoch in range(1, epochs + 1):
            losses = []
            for images_, labels in loader:
                losses.append(step(model, optimizer, images_, labels))
                bar.update(task, advance=1, loss=losses[-1])
            loss = float(np.mean(losses))
            console.print(f"epoch {epoch}/{epochs}  loss {loss:.4f}")
    seconds = (time.perf_counter() - begin) / (epochs * len(loader))
    right = accuracy(model, DataLoader(test, batch_size=64))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kind = "random" if weights is None else "pretrained"
    console.print(
        f"test accuracy {100 * right:.1f} %  {1e3 * seconds:.0f} ms per step"
        f"  {trained:,} parameters trained above a {kind} network"
    )
    if out is not None:
        torch.save(model.state_dict(), out)
        console.print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
