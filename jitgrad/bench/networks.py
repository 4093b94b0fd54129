"""Networks that are written for any namespace like torch's, so that both sides run the same program."""

from __future__ import annotations

from typing import Any

from jitgrad.bench.case import Namespace


def resnet18(T: Namespace, classes: int = 1000) -> Any:
    """ResNet-18 (He et al. 2015)."""
    nn = T.nn

    def conv(channels: int, out: int, size: int, stride: int) -> Any:
        return nn.Conv2d(channels, out, size, stride, size // 2, bias=False)

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        """Two convolutions beside the identity."""

        def __init__(self, channels: int, out: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(channels, out, 3, stride), nn.BatchNorm2d(out)
            self.conv2, self.bn2 = conv(out, out, 3, 1), nn.BatchNorm2d(out)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride != 1:
                self.downsample = nn.Sequential(conv(channels, out, 1, stride), nn.BatchNorm2d(out))

        def forward(self, x: Any) -> Any:
            """Add what the convolutions make to the input."""
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            out += x if self.downsample is None else self.downsample(x)
            return self.relu(out)

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        """The network; its parameters have torchvision's names."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
            self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
            for k in range(4):
                before, width = 64 << max(k - 1, 0), 64 << k
                blocks = (Block(before, width, 2 if k else 1), Block(width, width, 1))
                self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(512, classes)

        def forward(self, x: Any) -> Any:
            """Images to scores."""
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(T.flatten(self.avgpool(x), 1))

    return Net()


def gpt(
    T: Namespace,
    vocabulary: int = 65,
    length: int = 64,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
) -> Any:
    """A decoder as GPT-2's (Radford et al. 2019): tokens to scores of the next one."""
    nn, F = T.nn, T.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        """Causal attention and a perceptron, each normalized before and added to its input."""

        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width),
                nn.GELU(approximate="tanh"),
                nn.Linear(4 * width, width),
            )

        def forward(self, x: Any) -> Any:
            """(N, T, width), and so is the result."""
            n, t, _ = x.shape
            parts = self.attention(self.ln_1(x)).split(width, -1)
            q, k, v = (part.view(n, t, heads, -1).transpose(1, 2) for part in parts)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.projection(mixed.transpose(1, 2).reshape(n, t, width))
            return x + self.mlp(self.ln_2(x))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        """Tokens to scores."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, ids: Any) -> Any:
            """(N, T) to (N, T, vocabulary)."""
            x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
            return self.head(self.norm(self.blocks(x)))

    return Net()
