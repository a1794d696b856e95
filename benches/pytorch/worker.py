"""Serves measurements of PyTorch: the counterpart of `benches/yardstick`, with the same requests.

    python worker.py FOLDER DEVICE

FOLDER holds the exported weights. One request per line on standard input, one line of JSON each on
standard output: a measurement by name, `asked NAME` (what it asks of a machine), `limits` (what this
one can do), `agree`, `about` and `peak`.
"""

import json
import os
import resource
import sys
import time

import torch
from models import (
    NETWORKS,
    POSITION_FLOW,
    AutoEncoder,
    RealNvp,
    Training,
    as_batch,
    load,
    mean_distance,
)
from roofline import asked, limits
from safetensors.torch import load_file

ROUND_SECONDS = 1.0
WARM_UP = 3
EPOCH_IMAGES = 54_432
EPOCH_BATCH = 64
EPOCH_POSITIONS = 100_000
POSITION_BATCH = 1024
POSITION_NOISE = 0.1
# Not PyTorch's operations.
UNCOUNTED = ("gmm", "components")
# Nats by which our mixture may be worse than scikit-learn's, on average over the vectors.
NLL_MARGIN = 0.1


class Worker:
    """Measures on one device with the weights of one folder."""

    def __init__(self, folder, device):
        self.folder = folder
        self.device = torch.device(device)
        self.name = None
        self.work = None

    def answer(self, request):
        if request == "about":
            cuda = self.device.type == "cuda"
            device = torch.cuda.get_device_name(self.device) if cuda else self.device.type
            return {
                "version": torch.__version__,
                "threads": torch.get_num_threads(),
                "device": device,
            }
        if request == "peak":
            # Linux counts in KiB, macOS in bytes.
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return {"name": request, "bytes": peak * unit}
        if request == "agree":
            return {"name": request, "differences": self.differences()}
        if request == "limits":
            return {"name": request, **limits(self.device)}
        if request.startswith("asked "):
            name = request.removeprefix("asked ")
            self.prepare(name)
            return {"name": request, **({} if name in UNCOUNTED else asked(self.work))}
        self.prepare(request)
        return {"name": request, "seconds": self.round()}

    def prepare(self, name):
        """Makes `name` what is measured, if it is not yet."""
        if name == self.name:
            return
        # What was measured before takes no memory.
        self.name = self.work = None
        self.work, warm_up = self.named(name)
        self.name = name
        for _ in range(warm_up):
            self.work()

    def round(self):
        """Repeats the measurement for a second, at least once."""
        started = time.perf_counter()
        seconds = []
        while not seconds or time.perf_counter() - started < ROUND_SECONDS:
            begin = time.perf_counter()
            self.work()
            seconds.append(time.perf_counter() - begin)
        return seconds

    def sync(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    # Measurements

    def named(self, name):
        """The work of a measurement and how often it is done before the first that counts."""
        if name == "knn":
            return self.knn(), 1
        if name == "gmm":
            return self.gmm(), 0
        if name == "components":
            return self.components(), 0
        if name == "epoch":
            return self.image_epoch(), 0
        if name == "position-epoch":
            return self.position_epoch(), 0
        network, work, batch = name.rsplit("-", 2)
        model = load(network, self.folder, self.device)
        batch = self.batch(network, int(batch))
        if work == "step":
            return self.steps(Training(model), batch), WARM_UP
        return self.inference(getattr(model, work), batch), WARM_UP

    def batch(self, network, count):
        if network == "flow":
            return torch.randn(count, 100, device=self.device)
        if network.startswith("positions"):
            return self.images(3, count, side=256)
        channels = 3 if network.endswith("colour") or network.startswith("squeezenet") else 1
        return as_batch(self.images(channels, count))

    def images(self, channels, count, side=32):
        shape = (count, channels, side, side)
        return torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)

    def steps(self, training, batch):
        def work():
            training.step(batch)
            self.sync()

        return work

    def inference(self, method, batch):
        @torch.inference_mode()
        def work():
            method(batch).cpu()

        return work

    def knn(self):
        bank = torch.randn(50_000, 64, device=self.device)
        queries = torch.randn(10_000, 64, device=self.device)
        norms = bank.square().sum(1)

        @torch.inference_mode()
        def work():
            mean_distance(queries, bank, norms).cpu()

        return work

    def gmm(self):
        """Around 100 centres, 50,000 vectors; on the processor."""
        centres = torch.randn(100, 32).repeat(500, 1)
        rows = (centres + 0.5 * torch.randn(50_000, 32)).numpy()
        return lambda: mixture().fit(rows)

    def components(self):
        scales = torch.arange(1, 897).rsqrt()
        rows = reflected(torch.randn(50_000, 896) * scales).numpy()
        return lambda: principal_components(512).fit(rows)

    def image_epoch(self):
        """Bytes on the device to floats."""
        images = self.images(1, EPOCH_IMAGES)
        training = Training(AutoEncoder(1, width=16, latent=32).to(self.device))
        return self.epoch(training, images, EPOCH_BATCH, as_batch)

    def position_epoch(self):
        """With fresh noise on all but the contexts."""
        dim = POSITION_FLOW["dim"]
        columns = dim + POSITION_FLOW["context"]
        rows = torch.randn(EPOCH_POSITIONS, columns, device=self.device)

        def noisy(batch):
            batch[:, :dim] += POSITION_NOISE * torch.randn(len(batch), dim, device=self.device)
            return batch

        training = Training(RealNvp(**POSITION_FLOW).to(self.device))
        return self.epoch(training, rows, POSITION_BATCH, noisy)

    def epoch(self, training, samples, size, prepare):
        """One pass: a new order, a step for each full batch."""

        def work():
            order = torch.randperm(len(samples), device=self.device)
            for indices in order.split(size):
                if len(indices) == size:
                    training.step(prepare(samples[indices]))
            self.sync()

        return work

    # Agreement

    def differences(self):
        """The largest difference of each output to ours, relative where ours is above 1."""
        found = {}
        for network in NETWORKS:
            ours = self.arrays(network)
            with torch.inference_mode():
                outputs = load(network, self.folder, self.device).outputs(ours["input"])
            if "monitors" in ours:
                training = Training(load(network, self.folder, self.device))
                steps = [training.step(ours["input"]) for _ in ours["monitors"]]
                outputs["monitors"] = torch.tensor(steps, device=self.device)
            for name, output in outputs.items():
                found[f"{network} {name}"] = difference(output, ours[name])
        ours = self.arrays("knn")
        norms = ours["bank"].square().sum(1)
        distances = mean_distance(ours["queries"], ours["bank"], norms)
        found["knn distances"] = difference(distances, ours["distances"])
        ours = self.arrays("components")
        rows = ours["rows"].cpu().double().numpy()
        variances = torch.tensor(principal_components(64).fit(rows).explained_variance_)
        # scikit-learn's variances are those of a sample, ours those of the rows.
        variances = variances * (len(rows) - 1) / len(rows)
        found["components variances"] = difference(variances, ours["variances"].cpu())
        ours = self.arrays("gmm")
        rows = ours["rows"].cpu().numpy()
        nll = -mixture().fit(rows).score(rows)
        # Other starts end in other optima: ours may not be worse by much.
        found["gmm nll beyond the margin"] = max(0.0, ours["nll"].item() - nll - NLL_MARGIN)
        return found

    def arrays(self, name):
        return load_file(f"{self.folder}/{name}.arrays.safetensors", device=str(self.device))


def mixture():
    """What `gmm` fits, by scikit-learn, which starts from k-means as well."""
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(n_components=100, reg_covar=1e-6, tol=1e-3, max_iter=100, random_state=0)


def principal_components(count):
    from sklearn.decomposition import PCA

    return PCA(count, whiten=True, svd_solver="covariance_eigh")


def reflected(rows):
    """Rows in other directions, with the same variances."""
    direction = torch.randn(rows.shape[1])
    along = 2 * rows @ direction / direction.square().sum()
    return rows - along[:, None] * direction


def difference(output, expected):
    if output.shape != expected.shape:
        raise ValueError(f"shape {tuple(output.shape)} is not {tuple(expected.shape)}")
    return ((output - expected).abs() / expected.abs().clamp(min=1)).max().item()


def main():
    torch.manual_seed(0)
    cores = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
    torch.set_num_threads(len(cores))
    # Both sides in full single precision.
    torch.backends.cudnn.allow_tf32 = False
    worker = Worker(*sys.argv[1:3])
    for line in sys.stdin:
        try:
            answer = worker.answer(line.strip())
        except Exception as error:  # the driver shows it and stops
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
