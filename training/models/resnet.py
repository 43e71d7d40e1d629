"""ResNet-18, -34 and -50 (He et al. 2016, arXiv:1512.03385) without their classification head, with GroupNorm.

Parameters are named as in torchvision (`layer1.0.bn1.weight`), so that its weights fit; batch statistics go ill with an
average of the weights (Diffusion Policy, section on the visual encoder), hence GroupNorm behind the names bn1 to bn3.
"""

from __future__ import annotations

from torch import Tensor, nn

from training.model_schema import CHANNELS_PER_GROUP

STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
BOTTLENECK = ("resnet50",)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), _norm(width)
        self.conv2, self.bn2 = _conv(width, width, 3), _norm(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H / stride, W / stride)."""
        hidden = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(hidden)) + self.downsample(x)).relu()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the stride sits in the 3x3, as in torchvision."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1, self.bn1 = _conv(inputs, width, 1), _norm(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), _norm(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), _norm(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / stride, W / stride)."""
        hidden = self.bn1(self.conv1(x)).relu()
        hidden = self.bn2(self.conv2(hidden)).relu()
        return (self.bn3(self.conv3(hidden)) + self.downsample(x)).relu()


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_conv(inputs, outputs, 1, stride), _norm(outputs))


class ResNet(nn.Module):
    """(B, channels, H, W) -> maps (B, out_channels, ~H / 32, ~W / 32)."""

    def __init__(self, name: str, channels: int = 3) -> None:
        super().__init__()
        kind = Bottleneck if name in BOTTLENECK else BasicBlock
        self.conv1, self.bn1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False), _norm(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs, stages = 64, list[nn.Sequential]()
        for level, blocks in enumerate(STAGES[name]):
            width, stage = 64 * 2**level, list[nn.Module]()
            for number in range(blocks):
                stage.append(kind(inputs, width, 2 if level and number == 0 else 1))
                inputs = width * kind.expansion
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.out_channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out_channels, ~H / 32, ~W / 32)."""
        x = self.maxpool(self.bn1(self.conv1(images)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
