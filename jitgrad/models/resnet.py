"""Residual networks (He et al. 2015), with torchvision's names of parameters and initialisation."""

from __future__ import annotations

import os
from typing import ClassVar

from jitgrad import nn
from jitgrad.serialization import load
from jitgrad.tensor import Tensor

__all__ = ["BasicBlock", "Bottleneck", "ResNet", "resnet18", "resnet34", "resnet50"]

Path = str | os.PathLike[str]


def _conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size but for its stride; a normalization adds the bias."""
    return nn.Conv2d(channels, out, size, stride, size // 2, bias=False)


def _shortcut(channels: int, out: int, stride: int) -> nn.Sequential | None:
    """What fits a block's input to its result; None where it fits already."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the identity.

    Parameters
    ----------
    channels, width : int
        Of the input and of the convolutions; the result has ``expansion * width``.
    stride : int
        Of the first convolution, and of the shortcut.
    """

    #: Channels of the result, as a multiple of the width.
    expansion: ClassVar[int] = 1

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, beside the identity; the 3x3 one has the stride.

    Parameters are those of `BasicBlock`.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out = self.expansion * width
        self.conv1, self.bn1 = _conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, out, 1), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, 4 * width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    """Four stages of blocks, each half as large and twice as wide as the one before.

    Parameters
    ----------
    block : type
        `BasicBlock` or `Bottleneck`.
    layers : list of int
        The number of blocks in each stage.
    num_classes : int
        The size of the result.
    zero_init_residual : bool
        Begin with blocks that are the identity.

    Notes
    -----
    The state has torchvision's names: ``conv1``, ``bn1``, ``layer1`` to ``layer4`` and ``fc``.  Weights
    of convolutions begin normal with variance ``2 / fan_out`` (He et al.).
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(layers):
            width, blocks = 64 << stage, []
            for k in range(count):
                blocks.append(block(channels, width, 2 if stage and not k else 1))
                channels = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock | Bottleneck):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to scores (N, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def _made(
    block: type[BasicBlock | Bottleneck],
    layers: list[int],
    weights: Path | None,
    num_classes: int,
    zero_init_residual: bool,
) -> ResNet:
    model = ResNet(block, layers, num_classes, zero_init_residual)
    if weights is not None:
        model.load_state_dict(load(weights))
    return model


def resnet18(
    weights: Path | None = None, *, num_classes: int = 1000, zero_init_residual: bool = False
) -> ResNet:
    """A residual network of 18 layers.

    Parameters
    ----------
    weights : str or path, optional
        A file of its state, such as torchvision's ``resnet18-f37072fd.pth``; otherwise it begins random.
    num_classes : int
        The size of the result.
    zero_init_residual : bool
        Begin with blocks that are the identity.

    Examples
    --------
    The article's way to a classifier of one's own:

    >>> import jitgrad as torch
    >>> from jitgrad import nn, optim
    >>> model = torch.models.resnet18()
    >>> for param in model.parameters():
    ...     param.requires_grad = False
    >>> model.fc = nn.Linear(512, 100)
    >>> optimizer = optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)
    >>> [name for name, param in model.named_parameters() if param.requires_grad]
    ['fc.weight', 'fc.bias']
    """
    return _made(BasicBlock, [2, 2, 2, 2], weights, num_classes, zero_init_residual)


def resnet34(
    weights: Path | None = None, *, num_classes: int = 1000, zero_init_residual: bool = False
) -> ResNet:
    """A residual network of 34 layers; see `resnet18`."""
    return _made(BasicBlock, [3, 4, 6, 3], weights, num_classes, zero_init_residual)


def resnet50(
    weights: Path | None = None, *, num_classes: int = 1000, zero_init_residual: bool = False
) -> ResNet:
    """A residual network of 50 layers; see `resnet18`."""
    return _made(Bottleneck, [3, 4, 6, 3], weights, num_classes, zero_init_residual)
