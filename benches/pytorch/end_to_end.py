"""A whole experiment of `encoder-flow` in PyTorch: from the files of a data set to the AUROC.

    encoder-flow experiment mnist-3 --plain
    python benches/pytorch/end_to_end.py artifacts/mnist-3/encoder-flow/seed-0 --data DATA

RUN is a run of `encoder-flow` with a standard normal base: on MNIST with an autoencoder, or on CIFAR-10
with SqueezeNet (`experiment cifar10-squeezenet-0`). DATA holds `mnist`, or `cifar-10-batches-bin`, `svhn`
and `backbones`. Settings come from the run's `identity.json`, the images from its `split.json`. Weights
that are trained, and order, are PyTorch's own. Prints the AUROCs, and the seconds and memory of this
process, to be compared with those that the program prints of itself. There is no report here, and no
interval.
"""

import copy
import gzip
import resource
import time

import models
import numpy
import torch
from safetensors.torch import load_file
from torch.nn import functional
from training import finished_run, passes

BATCH = 256
# As many images as the program shows the pretrained network at a time.
FEATURE_BATCH = 64
PARTS = ("validation", "test_normal", "test_anomalous")
# The places, among torchvision's `features`, of the modules of each stage of `models.SqueezeNet`.
STAGES = {"stem": [0], "first": [3, 4], "second": [6, 7], "third": [9, 10, 11, 12]}


def as_batch(pixels):
    """Bytes to floats in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def read_mnist(folder):
    """All images, 32x32."""
    found = []
    for name in ("train", "t10k"):
        with gzip.open(folder / f"mnist/{name}-images-idx3-ubyte.gz") as file:
            found.append(numpy.frombuffer(file.read(), numpy.uint8, offset=16))
    pixels = torch.from_numpy(numpy.concatenate(found)).reshape(-1, 1, 28, 28)
    return functional.pad(pixels, (2, 2, 2, 2))


def read_cifar10(folder):
    """All images, those of the test set last."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    rows = [numpy.fromfile(folder / "cifar-10-batches-bin" / name, numpy.uint8) for name in names]
    rows = torch.from_numpy(numpy.concatenate(rows)).reshape(-1, 1 + 3 * 1024)
    return rows[:, 1:].reshape(-1, 3, 32, 32)


def read_svhn(folder):
    """The images of the first file that there is."""
    from scipy.io import loadmat

    [file, *_] = sorted((folder / "svhn").glob("test*.mat"))
    return torch.from_numpy(loadmat(file)["X"]).permute(3, 2, 0, 1).contiguous()


def fit(model, draw, count, valid, loss, settings, generator):
    """The model of the pass with the lowest loss on `valid`; ends when it has not fallen for long."""
    best, lowest, since = None, float("inf"), 0
    for _ in passes(model, draw, count, settings, generator):
        value = mean(loss, valid)
        since += 1
        if value < lowest:
            best, lowest, since = copy.deepcopy(model.state_dict()), value, 0
        if 0 < settings["patience"] <= since:
            break
    model.load_state_dict(best)
    return lowest


@torch.inference_mode()
def of_all(function, samples, size=BATCH):
    return torch.cat([function(batch) for batch in samples.split(size)])


def mean(function, samples):
    return of_all(function, samples).mean().item()


def auroc(normal, anomalous):
    """The probability that an anomalous score is the higher; half of ties."""
    scores = torch.cat([normal, anomalous]).double()
    _, places, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[places]
    above = ranks[len(normal) :].sum() - len(anomalous) * (len(anomalous) + 1) / 2
    return (above / (len(normal) * len(anomalous))).item()


def autoencoder(images, settings, generator):
    """Trained on the images of the first part: what encodes, and the reconstruction error."""
    model = models.AutoEncoder(images["train"].shape[1], settings["width"], settings["latent"])
    for name, weights in model.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(weights, 1.0 if "norm" in name else 0.0, 0.02)

    def reconstruction(batch):
        batch = as_batch(batch)
        return (model.outputs(batch)["reconstructions"] - batch).abs().mean((1, 2, 3))

    train = images["train"]

    def draw(batch):
        return as_batch(train[batch])

    own = settings["training"]
    lowest = fit(model, draw, len(train), images["validation"], reconstruction, own, generator)
    print(f"encoder  L1 of validation images {lowest:.4f}")
    return lambda batch: model.encode(as_batch(batch)), reconstruction


def squeezenet(folder, input_side):
    """What the pretrained network makes of images."""
    stored = load_file(folder / "backbones/squeezenet1_1_features.safetensors")
    names = {
        f"features.{place}.": f"{stage}." if stage == "stem" else f"{stage}.{index}."
        for stage, places in STAGES.items()
        for index, place in enumerate(places)
    }
    weights = {}
    for name, values in stored.items():
        start = next(start for start in names if name.startswith(start))
        weights[names[start] + name.removeprefix(start)] = values
    network = models.SqueezeNet(input_side)
    network.load_state_dict(weights)
    return lambda batch: network.encode(as_batch(batch))


def whitened(latents, components):
    """All parts on so many whitened principal components of the first."""
    train = latents["train"].double()
    centre = train.mean(0)
    variances, directions = torch.linalg.eigh(train.sub(centre).T @ train.sub(centre) / len(train))
    directions = directions[:, -components:] / variances[-components:].sqrt()
    centre, directions = centre.float(), directions.float()
    return {part: (found - centre) @ directions for part, found in latents.items()}


def main():
    begun = time.monotonic()
    arguments, identity, split, generator = finished_run(__doc__.split("\n")[0])
    settings, data = identity["settings"], identity["data"]["dataset"]
    own, flows = settings.get("encoder", {}), settings.get("flow", {})
    is_known = (data, own.get("kind")) in [("mnist", "autoencoder"), ("cifar10", "squeezenet")]
    is_plain = not own.get("pixel_components") and not flows.get("actnorm")
    is_plain = is_plain and flows.get("mixing") == "permutation" and not flows.get("gaussians")
    if identity["method"] != "encoder-flow" or not is_known or not is_plain:
        raise SystemExit(
            f"error: {arguments.run} is no run of encoder-flow on MNIST with an autoencoder or on "
            "CIFAR-10 with SqueezeNet's features alone, permutations and a standard normal base"
        )
    pool = {"mnist": read_mnist, "cifar10": read_cifar10}[data](arguments.data)
    images = {part: pool[split[part]] for part in ("train", *PARTS)}
    if data == "cifar10" and "svhn" in identity["data"]["ood"]:
        images["svhn"] = read_svhn(arguments.data)[: identity["data"]["limit"] or None]
    reconstruction = None
    if own["kind"] == "autoencoder":
        encode, reconstruction = autoencoder(images, own, generator)
        latents = {part: of_all(encode, found) for part, found in images.items()}
    else:
        encode = squeezenet(arguments.data, own["input"])
        latents = {part: of_all(encode, found, FEATURE_BATCH) for part, found in images.items()}
        latents = whitened(latents, own["latent"])
    print(f"latents  {time.monotonic() - begun:.1f} s")

    deviation, centre = torch.std_mean(latents["train"], 0, correction=0)
    latents = {part: (found - centre) / deviation for part, found in latents.items()}
    sizes = flows["couplings"], flows["hidden"], flows["layers"], flows["clamp"]
    train = latents["train"]
    flow = models.RealNvp(train.shape[1], *sizes)
    for layer in flow.layers:
        if isinstance(layer, models.Permutation):
            layer.order.copy_(torch.randperm(len(layer.order)))
        else:
            torch.nn.init.zeros_(layer.conditioner.last.weight)
            torch.nn.init.zeros_(layer.conditioner.last.bias)

    def nll(batch):
        return -flow.log_prob(batch)

    def draw(batch):
        rows = train[batch]
        return rows + flows["noise"] * torch.randn_like(rows) if flows["noise"] else rows

    valid = latents["validation"]
    lowest = fit(flow, draw, len(train), valid, nll, flows["training"], generator)
    print(f"flow     NLL of validation latents {lowest:.4f}, {time.monotonic() - begun:.1f} s")

    for name, score, of in (("nll", nll, latents), ("reconstruction", reconstruction, images)):
        if score is None:
            continue
        scores = {part: of_all(score, found) for part, found in of.items() if part != "train"}
        for part in scores.keys() - {"validation", "test_normal"}:
            found = auroc(scores["test_normal"], scores[part])
            print(f"AUROC {name} {part} {found:.3f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.monotonic() - begun:.1f} s without starting Python, at most {memory:.0f} MiB")


if __name__ == "__main__":
    main()
