"""Trains the flow of a finished run again in PyTorch, on the same images, and compares bits/dim.

    encoder-flow experiment cifar10-plane --method glow
    python benches/pytorch/train_flows.py artifacts/cifar10-plane/glow/seed-0 --data DATA

RUN is a run of `glow`, or of `realnvp` with the paper's masks, on CIFAR-10; DATA holds
`cifar-10-batches-bin`. Sizes and schedule come from the run's `identity.json`, the images from
its `split.json`. Weights, order and noise are PyTorch's own: the two should come to the same bits/dim,
not to the same numbers.
"""

import json
import math

import numpy
import pixel_flows
import torch
from training import finished_run, passes

INITIAL_IMAGES = 256
LEAST_DEVIATION = 1e-3
TOLERANCE = 0.03


def read_images(folder, indices):
    """Images of the training and test files together, in [0, 255]."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    records = numpy.concatenate([numpy.fromfile(folder / name, numpy.uint8) for name in names])
    pixels = records.reshape(-1, 1 + 3 * 32 * 32)[indices, 1:]
    return torch.from_numpy(pixels).reshape(-1, 3, 32, 32).float()


def dequantised(images, generator):
    """Between the levels, in [-1, 1] as the flow's domain takes them."""
    noise = torch.rand(images.shape, generator=generator)
    return (images + noise) / 128 - 1


def build(method, settings):
    if method == "glow":
        return pixel_flows.glow(settings["levels"], settings["steps"], settings["width"])
    if (settings["masks"], settings["scales"], settings["bottleneck"]) != ("multi-scale", 2, 0):
        raise SystemExit("error: only the paper's masks on two scales are written in PyTorch")
    return pixel_flows.real_nvp(settings["width"], settings["blocks"])


def initialise(flow, images):
    """Weights as the papers' code draws them, scales from data."""
    for module in flow.modules():
        if isinstance(module, pixel_flows.NormalisedConv):
            torch.nn.init.normal_(module.weight, std=0.05)
        elif isinstance(module, pixel_flows.InvertibleConv):
            rotate(module)
        elif isinstance(module, pixel_flows.WeightNormConv):
            bound = 1 / math.sqrt(module.direction[0].numel())
            torch.nn.init.uniform_(module.direction, -bound, bound)
            torch.nn.init.uniform_(module.bias, -bound, bound)
            with torch.no_grad():
                module.length.copy_(module.direction.flatten(1).norm(dim=1))
    for module in flow.modules():
        if isinstance(module, pixel_flows.ResidualNetwork):
            torch.nn.init.zeros_(module.last.length)
            torch.nn.init.zeros_(module.last.bias)
    hooks = [
        module.register_forward_pre_hook(scale_from_data)
        for module in flow.modules()
        if isinstance(module, (pixel_flows.ActNorm, pixel_flows.NormalisedConv))
    ]
    if hooks:
        with torch.no_grad():
            flow(images)
    for hook in hooks:
        hook.remove()


def rotate(module):
    rotation = torch.linalg.qr(torch.randn(len(module.order), len(module.order)))[0]
    permutation, lower, upper = torch.linalg.lu(rotation)
    with torch.no_grad():
        module.order.copy_(permutation.argmax(1))
        module.sign.copy_(upper.diagonal().sign())
        module.log_scale.copy_(upper.diagonal().abs().log())
        module.lower.copy_(lower)
        module.upper.copy_(upper)


def scale_from_data(module, inputs):
    """Mean 0 and variance 1 in every channel of what comes out."""
    x = inputs[0]
    if isinstance(module, pixel_flows.NormalisedConv):
        x = torch.nn.functional.conv2d(x, module.weight, padding="same")
    deviation, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    deviation = deviation.clamp_min(LEAST_DEVIATION)
    module.log_scale.copy_(-deviation.log())
    module.shift.copy_(-mean / deviation)


@torch.inference_mode()
def mean_bits(flow, images):
    generator = torch.Generator().manual_seed(0)
    bits = [flow.bits_per_dim(dequantised(batch, generator)) for batch in images.split(64)]
    return torch.cat(bits).mean().item()


def main():
    arguments, identity, split, generator = finished_run(__doc__.split("\n")[0])
    method = identity["method"]
    if method not in ("glow", "realnvp") or identity["data"]["dataset"] != "cifar10":
        raise SystemExit(f"error: {arguments.run} is no run of glow or realnvp on CIFAR-10")
    settings = identity["settings"][method]
    history = json.loads((arguments.run / "pixel-flow" / "history.json").read_text())
    ours = [epoch["valid"]["Bits per dim"] for epoch in history["epochs"]]

    folder = arguments.data / "cifar-10-batches-bin"
    images, held_out = (read_images(folder, split[part]) for part in ("train", "validation"))
    flow = build(method, settings)
    start = torch.randperm(len(images), generator=generator)[:INITIAL_IMAGES]
    initialise(flow, dequantised(images[start], generator))

    print(f"{method}, {len(images)} images, bits/dim of {len(held_out)} others")
    print(f"{'epoch':>5} {'ours':>8} {'PyTorch':>8}")
    found = math.nan
    draw = lambda batch: dequantised(images[batch], generator)
    trained = passes(flow, draw, len(images), settings["training"], generator)
    for epoch, (_, expected) in enumerate(zip(trained, ours), start=1):
        found = mean_bits(flow, held_out)
        print(f"{epoch:5} {expected:8.4f} {found:8.4f}", flush=True)
    difference = ours[-1] / found - 1
    print(f"ours to PyTorch's after the last: {difference:+.1%} (at most {TOLERANCE:.0%})")
    if not abs(difference) <= TOLERANCE:
        raise SystemExit("error: the two do not agree")


if __name__ == "__main__":
    main()
