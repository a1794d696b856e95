"""Fit and score a folder in MVTec AD's layout with encoder-flow and with anomalib, one after the other.

    python3 -m venv venv && venv/bin/pip install anomalib==2.7.0
    cargo build --release
    venv/bin/python benches/anomalib/compare.py FOLDER --program target/release/encoder-flow

Prints a table: seconds of the fit, images per second when scoring, milliseconds of one image (ours from
the start of the program, anomalib's with the image and the model loaded), peak memory of the whole
process, size of the model file, image AUROC.
Each program runs in a process of its own, with nothing else beside it.

anomalib's PaDiM and PatchCore have a ResNet-18 and images of 256x256 pixels. `--random-weights` leaves
the pretrained ones out, where the network cannot be reached: times and sizes are the same, the AUROC
is then that of a random network, and is not shown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS = os.cpu_count()


def ours(program: str, folder: Path, method: str) -> dict:
    """encoder-flow by its command line."""
    with tempfile.TemporaryDirectory() as place:
        model = Path(place) / "model.safetensors"
        command = [program, "fit", str(folder), "--out", str(model), "--plain", "--offline", "--method", method]
        started = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        fit = time.perf_counter() - started
        fit_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        auroc = next(line for line in said.splitlines() if "image AUROC" in line)
        command = [program, "score", str(model), str(folder / "test"), "--timings", "--format", "csv"]
        timings = subprocess.run(command, capture_output=True, text=True)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        one = one_image(program, model, folder / "test")
        return {
            "fit_s": fit,
            "fit_mib": fit_memory,
            "mib": memory,
            "model_mb": model.stat().st_size / 1e6,
            "said": [auroc.strip()] + [line for line in timings.stderr.splitlines() if "images" in line] + [one],
        }


def one_image(program: str, model: Path, folder: Path) -> str:
    """How long one image takes, from the command to its end."""
    image = next(file for file in sorted(folder.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp"))
    command = [program, "score", str(model), str(image), "--format", "csv"]
    times = []
    for _ in range(20):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return f"{1000 * sorted(times)[10]:.0f} ms for one, from the start of the program"


def theirs(name: str, folder: Path, pretrained: bool) -> dict:
    """anomalib, in this process."""
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine
    from anomalib.models import Padim, Patchcore
    from torchvision.transforms.v2 import Resize

    torch.set_num_threads(THREADS)
    defects = [part.name for part in (folder / "test").iterdir() if part.name != "good"]
    data = Folder(
        name="folder",
        root=folder,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{defect}" for defect in defects],
        train_batch_size=16,
        eval_batch_size=16,
        num_workers=0,
        augmentations=Resize((256, 256)),
        val_split_mode="same_as_test",
    )
    kind = {"padim": Padim, "patchcore": Patchcore}[name]
    model = kind(
        backbone="resnet18",
        layers=["layer1", "layer2", "layer3"] if name == "padim" else ["layer2", "layer3"],
        pre_trained=pretrained,
        evaluator=False,
        visualizer=False,
    )
    with tempfile.TemporaryDirectory() as place:
        engine = Engine(default_root_dir=place, accelerator="cpu", devices=1, logger=False)
        started = time.perf_counter()
        engine.fit(model, datamodule=data)
        fit = time.perf_counter() - started
        fit_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        path = Path(place) / "model.pt"
        torch.save(model.model.state_dict(), path)
        size = path.stat().st_size / 1e6
        network = model.model.eval()
        scores, labels, seconds, count = [], [], 0.0, 0
        with torch.inference_mode():
            for batch in data.test_dataloader():
                started = time.perf_counter()
                images = torch.nn.functional.interpolate(batch.image, (256, 256), mode="bilinear", antialias=True)
                images = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
                    [0.229, 0.224, 0.225]
                ).view(3, 1, 1)
                found = network(images)
                seconds += time.perf_counter() - started
                scores.append(found.pred_score.flatten())
                labels.append(batch.gt_label.flatten())
                count += len(images)
            one = images[:1]
            times = []
            for _ in range(20):
                started = time.perf_counter()
                network(one)
                times.append(time.perf_counter() - started)
    scores, labels = torch.cat(scores), torch.cat(labels).bool()
    wins = (scores[labels][:, None] > scores[~labels][None]).float().mean().item()
    return {
        "fit_s": fit,
        "fit_mib": fit_memory,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "model_mb": size,
        "said": [f"image AUROC {wins:.3f}" if pretrained else "random weights: no AUROC"]
        + [f"{count / seconds:.1f} images/s in batches of 16, {1000 * sorted(times)[10]:.0f} ms for one"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--program", default="encoder-flow")
    parser.add_argument("--methods", default="encoder-flow,patchcore")
    parser.add_argument("--random-weights", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        kind, name = args.only.split(":")
        found = (
            ours(args.program, args.folder, name)
            if kind == "ours"
            else theirs(name, args.folder, not args.random_weights)
        )
        print("RESULT " + json.dumps(found))
        return
    rows = [f"ours:{name}" for name in args.methods.split(",")] + ["theirs:padim", "theirs:patchcore"]
    print("| | fit, s | MiB, fit | MiB | model, MB | |\n|---|---:|---:|---:|---:|---|", flush=True)
    for row in rows:
        # A process of its own: its peak memory is its own.
        command = [sys.executable, __file__, *sys.argv[1:], "--only", row]
        output = subprocess.run(command, capture_output=True, text=True)
        line = next((line for line in output.stdout.splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            print(f"| {row} | failed: {(output.stderr.strip().splitlines() or ['?'])[-1]} |", flush=True)
            continue
        found = json.loads(line.removeprefix("RESULT "))
        said = "; ".join(found["said"])
        print(
            f"| {row} | {found['fit_s']:.1f} | {found['fit_mib']:.0f} | {found['mib']:.0f} "
            f"| {found['model_mb']:.1f} | {said} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
