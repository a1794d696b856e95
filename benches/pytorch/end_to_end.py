"""The whole of `encoder-flow experiment mnist-3` in PyTorch: from the files of MNIST to the AUROC.

    encoder-flow experiment mnist-3 --plain
    python benches/pytorch/end_to_end.py artifacts/mnist-3/encoder-flow/seed-0 --data DATA

RUN is a run of `encoder-flow` on MNIST with an autoencoder and a standard normal base; DATA holds
`mnist`. Settings come from the run's `identity.json`, the images from its `split.json`. Weights and
order are PyTorch's own. Prints the AUROC of the NLL, and the seconds and memory of this process, to be
compared with those that the program prints of itself. There is no report here, and no interval.
"""

import copy
import gzip
import resource
import time

import models
import numpy
import torch
from torch.nn import functional
from training import finished_run, passes

BATCH = 256
PARTS = ("validation", "test_normal", "test_anomalous")


def read_mnist(folder):
    """All images, 32x32 in [-1, 1]."""
    found = []
    for name in ("train", "t10k"):
        with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
            found.append(numpy.frombuffer(file.read(), numpy.uint8, offset=16))
    pixels = torch.from_numpy(numpy.concatenate(found)).reshape(-1, 1, 28, 28)
    return functional.pad(pixels, (2, 2, 2, 2)).float() / 127.5 - 1


def fit(model, train, valid, loss, settings, generator):
    """The model of the pass with the lowest loss on `valid`; ends when it has not fallen for long."""
    best, lowest, since = None, float("inf"), 0
    for _ in passes(model, lambda batch: train[batch], len(train), settings, generator):
        value = mean(loss, valid)
        since += 1
        if value < lowest:
            best, lowest, since = copy.deepcopy(model.state_dict()), value, 0
        if 0 < settings["patience"] <= since:
            break
    model.load_state_dict(best)
    return lowest


@torch.inference_mode()
def of_all(function, samples):
    return torch.cat([function(batch) for batch in samples.split(BATCH)])


def mean(function, samples):
    return of_all(function, samples).mean().item()


def auroc(normal, anomalous):
    """The probability that an anomalous score is the higher; half of ties."""
    scores = torch.cat([normal, anomalous]).double()
    _, places, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[places]
    above = ranks[len(normal) :].sum() - len(anomalous) * (len(anomalous) + 1) / 2
    return (above / (len(normal) * len(anomalous))).item()


def main():
    begun = time.monotonic()
    arguments, identity, split, generator = finished_run(__doc__.split("\n")[0])
    settings = identity["settings"]
    is_known = identity["method"] == "encoder-flow" and identity["data"]["dataset"] == "mnist"
    if not is_known or settings["encoder"]["kind"] != "autoencoder" or settings["flow"]["gaussians"]:
        raise SystemExit(
            f"error: {arguments.run} is no run of encoder-flow on MNIST with an autoencoder and a "
            "standard normal base"
        )
    images = read_mnist(arguments.data / "mnist")
    train = images[split["train"]]
    parts = {part: images[split[part]] for part in PARTS}

    own = settings["encoder"]
    autoencoder = models.AutoEncoder(1, own["width"], own["latent"])
    for name, weights in autoencoder.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(weights, 1.0 if "norm" in name else 0.0, 0.02)

    def reconstruction(batch):
        return (autoencoder.outputs(batch)["reconstructions"] - batch).abs().mean((1, 2, 3))

    lowest = fit(autoencoder, train, parts["validation"], reconstruction, own["training"], generator)
    print(f"encoder  L1 of validation images {lowest:.4f}, {time.monotonic() - begun:.1f} s")

    latents = of_all(autoencoder.encode, train)
    deviation, centre = torch.std_mean(latents, 0, correction=0)
    of_parts = {
        part: (of_all(autoencoder.encode, found) - centre) / deviation
        for part, found in parts.items()
    }
    own = settings["flow"]
    sizes = own["couplings"], own["hidden"], own["layers"], own["clamp"]
    flow = models.RealNvp(latents.shape[1], *sizes)
    for layer in flow.layers:
        if isinstance(layer, models.Permutation):
            layer.order.copy_(torch.randperm(len(layer.order)))
        else:
            torch.nn.init.zeros_(layer.conditioner.last.weight)
            torch.nn.init.zeros_(layer.conditioner.last.bias)

    def nll(batch):
        return -flow.log_prob(batch)

    standard = (latents - centre) / deviation
    lowest = fit(flow, standard, of_parts["validation"], nll, own["training"], generator)
    print(f"flow     NLL of validation latents {lowest:.4f}, {time.monotonic() - begun:.1f} s")

    for name, score, of in (("nll", nll, of_parts), ("reconstruction", reconstruction, parts)):
        scores = {part: of_all(score, found) for part, found in of.items()}
        found = auroc(scores["test_normal"], scores["test_anomalous"])
        print(f"AUROC {name} {found:.3f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.monotonic() - begun:.1f} s without starting Python, at most {memory:.0f} MiB")


if __name__ == "__main__":
    main()
