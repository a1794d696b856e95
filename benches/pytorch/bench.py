"""Runs our benchmarks and the same ones in PyTorch in turn, in one go: `just bench-pytorch`.

Builds the program and `benches/yardstick`, checks that both sides compute the same thing from the
same weights, then measures. Each side is a process that measures on request while the other waits.
A round asks both, in the other order than the round before; its ratio is ours to PyTorch's, each
the median of the round's repetitions. Reported are the medians over the rounds, and the smallest
and the largest ratio as the spread. Lower is better. Beside them stands how far from the machine's
limits both are: the operations of a row's products and convolutions (counted in PyTorch) by the time
of each side, as a share of what a large matrix product reaches here.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4
# Losses of three training steps: Adam divides by the root of tiny second moments, which makes the
# last bits of a gradient visible in the next weights.
TRAINING_TOLERANCE = 1e-3
# PyTorch's threads spin for a moment after their work.
PAUSE_SECONDS = 0.2
SLOW_ROUNDS = 5
# What is measured in so many rounds.
SLOW = ("gmm", "components", "epoch", "position-epoch")
# From the files of a data set to the AUROC, once on each side: minutes.
EXPERIMENTS = ("mnist-3", "cifar10-squeezenet-plane")
# The first name that a measurement starts with decides; what is not listed has no target.
TARGETS = {
    "experiment": 0.8,
    "memory": 0.25,
    "cold-start": 0.05,
    "epoch": 1.0,
    "position-epoch": 1.0,
    "autoencoder": 0.95,
    "ganomaly": 0.95,
    "flow": 0.9,
    "realnvp": 1.0,
    "glow": 1.0,
    "squeezenet": 0.9,
    "gmm": 0.5,
    "components": 1.0,
}
# What a side's process has used at most after one round of these, started anew each time.
MEMORY = ("autoencoder-grey-step", "autoencoder-colour-step", "flow-step", "ganomaly-step", "knn")
IMAGE_SIDE = 32
IMAGES_TO_FIT = 300


class Side:
    """A process that measures on request."""

    def __init__(self, command):
        self.command = command
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request):
        with suppress(BrokenPipeError):
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            fail(f"{self.command[0]} ended at the request {request!r}")
        answer = json.loads(line)
        if "error" in answer:
            fail(f"{self.command[0]}, {request!r}: {answer['error']}")
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def fail(message):
    sys.exit(f"error: {message}")


# Building


def build(features):
    """The program and the yardstick, each as its own cargo command leaves it."""
    chosen = ["--no-default-features", "--features", features]
    program = executable(["build", "--release", "--bin", "encoder-flow", *chosen])
    yardstick = executable(["bench", "--no-run", "--bench", "yardstick", *chosen])
    return program, yardstick


def executable(arguments):
    command = ["cargo", *arguments, "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        fail(" ".join(command))
    messages = map(json.loads, built.stdout.splitlines())
    return [message["executable"] for message in messages if message.get("executable")][-1]


# Agreement


def check_agreement(pytorch):
    """Ends the run where the two sides differ: a ratio would mean nothing."""
    differences = pytorch.ask("agree")["differences"]
    print(f"agreement, largest difference (at most {TOLERANCE:g}, relative where above 1; "
        f"{TRAINING_TOLERANCE:g} for monitors, after three training steps):")
    for name, value in differences.items():
        print(f"  {name:36} {value:.1e}")
    # Not a number is no agreement either.
    allowed = {
        name: TRAINING_TOLERANCE if name.endswith("monitors") else TOLERANCE
        for name in differences
    }
    wrong = [name for name, value in differences.items() if not value <= allowed[name]]
    if wrong:
        fail(f"the two sides do not compute the same thing: {', '.join(wrong)}")


# Measuring


def alternate(rounds, ours, pytorch):
    """What both functions return, in pairs, one call after the other."""
    pairs = []
    for index in range(rounds):
        taken = {}
        for work in (ours, pytorch) if index % 2 == 0 else (pytorch, ours):
            time.sleep(PAUSE_SECONDS)
            taken[work] = work()
        pairs.append((taken[ours], taken[pytorch]))
    return pairs


def row(name, unit, pairs):
    """An entry of the results."""
    ratios = [ours / pytorch for ours, pytorch in pairs]
    return {
        "name": name,
        "ours": median(ours for ours, _ in pairs),
        "pytorch": median(pytorch for _, pytorch in pairs),
        "unit": unit,
        "ratio": median(ratios),
        "spread": [min(ratios), max(ratios)],
    }


def measure_time(name, rounds, ours, pytorch):
    def milliseconds(side):
        return lambda: 1000 * median(side.ask(name)["seconds"])

    pairs = alternate(rounds, milliseconds(ours), milliseconds(pytorch))
    return row(name, "ms", pairs) | {"asked": asked_of(name, pytorch)}


def asked_of(name, pytorch):
    """Operations and bytes of one repetition; none where they are not PyTorch's."""
    answer = pytorch.ask(f"asked {name}")
    return {key: answer[key] for key in ("flops", "bytes") if key in answer}


def measure_memory(name, ours, pytorch):
    """Of processes that do nothing else; `ours` and `pytorch` are their commands."""

    def mebibytes(command):
        def work():
            with Side(command) as side:
                side.ask(name)
                return side.ask("peak")["bytes"] / 2**20

        return work

    pairs = alternate(SLOW_ROUNDS, mebibytes(ours), mebibytes(pytorch))
    return row(f"memory-{name}", "MiB", pairs)


def measure_cold_start(rounds, ours, pytorch):
    """From starting a process to its end, after the score of one image; and its memory."""
    for command in (ours, pytorch):
        run_once(command)  # the system's file cache is warm for both
    runs = alternate(rounds, lambda: run_once(ours), lambda: run_once(pytorch))
    times = [(left[0], right[0]) for left, right in runs]
    sizes = [(left[1], right[1]) for left, right in runs]
    return [row("cold-start", "ms", times), row("memory-cold-start", "MiB", sizes)]


def run_once(command):
    """Milliseconds and peak MiB of a process that prints something."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    milliseconds = 1000 * (time.perf_counter() - begin)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not printed:
        fail(" ".join(map(str, command)))
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return milliseconds, usage.ru_maxrss / unit


def measure_experiment(name, program, data, folder):
    """The paper's pipeline as a whole; ours writes its report and all files, PyTorch's neither.

    Ours comes first: PyTorch reads its split and settings.
    """
    artifacts = folder / "artifacts"
    ours = [program, "experiment", name, "--plain", "--offline", "--seed", "0"]
    ours += ["--data-dir", str(data), "--artifacts", str(artifacts)]
    run = artifacts / name / "encoder-flow/seed-0"
    pytorch = [sys.executable, str(HERE / "end_to_end.py"), str(run), "--data", str(data)]
    pairs = list(zip(run_once(ours), run_once(pytorch)))
    return [
        row(f"experiment-{name}", "ms", pairs[:1]),
        row(f"memory-experiment-{name}", "MiB", pairs[1:]),
    ]


# The model and the image of the cold start


def write_png(path, pixels):
    """Stores 8-bit grey pixels, row by row."""

    def chunk(kind, body):
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", IMAGE_SIDE, IMAGE_SIDE, 8, 0, 0, 0, 0)
    rows = [pixels[start : start + IMAGE_SIDE] for start in range(0, len(pixels), IMAGE_SIDE)]
    body = zlib.compress(b"".join(b"\0" + line for line in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def texture(random):
    """Stripes of a random offset under noise."""
    offset = random.randrange(8)
    cells = range(IMAGE_SIDE**2)
    return bytes(64 + 16 * ((cell + offset) % 8) + random.randrange(16) for cell in cells)


def prepare_cold_start(program, folder, model):
    """A model, fitted unless one is given, and an image as PNG and as bytes."""
    random = Random(0)
    image, pixels = folder / "image.png", texture(random)
    write_png(image, pixels)
    (folder / "image.bytes").write_bytes(pixels)
    if model is None:
        normal, model = folder / "normal", folder / "model"
        normal.mkdir()
        for index in range(IMAGES_TO_FIT):
            write_png(normal / f"{index}.png", texture(random))
        print("fitting a model for the cold start ...", flush=True)
        # Without the pretrained network, whose weights would have to be there.
        command = [program, "fit", str(normal), "--out", str(model), "--method", "scratch"]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
            fail(" ".join(command))
    ours = [program, "score", str(model), str(image), "--format", "jsonl"]
    script = str(HERE / "score.py")
    return ours, [sys.executable, script, str(folder), str(folder / "image.bytes")]


# The whole


def names(batches):
    """All measurements; `batches` replaces the usual batch sizes."""
    found = []
    for network in ("autoencoder-grey", "autoencoder-colour"):
        for work in ("step", "encode"):
            found += [f"{network}-{work}-{size}" for size in batches or (64,)]
    for work in ("step", "log_prob"):
        found += [f"flow-{work}-{size}" for size in batches or (256, 1024)]
    found += [f"ganomaly-step-{size}" for size in batches or (64,)]
    for network in ("realnvp-colour", "glow-colour"):
        for work in ("step", "bits_per_dim"):
            found += [f"{network}-{work}-{size}" for size in batches or (32,)]
    for network in ("squeezenet-128", "squeezenet-256"):
        found += [f"{network}-encode-{size}" for size in batches or (64,)]
    return [*found, "positions-256-score-1", "knn", *SLOW]


def target(name):
    return next((limit for start, limit in TARGETS.items() if name.startswith(start)), None)


def roofline(entry, limits):
    """How far from the limits both sides are, in words; nothing where that is not known."""
    asked = entry.get("asked")
    if not asked:
        return ""
    ours, pytorch = (
        100 * asked["flops"] / (entry[side] / 1000) / limits["flops"] for side in ("ours", "pytorch")
    )
    return (
        f"  {asked['flops'] / 1e9:9.2f} GFLOP {asked['bytes'] / 1e9:7.2f} GB"
        f"  {ours:3.0f} % and {pytorch:3.0f} % of the peak"
    )


def show(entry, limits):
    limit = target(entry["name"])
    goal = "" if limit is None else f"<= {limit:g} {'met' if entry['ratio'] <= limit else 'missed'}"
    low, high = entry["spread"]
    print(
        f"{entry['name']:34} {entry['ours']:10.2f} {entry['pytorch']:10.2f} {entry['unit']:4}"
        f" {entry['ratio']:6.3f}  [{low:.3f}, {high:.3f}]  {goal:14}{roofline(entry, limits)}",
        flush=True,
    )


def measure(options, commands, program, folder):
    """Yields an entry per measurement."""

    def wanted(name):
        return any(part in name for part in options.only)

    timed = [name for name in names(options.batches) if wanted(name)]
    rounds = {name: options.rounds for name in timed}
    rounds.update({name: min(options.rounds, SLOW_ROUNDS) for name in timed if name in SLOW})
    with Side(commands[0]) as ours, Side(commands[1]) as pytorch:
        for name, count in rounds.items():
            yield measure_time(name, count, ours, pytorch)
    if options.device != "cpu":
        return
    for name in names(options.batches):
        if name.startswith(MEMORY) and wanted(f"memory-{name}"):
            yield measure_memory(name, *commands)
    if wanted("cold-start"):
        cold = prepare_cold_start(program, folder, options.model)
        yield from measure_cold_start(options.rounds, *cold)
    for name in EXPERIMENTS if options.data else ():
        if wanted(f"memory-experiment-{name}"):
            yield from measure_experiment(name, program, options.data, folder)


def processor():
    """The name that Linux gives the processor; empty elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return ""


def sizes(text):
    return [int(size) for size in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="flex,tui", help="the crate's features")
    parser.add_argument(
        "--built",
        type=Path,
        help="folder with `encoder-flow` and `yardstick`, made elsewhere: for a machine without cargo",
    )
    parser.add_argument("--device", default="cpu", help="PyTorch's device: cpu or cuda")
    parser.add_argument("--batches", type=sizes, help="batch sizes in place of the usual ones")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=[""], help="parts of names"
    )
    parser.add_argument("--model", type=Path, help="score with this model, do not fit one")
    parser.add_argument(
        "--data",
        type=Path,
        help="whole experiments too, of this folder's data sets: mnist, cifar-10-batches-bin, svhn, backbones",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "artifacts/bench/pytorch.json")
    return parser.parse_args()


def main():
    options = parse()
    if options.built:
        program, yardstick = (str(options.built / name) for name in ("encoder-flow", "yardstick"))
    else:
        program, yardstick = build(options.features)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        worker = [sys.executable, str(HERE / "worker.py"), str(folder), options.device]
        with Side([yardstick]) as ours, Side(worker) as pytorch:
            ours.ask(f"export {folder}")
            about = pytorch.ask("about")
            print(
                f"PyTorch {about['version']} on {about['device']}, {about['threads']} threads,"
                f" {processor()}"
            )
            check_agreement(pytorch)
            limits = pytorch.ask("limits")
            print(
                f"\nthe limits of this machine: {limits['flops'] / 1e9:.0f} GFLOP/s in products of"
                f" {limits['side']}x{limits['side']}, {limits['bytes'] / 1e9:.1f} GB/s in copies"
            )
        print(f"\n{'':34} {'ours':>10} {'PyTorch':>10} {'':4} {'ratio':>6}  [spread]  target")
        entries = []
        for entry in measure(options, ([yardstick], worker), program, folder):
            show(entry, limits)
            entries.append(entry)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"processor": processor(), "pytorch": about}
    results = {"about": about, "limits": limits, "rows": entries}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{options.out}")


if __name__ == "__main__":
    main()
