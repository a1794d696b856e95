"""RealNVP and Glow on pixels in PyTorch, with the parameter names of the exported weights.

Written from the papers with what PyTorch has: volumes of 1x1 convolutions come from `slogdet` of the
whole matrix, split priors and the base are `torch.distributions.Normal`.
"""

import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

CHANNELS = 3


def per_channel(values):
    return values[:, None, None]


def sum_per_image(x):
    return x.flatten(1).sum(1)


class ActNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        y = x * per_channel(self.log_scale.exp()) + per_channel(self.shift)
        return y, self.log_scale.sum() * x[0, 0].numel()


class InvertibleConv(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.register_buffer("order", torch.arange(channels))
        self.register_buffer("sign", torch.ones(channels))
        self.lower = nn.Parameter(torch.eye(channels))
        self.upper = nn.Parameter(torch.eye(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        unit = torch.eye(len(self.order), device=x.device)
        lower = self.lower.tril(-1) + unit
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_scale.exp())
        matrix = (lower @ upper)[self.order]
        volume = torch.linalg.slogdet(matrix).logabsdet
        return functional.conv2d(x, matrix[:, :, None, None]), volume * x[0, 0].numel()


class NormalisedConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.log_scale = nn.Parameter(torch.zeros(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        x = functional.conv2d(x, self.weight, padding="same")
        return x * per_channel(self.log_scale.exp()) + per_channel(self.shift)


class ZeroConv(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        x = functional.conv2d(x, self.weight, self.bias, padding="same")
        return x * per_channel((3 * self.log_scale).exp())


class GlowNetwork(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        self.first = NormalisedConv(inputs, width, 3)
        self.second = NormalisedConv(width, width, 1)
        self.last = ZeroConv(width, outputs)

    def forward(self, x):
        x = functional.relu(self.first(x), inplace=True)
        x = functional.relu(self.second(x), inplace=True)
        return self.last(x)


class ChannelCoupling(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.network = GlowNetwork(channels // 2, channels, width)

    def forward(self, x):
        passed, changed = x.chunk(2, dim=1)
        shift, raw = self.network(passed).chunk(2, dim=1)
        scale = torch.sigmoid(raw + 2)
        y = torch.cat([passed, (changed + shift) * scale], 1)
        return y, sum_per_image(scale.log())


class SplitPrior(nn.Module):
    """The density of what is put aside, given what stays."""

    def __init__(self, channels):
        super().__init__()
        self.conv = ZeroConv(channels, 2 * channels)

    def forward(self, stays):
        mean, log_deviation = self.conv(stays).chunk(2, dim=1)
        return Normal(mean, log_deviation.exp())


class Squeeze(nn.Module):
    """Channels in PyTorch's own order, or checkerboard first."""

    def __init__(self, checkerboard):
        super().__init__()
        self.checkerboard = checkerboard

    def forward(self, x):
        if self.checkerboard:
            places = [(0, 0), (1, 1), (0, 1), (1, 0)]
            return torch.cat([x[:, :, i::2, j::2] for i, j in places], 1), 0
        return functional.pixel_unshuffle(x, 2), 0


class WeightNormConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.direction = nn.Parameter(torch.ones(outputs, inputs, kernel, kernel))
        self.length = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        weight = torch._weight_norm(self.direction, self.length[:, None, None, None], 0)
        return functional.conv2d(x, weight, self.bias, padding="same")


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))
        self.convs = nn.ModuleList(WeightNormConv(width, width, 3) for _ in range(2))

    def forward(self, x):
        change = x
        for norm, conv in zip(self.norms, self.convs):
            change = conv(functional.relu(norm(change), inplace=True))
        return x + change


class ResidualNetwork(nn.Module):
    def __init__(self, inputs, outputs, width, blocks):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.first = WeightNormConv(2 * inputs, width, 3)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.skips = nn.ModuleList(WeightNormConv(width, width, 1) for _ in range(blocks + 1))
        self.last_norm = nn.BatchNorm2d(width)
        self.last = WeightNormConv(width, outputs, 1)

    def forward(self, x):
        x = self.norm(x)
        x = self.first(functional.relu(torch.cat([x, -x], 1), inplace=True))
        total = self.skips[0](x)
        for block, skip in zip(self.blocks, self.skips[1:]):
            x = block(x)
            total = total + skip(x)
        return self.last(functional.relu(self.last_norm(total), inplace=True))


class MaskedCoupling(nn.Module):
    def __init__(self, channels, width, blocks, sees):
        super().__init__()
        self.network = ResidualNetwork(channels, 2 * channels, width, blocks)
        self.range = nn.Parameter(torch.ones(channels))
        self.sees = sees

    def forward(self, x):
        seen = self.sees(x)
        raw, shift = self.network(torch.where(seen, x, 0)).chunk(2, dim=1)
        log_scale = torch.where(seen, 0, raw.tanh() * per_channel(self.range))
        y = torch.where(seen, x, (x + shift) * log_scale.exp())
        return y, sum_per_image(log_scale)


def checkerboard(odd):
    def sees(x):
        rows, columns = (torch.arange(size, device=x.device) for size in x.shape[2:])
        return ((rows[:, None] + columns) % 2 == int(odd)).expand_as(x)

    return sees


def rows(upper):
    """Channels of the squares' upper row, or of the lower, in the order of a checkerboard squeeze."""

    def sees(x):
        quarter = torch.arange(x.shape[1], device=x.device) // (x.shape[1] // 4)
        return per_channel((quarter % 2 == 0) == upper).expand_as(x)

    return sees


class Level(nn.Module):
    def __init__(self, layers, splits=False, prior=None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.splits = splits
        self.prior = prior


class PixelFlow(nn.Module):
    """Levels on a standard normal."""

    beta_1 = 0.9
    clip_norm = 1.0

    def __init__(self, domain, levels):
        super().__init__()
        self.domain = domain
        self.levels = nn.ModuleList(levels)

    def forward(self, images):
        """Bits per dimension of images in [-1, 1], and the norm of their noise."""
        x, total = self.domain((images + 1) / 2)
        squares = 0
        for level in self.levels:
            for layer in level.layers:
                x, log_det = layer(x)
                total = total + log_det
            parts = [x]
            if level.splits:
                parts = x.chunk(2, dim=1)
                x = parts[0]
            last = level is self.levels[-1]
            for part in parts if last else parts[1:]:
                density = STANDARD if level.prior is None else level.prior(x)
                total = total + sum_per_image(density.log_prob(part))
                noise = (part - density.mean) / density.stddev
                squares = squares + sum_per_image(noise.square())
        bits = -total / (images[0].numel() * math.log(2)) + 8
        return bits, squares.sqrt()

    def bits_per_dim(self, images):
        return self(images)[0]

    def outputs(self, images):
        bits, norm = self(images)
        return {"bits_per_dim": bits, "noise_norm": norm}

    def backward(self, images):
        bits, norm = self(images)
        loss = bits.mean()
        loss.backward()
        return torch.stack([loss.detach(), norm.detach().mean()])


STANDARD = Normal(0.0, 1.0)


def centred(x):
    return x - 0.5, 0


def logit(x, margin=0.05):
    p = margin + (1 - 2 * margin) * x
    slope = math.log(1 - 2 * margin) - p.log() - (-p).log1p()
    return p.logit(), sum_per_image(slope)


def real_nvp(width=16, blocks=1):
    """Two scales."""

    def couplings(channels, width, masks):
        return [MaskedCoupling(channels, width, blocks, sees) for sees in masks]

    first = couplings(CHANNELS, width, [checkerboard(odd) for odd in (True, False, True)])
    first.append(Squeeze(checkerboard=True))
    channels = [rows(upper) for upper in (True, False, True)]
    first += couplings(4 * CHANNELS, 2 * width, channels)
    masks = [checkerboard(odd) for odd in (True, False, True, False)]
    last = couplings(2 * CHANNELS, 2 * width, masks)
    return PixelFlow(logit, [Level(first, splits=True), Level(last)])


def glow(levels=3, steps=4, width=64):
    found, channels = [], CHANNELS
    for level in range(levels):
        channels *= 4
        layers = [Squeeze(checkerboard=False)]
        for _ in range(steps):
            parts = ActNorm(channels), InvertibleConv(channels), ChannelCoupling(channels, width)
            layers += parts
        if level < levels - 1:
            channels //= 2
            found.append(Level(layers, splits=True, prior=SplitPrior(channels)))
        else:
            found.append(Level([*layers, ActNorm(channels)]))
    return PixelFlow(centred, found)
