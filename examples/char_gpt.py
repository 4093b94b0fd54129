"""Train a small GPT, letter by letter, and let it write.

    pip install "jitgrad[examples]"
    python examples/char_gpt.py                    # reads Python's own documentation
    python examples/char_gpt.py --text book.txt
    python examples/char_gpt.py --quick            # a tiny one, for a few steps
    python examples/char_gpt.py --help

The model is `jitgrad.models.GPT2LMHeadModel`, which has the parameters' names of Hugging Face's.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import jitgrad as torch
from jitgrad import Tensor, nn, optim
from jitgrad.models import GPT2Config, GPT2LMHeadModel


class Letters:
    """A text as numbers, one for each letter that occurs in it."""

    def __init__(self, text: str) -> None:
        self.alphabet = sorted(set(text))
        self.number = {letter: k for k, letter in enumerate(self.alphabet)}
        self.data = self.encode(text)

    def encode(self, text: str) -> np.ndarray:
        """Give the numbers of the letters; one that never occurred is left out."""
        return np.array([self.number[c] for c in text if c in self.number], np.int64)

    def decode(self, numbers: list[int]) -> str:
        """Give the letters of numbers."""
        return "".join(self.alphabet[k] for k in numbers)


def documentation() -> str:
    """Give the text behind Python's own ``help``: every interpreter has it."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def batch_of(
    data: np.ndarray, size: int, length: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut pieces out of the text, at random: what is read, and the letter after each."""
    starts = rng.integers(0, len(data) - length, size)
    pieces = data[starts[:, None] + np.arange(length + 1)]
    return torch.tensor(pieces[:, :-1]), torch.tensor(pieces[:, 1:])


def loss_of(model: GPT2LMHeadModel, read: Tensor, after: Tensor) -> Tensor:
    """Give the mean cross-entropy of the letters that follow, in nats."""
    return nn.functional.cross_entropy(model(read).flatten(0, 1), after.flatten())


def main(
    text: Annotated[Path | None, typer.Option(help="File to learn from.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Pieces per step.")] = 16,
    context: Annotated[int, typer.Option(min=2, help="Letters that the model sees.")] = 64,
    width: Annotated[int, typer.Option(min=1, help="Size of its vectors.")] = 96,
    layers: Annotated[int, typer.Option(min=1, help="Its layers.")] = 3,
    heads: Annotated[int, typer.Option(min=1, help="Heads of each layer.")] = 4,
    lr: Annotated[float, typer.Option(help="Greatest learning rate.")] = 3e-3,
    samples: Annotated[int, typer.Option(min=0, help="Samples at the end.")] = 2,
    letters: Annotated[int, typer.Option(min=1, help="Letters of a sample.")] = 300,
    prompt: Annotated[str, typer.Option(help="What a sample begins with.")] = "The ",
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest.")] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, pieces and samples.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; one per core.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the trained state.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny model, 40 steps.")] = False,
) -> None:
    """Train a small GPT on a text and print samples of what it writes."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if threads is not None:
        torch.set_num_threads(threads)
    if quick:
        steps, context, width, layers, letters = 40, 32, 32, 1, 80
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    try:
        content = documentation() if text is None else text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {text}: {error}", param_hint="--text") from None
    known = Letters(content)
    held_back = max(len(known.data) // 10, context + 1)
    train, test = known.data[:-held_back], known.data[-held_back:]
    if len(train) <= context:
        raise typer.BadParameter(f"{len(known.data)} letters are too few", param_hint="--text")
    try:
        config = GPT2Config(
            len(known.alphabet), context, width, layers, heads,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--heads") from None
    model = GPT2LMHeadModel(config)
    optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    warm = min(100, steps // 10 + 1)

    def rate(step: int) -> float:
        return min((step + 1) / warm, 0.55 + 0.45 * math.cos(math.pi * step / steps))

    scheduler = optim.lr_scheduler.LambdaLR(optimizer, rate)
    size = sum(p.numel() for p in model.parameters())
    console.print(
        f"{len(known.data):,} letters, {len(known.alphabet)} different; {size:,} parameters"
    )

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    losses: list[float] = []
    begin = time.perf_counter()
    bar = Progress(
        TextColumn("step"),
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=steps, loss=float("nan"))
        for step in range(1, steps + 1):
            loss = loss_of(model, *batch_of(train, batch, context, rng))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            bar.update(task, advance=1, loss=losses[-1])
            if step % max(steps // 5, 1) == 0:
                console.print(f"step {step}/{steps}  loss {np.mean(losses[-50:]):.3f}")
    seconds = (time.perf_counter() - begin) / steps
    model.eval()
    with torch.no_grad():
        unseen = loss_of(model, *batch_of(test, 64, context, rng)).item()
    console.print(
        f"loss {losses[0]:.3f} at first, {np.mean(losses[-50:]):.3f} at last, {unseen:.3f} on unseen"
        f" text  {1e3 * seconds:.1f} ms per step"
    )
    start = torch.tensor(known.encode(prompt) if len(known.encode(prompt)) else train[:1])
    for k in range(samples):
        written = model.generate(start.unsqueeze(0), letters, temperature)[0].tolist()
        console.print(f"\n--- sample {k + 1}\n{known.decode(written)}")
    if out is not None:
        torch.save(model.state_dict(), out)
        console.print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
