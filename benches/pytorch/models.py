"""The crate's networks in PyTorch, with the parameter names of the exported weights.

Each is written as its authors or most users would: `torch.nn` layers in eager mode, activations in
place. Sizes are those of `benches/yardstick/cases.rs`.
"""

import math

import pixel_flows
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

RATE = 2e-4
WIDTH = 64
LATENT = 100
NEGATIVE_SLOPE = 0.2
RECONSTRUCTION_WEIGHT = 50.0
POSITION_FLOW = {"dim": 64, "hidden": 128, "context": 16}


def conv(inputs, outputs, stride):
    """4x4 convolution: stride 2 halves the side, stride 1 maps 4x4 to 1x1."""
    return nn.Conv2d(inputs, outputs, 4, stride, stride - 1, bias=False)


def conv_transpose(inputs, outputs, stride):
    """The transpose of `conv`."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride, stride - 1, bias=False)


class Block(nn.Module):
    """A convolution of either kind, then normalisation."""

    def __init__(self, conv, width):
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return self.norm(self.conv(x))


class Encoder(nn.Module):
    """DCGAN's discriminator with a latent in place of the single output, for 32 pixels."""

    def __init__(self, channels, width, latent):
        super().__init__()
        self.stem = conv(channels, width, 2)
        self.blocks = nn.ModuleList(
            Block(conv(half, 2 * half, 2), 2 * half) for half in (width, 2 * width)
        )
        self.head = conv(4 * width, latent, 1)

    def features(self, images):
        x = functional.leaky_relu(self.stem(images), NEGATIVE_SLOPE, inplace=True)
        for block in self.blocks:
            x = functional.leaky_relu(block(x), NEGATIVE_SLOPE, inplace=True)
        return x

    def forward(self, images):
        return self.head(self.features(images)).flatten(1)


class Decoder(nn.Module):
    """DCGAN's generator, for 32 pixels."""

    def __init__(self, channels, width, latent):
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                Block(conv_transpose(latent, 4 * width, 1), 4 * width),
                Block(conv_transpose(4 * width, 2 * width, 2), 2 * width),
                Block(conv_transpose(2 * width, width, 2), width),
            ]
        )
        self.head = conv_transpose(width, channels, 2)

    def forward(self, latents):
        x = latents[:, :, None, None]
        for block in self.blocks:
            x = functional.relu(block(x), inplace=True)
        return self.head(x).tanh()


class AutoEncoder(nn.Module):
    """Encoder and decoder, trained on the L1 loss."""

    beta_1 = 0.5
    clip_norm = 0.0

    def __init__(self, channels=1, width=WIDTH, latent=LATENT):
        super().__init__()
        self.encoder = Encoder(channels, width, latent)
        self.decoder = Decoder(channels, width, latent)

    def encode(self, images):
        return self.encoder(images)

    def outputs(self, images):
        """What is compared in evaluation mode."""
        latents = self.encoder(images)
        return {"latents": latents, "reconstructions": self.decoder(latents)}

    def backward(self, images):
        """Leaves gradients in the parameters and returns the monitors, the loss first."""
        latents = self.encoder(images)
        loss = functional.l1_loss(self.decoder(latents), images)
        loss.backward()
        latents = latents.detach()
        deviation = latents.var(0, correction=0).mean().sqrt()
        return torch.stack([loss.detach(), latents.mean(), deviation])


class Ganomaly(nn.Module):
    """Generator (encoder, decoder, second encoder) and discriminator."""

    beta_1 = 0.5
    clip_norm = 0.0

    def __init__(self, channels=1, width=WIDTH, latent=LATENT):
        super().__init__()
        self.encoder = Encoder(channels, width, latent)
        self.decoder = Decoder(channels, width, latent)
        self.second_encoder = Encoder(channels, width, latent)
        self.discriminator = Encoder(channels, width, 1)

    def generate(self, images):
        latents = self.encoder(images)
        fakes = self.decoder(latents)
        return latents, fakes, self.second_encoder(fakes)

    def outputs(self, images):
        latents, fakes, again = self.generate(images)
        return {"reconstructions": fakes, "scores": (latents - again).square().mean(1)}

    def generator_parameters(self):
        for part in (self.encoder, self.decoder, self.second_encoder):
            yield from part.parameters()

    def discriminator_loss(self, images, fakes):
        real = self.discriminator(images)
        fake = self.discriminator(fakes.detach())
        return (functional.softplus(-real).mean() + functional.softplus(fake).mean()) / 2

    def backward(self, images):
        """Both losses on the same weights; each reaches its own network alone."""
        latents, fakes, again = self.generate(images)
        with torch.no_grad():
            real = self.discriminator.features(images)
        adversarial = functional.mse_loss(self.discriminator.features(fakes), real)
        reconstruction = functional.l1_loss(fakes, images)
        latent = functional.mse_loss(again, latents)
        generator = adversarial + RECONSTRUCTION_WEIGHT * reconstruction + latent
        discriminator = self.discriminator_loss(images, fakes)
        generator.backward(inputs=list(self.generator_parameters()))
        discriminator.backward()
        losses = [generator, discriminator, reconstruction, latent, adversarial]
        return torch.stack([loss.detach() for loss in losses])


class Permutation(nn.Module):
    """A fixed order of the entries."""

    def __init__(self, dim):
        super().__init__()
        self.register_buffer("order", torch.arange(dim))
        self.register_buffer("inverse", torch.arange(dim))

    def forward(self, x, _):
        return x.index_select(1, self.order), None


class Conditioner(nn.Module):
    """A multi-layer perceptron with ReLU between its layers."""

    def __init__(self, inputs, outputs, hidden, layers):
        super().__init__()
        sizes = [inputs] + [hidden] * layers
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x):
        for layer in self.hidden:
            x = functional.relu(layer(x), inplace=True)
        return self.last(x)


class Coupling(nn.Module):
    """The first half passes and decides, with the context, scale and shift of the second."""

    def __init__(self, dim, hidden, layers, clamp, context):
        super().__init__()
        inputs = dim // 2 + context
        self.conditioner = Conditioner(inputs, 2 * (dim - dim // 2), hidden, layers)
        self.clamp = clamp

    def forward(self, x, context):
        passed, changed = x.tensor_split(2, dim=1)
        known = passed if context is None else torch.cat([passed, context], 1)
        raw, shift = self.conditioner(known).chunk(2, dim=1)
        log_scale = self.clamp * (raw / self.clamp).tanh()
        changed = changed * log_scale.exp() + shift
        return torch.cat([passed, changed], 1), log_scale.sum(1)


class RealNvp(nn.Module):
    """Couplings with a permutation before each, on a standard normal; contexts follow their vectors."""

    beta_1 = 0.9
    clip_norm = 10.0

    def __init__(self, dim=LATENT, couplings=8, hidden=256, layers=2, clamp=2.0, context=0):
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(
            layer
            for _ in range(couplings)
            for layer in (Permutation(dim), Coupling(dim, hidden, layers, clamp, context))
        )

    def forward(self, rows):
        x, context = rows, None
        if rows.shape[1] > self.dim:
            x, context = rows.tensor_split([self.dim], dim=1)
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x, context)
            if log_det is not None:
                total = total + log_det
        return x, total

    def density(self, z, log_det):
        constant = self.dim * math.log(2 * math.pi)
        return log_det - 0.5 * (z.square().sum(1) + constant)

    def log_prob(self, x):
        return self.density(*self(x))

    def outputs(self, x):
        return {"log_prob": self.log_prob(x)}

    def backward(self, x):
        z, log_det = self(x)
        loss = -self.density(z, log_det).mean()
        loss.backward()
        loss = loss.detach()
        norm = z.detach().square().sum(1).sqrt().mean()
        return torch.stack([loss, loss / (self.dim * math.log(2)), norm])


class Fire(nn.Module):
    """Few channels first, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = functional.relu(self.squeeze(x), inplace=True)
        x = torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)
        return functional.relu(x, inplace=True)


class SqueezeNet(nn.Module):
    """The trunk of SqueezeNet 1.1; its latent is the means of three maps."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.stem = nn.Conv2d(3, 64, 3, 2)
        self.first = nn.ModuleList([Fire(64, 16, 64), Fire(128, 16, 64)])
        self.second = nn.ModuleList([Fire(128, 32, 128), Fire(256, 32, 128)])
        self.third = nn.ModuleList(
            [Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]
        )
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], False)

    def normalise(self, images):
        """Pixels in [-1, 1] as ImageNet's."""
        return ((images + 1) / 2 - self.mean) / self.std

    def fires_6_and_7(self, images):
        """The maps after the first two modules of the third stage; images as they are."""
        x = functional.relu(self.stem(self.normalise(images)), inplace=True)
        for fires in (self.first, self.second):
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            for fire in fires:
                x = fire(x)
        six = self.third[0](functional.max_pool2d(x, 3, 2, ceil_mode=True))
        return torch.cat([six, self.third[1](six)], 1)

    def encode(self, images):
        x = self.normalise(images)
        x = functional.interpolate(x, (self.size, self.size), mode="bilinear")
        x = functional.relu(self.stem(x), inplace=True)
        means = []
        for fires in (self.first, self.second, self.third):
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            for fire in fires:
                x = fire(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)

    def outputs(self, images):
        return {"features": self.encode(images)}


class TiedGaussians(nn.Module):
    """Gaussians of one covariance around what positions show."""

    def __init__(self, features, count):
        super().__init__()
        self.projection = nn.ParameterDict(
            {"mean": torch.zeros(features), "matrix": torch.eye(features)}
        )
        self.gaussians = nn.ParameterDict(
            {"centres": torch.zeros(features, count), "constants": torch.zeros(1, count)}
        )

    def nll(self, rows):
        white = (rows - self.projection["mean"]) @ self.projection["matrix"]
        centres = self.gaussians["centres"]
        others = self.gaussians["constants"] - 0.5 * centres.square().sum(0)
        return 0.5 * white.square().sum(1) - (white @ centres + others).logsumexp(1)


class Positions(nn.Module):
    """How unlikely the positions of an image are, at two scales: the mean of the least likely tenth."""

    def __init__(self, size, features=768, count=1000, share=0.1):
        super().__init__()
        self.encoder = SqueezeNet(size)
        self.densities = nn.ModuleList([TiedGaussians(features, count) for _ in range(2)])
        self.share = share

    def score(self, images):
        images = as_batch(images)
        pixels = images.flatten(1)
        pixels = pixels - pixels.mean(1, keepdim=True)
        deviation = pixels.square().mean(1, keepdim=True).sqrt().clamp(min=0.04)
        x = (pixels / deviation * 0.4 - 0.1).view_as(images)
        scores = []
        for shrink, density in zip((1, 2), self.densities):
            shrunk = x if shrink == 1 else functional.avg_pool2d(x, shrink)
            maps = self.encoder.fires_6_and_7(shrunk)
            maps = functional.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
            rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
            # Of mean square one, whatever the size of what is seen.
            rows = rows / rows.norm(dim=1, keepdim=True) * math.sqrt(rows.shape[1])
            nll = density.nll(rows).view(len(images), -1)
            largest = nll.topk(math.ceil(self.share * nll.shape[1]), dim=1).values
            scores.append(largest.mean(1))
        return torch.stack(scores).mean(0)

    def outputs(self, images):
        return {"scores": self.score(as_bytes(images))}


NETWORKS = {
    "autoencoder-grey": lambda: AutoEncoder(1),
    "autoencoder-colour": lambda: AutoEncoder(3),
    "flow": RealNvp,
    "position-flow": lambda: RealNvp(**POSITION_FLOW),
    "ganomaly": Ganomaly,
    "realnvp-colour": pixel_flows.real_nvp,
    "glow-colour": pixel_flows.glow,
    "squeezenet-128": lambda: SqueezeNet(128),
    "squeezenet-256": lambda: SqueezeNet(256),
    "positions-256": lambda: Positions(256),
}


def load(name, folder, device="cpu"):
    """The network with the exported weights, in evaluation mode."""
    model = NETWORKS[name]()
    state = load_file(f"{folder}/{name}.safetensors")
    missing, unexpected = model.load_state_dict(state, strict=False)
    # PyTorch counts batches for a kind of momentum that is not used here.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"weights of {name}: missing {missing}, unexpected {unexpected}")
    return model.to(device).eval()


class Training:
    """A model in training, with the optimizer settings of a stage."""

    def __init__(self, model):
        self.model = model.train()
        self.parameters = list(model.parameters())
        self.adam = torch.optim.Adam(
            self.parameters, lr=RATE, betas=(model.beta_1, 0.999), eps=1e-8
        )

    def step(self, batch):
        """Forward, backward, clipping, Adam, and the monitors read once."""
        self.adam.zero_grad()
        monitors = self.model.backward(batch)
        if self.model.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.model.clip_norm)
        self.adam.step()
        return monitors.tolist()


def as_bytes(images):
    """The inverse of `as_batch`."""
    return images.add(1).mul_(127.5).round_().to(torch.uint8)


def as_batch(pixels):
    """Bytes to floats in [-1, 1]."""
    return pixels.float().div_(127.5).sub_(1)


def mean_distance(queries, bank, norms, neighbours=5, rows=256):
    """Mean distance of each query to its nearest neighbours in the bank, some rows at a time.

    `norms` are the squared norms of the bank's rows. A query's own norm changes no order, so it is
    added to the nearest alone.
    """
    found = []
    for part in queries.split(rows):
        squared = torch.addmm(norms, part, bank.T, alpha=-2)
        nearest = squared.topk(neighbours, dim=1, largest=False, sorted=False).values
        own = part.square().sum(1, keepdim=True)
        found.append((nearest + own).clamp_(min=0).sqrt_().mean(1))
    return torch.cat(found)
