"""Training as the program does it, by the settings of a finished run."""

import math

import torch


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
