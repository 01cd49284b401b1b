"""The same networks in PyTorch, for comparison only: super blocks, attention none, SE or SA, tensors under their
published names. Written from the specification of the blocks, as one would write it in PyTorch."""
import re

import torch
from torch import nn
from torch.nn import functional as F


class Leaf(nn.Module):
    def __init__(self, netblock):
        super().__init__()
        self.netblock = netblock

    def forward(self, x):
        return self.netblock(x)


class ShuffleAttention(nn.Module):
    def __init__(self, channels, groups=4):
        super().__init__()
        k = channels // (2 * groups)
        self.groups = groups
        self.cweight, self.cbias = nn.Parameter(torch.zeros(1, k, 1, 1)), nn.Parameter(torch.ones(1, k, 1, 1))
        self.sweight, self.sbias = nn.Parameter(torch.zeros(1, k, 1, 1)), nn.Parameter(torch.ones(1, k, 1, 1))
        self.gn = nn.GroupNorm(k, k)

    def forward(self, x):
        n, c, h, w = x.shape
        a, s = x.reshape(n * self.groups, -1, h, w).chunk(2, dim=1)
        a = a * torch.sigmoid(self.cweight * a.mean((2, 3), keepdim=True) + self.cbias)
        s = s * torch.sigmoid(self.sweight * self.gn(s) + self.sbias)
        x = torch.cat([a, s], dim=1).reshape(n, 2, c // 2, h, w)
        return x.transpose(1, 2).reshape(n, c, h, w)


class SqueezeExcitation(nn.Sequential):
    def __init__(self, channels):
        hidden = max(1, round(channels / 4))
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, hidden, 1, bias=False), norm(hidden), nn.ReLU(),
                         nn.Conv2d(hidden, channels, 1, bias=False), norm(channels), nn.Sigmoid())

    def forward(self, x):
        return x * super().forward(x)


class Chain(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.module_list = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.module_list:
            x = block(x)
        return x


class Unit(Chain):
    def __init__(self, blocks, inside, out, stride, project):
        super().__init__(blocks)
        self.proj = nn.Sequential(nn.Conv2d(inside, out, 1, stride), norm(out)) if project or stride > 1 or inside != out else None
        self.link = True

    def forward(self, x):
        if not self.link:
            return super().forward(x)
        return super().forward(x) + (x if self.proj is None else self.proj(x))


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def conv_bn(inside, out, kernel, stride, groups=1, relu=True):
    conv = nn.Conv2d(inside, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return [Leaf(conv), Leaf(norm(out))] + [nn.ReLU()] * relu


def attention_of(kind, channels):
    if kind == "none":
        return []
    return [Leaf(SqueezeExcitation(channels) if kind == "se" else ShuffleAttention(channels))]


def round8(x):
    return max(8, 8 * round(x / 8))


def super_block(name, n, attention):
    plain = re.fullmatch(r"SuperConvK(\d)BNRELU", name)
    if plain:
        inside, out, stride, layers = n
        return Chain([b for i in range(layers) for b in conv_bn(inside if i == 0 else out, out, int(plain[1]), stride if i == 0 else 1)])
    inside, out, stride, bottleneck, layers = n
    expanded, bottle, basic = (re.fullmatch(p, name) for p in (r"SuperResIDWE(\d)K(\d)", r"SuperResK1K(\d)K1", r"SuperResK(\d)K\1"))
    blocks = []

    def unit(i, width, o, s, k, depthwise, project=False):
        if basic:
            body = conv_bn(i, width, k, s) + attention_of(attention, width) + conv_bn(width, o, k, 1, relu=False)
        else:
            body = (conv_bn(i, width, 1, 1) + conv_bn(width, width, k, s, width if depthwise else 1) + attention_of(attention, width)
                    + conv_bn(width, o, 1, 1, relu=False))
        blocks.extend([Unit(body, i, o, s, project), nn.ReLU()])

    for i in range(layers):
        first, s = (inside, stride) if i == 0 else (out, 1)
        if basic:
            unit(first, bottleneck, out, s, int(basic[1]), False, i == 0)
        elif bottle:
            unit(first, bottleneck, out, s, int(bottle[1]), False)
            unit(out, bottleneck, out, 1, int(bottle[1]), False)
        elif expanded:
            e, k = int(expanded[1]), int(expanded[2])
            unit(first, round8(e * bottleneck), bottleneck, s, k, True)
            unit(bottleneck, round8(e * out), out, 1, k, True)
        else:
            raise ValueError(f"{name}: super blocks only")
    return Chain(blocks)


class Net(Chain):
    def __init__(self, structure, classes=7, attention="sa"):
        parsed = re.findall(r"(\w+)\(([\d,]+)\)", structure)
        super().__init__([super_block(name, [int(v) for v in numbers.split(",")], attention) for name, numbers in parsed])
        self.fc_linear = Leaf(nn.Linear(int(parsed[-1][1].split(",")[1]), classes))

    def forward(self, x):
        return self.fc_linear(F.adaptive_avg_pool2d(super().forward(x), 1).flatten(1))

    def features(self, x):
        return super().forward(x)


def zen_score(net, batch, resolution):
    """The published Zen-score of one draw: fresh normal weights and images, two passes without links in training mode,
    running variances that start at 1."""
    norms = []
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.normal_()
            if isinstance(module, Unit):
                module.link, module.proj = False, None
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
                module.reset_running_stats()
                norms.append(module)
        net.train()
        x = torch.randn(batch, 3, resolution, resolution)
        moved = (net.features(x) - net.features(x + 0.01 * torch.randn_like(x))).abs().sum((1, 2, 3)).mean()
        return float(moved.log() + sum(n.running_var.mean().sqrt().log() for n in norms))
