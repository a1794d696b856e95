"""Training as the program does it, by the settings of a finished run."""

import argparse
import json
import math
from pathlib import Path

import torch


def finished_run(description):
    """The command line: a run's folder, what it depends on and its split, the data, and a generator."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    identity, split = (
        json.loads((arguments.run / f"{name}.json").read_text()) for name in ("identity", "split")
    )
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    return arguments, identity, split, generator


def passes(model, draw, count, settings, generator):
    """Trains on `draw(indices)` of `count` samples, and yields after every pass."""
    size = settings["batch_size"]
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings["learning_rate"],
        betas=(settings["beta_1"], 0.999),
        weight_decay=settings["weight_decay"],
    )
    steps = settings["epochs"] * math.ceil(count / size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(settings["epochs"]):
        model.train()
        for batch in torch.randperm(count, generator=generator).split(size):
            optimiser.zero_grad()
            model.backward(draw(batch))
            if settings["clip_norm"] > 0:
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
            optimiser.step()
            if settings["schedule"] == "cosine":
                schedule.step()
        model.eval()
        yield
