"""ResNets: torchvision's names, shapes and initialisation, and PyTorch's numbers on the same state."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import jitgrad
from jitgrad import nn, optim
from jitgrad.models import resnet18, resnet34, resnet50
from tests.models.reference import Residual, compare_gradients, state_for, weighted

MAKERS = {
    "resnet18": (resnet18, [2, 2, 2, 2], False, 11_689_512),
    "resnet34": (resnet34, [3, 4, 6, 3], False, 21_797_672),
    "resnet50": (resnet50, [3, 4, 6, 3], True, 25_557_032),
}
Shapes = dict[str, tuple[int, ...]]


def expected(layers: list[int], bottleneck: bool) -> Shapes:
    """The names and shapes of torchvision's state, in its order."""
    found: Shapes = {}

    def conv(name: str, out: int, channels: int, size: int) -> None:
        found[f"{name}.weight"] = (out, channels, size, size)

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{part}"] = (channels,)
        found[f"{name}.num_batches_tracked"] = ()

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    channels = 64
    for stage, count in enumerate(layers):
        width = 64 * 2**stage
        out = 4 * width if bottleneck else width
        for k in range(count):
            name = f"layer{stage + 1}.{k}"
            plan = [(width, 3), (width, 3)]
            if bottleneck:
                plan = [(width, 1), (width, 3), (out, 1)]
            before = channels
            for i, (to, size) in enumerate(plan, 1):
                conv(f"{name}.conv{i}", to, before, size)
                norm(f"{name}.bn{i}", to)
                before = to
            if k == 0 and (stage or bottleneck):
                conv(f"{name}.downsample.0", out, channels, 1)
                norm(f"{name}.downsample.1", out)
            channels = out
    found["fc.weight"], found["fc.bias"] = (1000, channels), (1000,)
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    make, layers, bottleneck, size = MAKERS[name]
    model = make()
    state = model.state_dict()
    wanted = expected(layers, bottleneck)
    assert list(state) == list(wanted)
    assert {key: tuple(x.shape) for key, x in state.items()} == wanted
    assert sum(p.numel() for p in model.parameters()) == size
    assert state["bn1.num_batches_tracked"].dtype is jitgrad.int64
    assert make(num_classes=7).fc.weight.shape == (7, wanted["fc.weight"][1])


def test_it_begins_as_torchvisions() -> None:
    model = resnet50(zero_init_residual=True)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            out, _, size, _ = module.weight.shape
            wanted = (2 / (out * size * size)) ** 0.5  # fan_out
            assert abs(module.weight.std().item() / wanted - 1) < 0.05, name
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == (0 if name.endswith("bn3") else 1)).all(), name
            assert (module.bias == 0).all()
    small = resnet18(zero_init_residual=True)
    assert (small.layer2[0].bn2.weight == 0).all()
    assert (small.layer2[0].bn1.weight == 1).all()
    # The strides: a bottleneck's 3x3 convolution has them.
    assert model.layer2[0].conv1.stride == (1, 1)
    assert model.layer2[0].conv2.stride == (2, 2)
    assert small.layer2[0].conv1.stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("training", [True, False])
def test_it_computes_what_pytorch_does(torch: ModuleType, name: str, training: bool) -> None:
    make, layers, bottleneck, _ = MAKERS[name]
    model = make(num_classes=10).double()
    with jitgrad.no_grad():
        for key, buffer in model.named_buffers():
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
            elif key.endswith("running_mean"):
                buffer.uniform_(-0.5, 0.5)
    state = state_for(torch, model)
    reference = Residual(torch, layers, bottleneck)
    reference.training = training
    model.train(training)
    x = np.random.default_rng(0).normal(size=(2, 3, 40, 40))
    image, theirs = jitgrad.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours, wanted = model(image), reference(state, theirs)
    np.testing.assert_allclose(ours.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-9)
    weighted(jitgrad, ours).backward()
    weighted(torch, wanted).backward()
    compare_gradients(model, state)
    scale = theirs.grad.abs().max().item()
    np.testing.assert_allclose(
        image.grad.numpy(), theirs.grad.numpy(), rtol=1e-7, atol=1e-8 * scale
    )
    for key, buffer in model.named_buffers():
        if key.endswith("num_batches_tracked"):
            assert buffer.item() == int(training)
        else:
            np.testing.assert_allclose(
                buffer.numpy(), state[key].numpy(), rtol=1e-9, atol=1e-12, err_msg=key
            )


def test_a_file_of_pytorch_loads(torch: ModuleType, tmp_path: Path) -> None:
    source = resnet18()
    state = {name: x.detach() for name, x in state_for(torch, source).items()}
    file = tmp_path / "resnet18.pth"
    torch.save(state, file)
    for model in (resnet18(file), resnet18(weights=str(file))):
        for name, x in model.state_dict().items():
            np.testing.assert_array_equal(x.numpy(), state[name].numpy(), err_msg=name)
    assert str(resnet18().load_state_dict(jitgrad.load(file))) == "<All keys matched successfully>"
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: .*layer1\.2\.conv1"):
        resnet34(file)
    with pytest.raises(RuntimeError, match=r"size mismatch for fc\.weight"):
        resnet18(file, num_classes=10)
    with pytest.raises(FileNotFoundError):
        resnet18(tmp_path / "absent.pth")


def test_nothing_is_recorded_below_the_new_layer_of_a_frozen_network() -> None:
    model = resnet18()
    for param in model.parameters():
        param.requires_grad = False
    model.fc = nn.Linear(512, 100)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    optimizer = optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)
    images, labels = jitgrad.randn(2, 3, 32, 32), jitgrad.tensor([3, 99])
    seen = []
    handle = model.avgpool.register_forward_hook(lambda *call: seen.append(call[2]))
    scores = model(images)
    handle.remove()
    # The graph ends at the features: they are a constant.
    assert not seen[0].requires_grad
    assert seen[0].grad_fn is None
    assert scores.grad_fn is not None
    leaves = [type(node).__name__ for node, _ in scores.grad_fn.next_functions if node is not None]
    assert sorted(leaves) == ["AccumulateGrad", "AccumulateGrad"] or "TBackward0" in leaves
    nn.functional.cross_entropy(scores, labels).backward()
    optimizer.step()
    for name, param in model.named_parameters():
        assert (param.grad is not None) == name.startswith("fc."), name
    for name, x in model.state_dict().items():
        moved = name.startswith("fc.") or "running" in name or "tracked" in name
        assert bool((x == before[name]).all()) != moved, name
