"""Loads a detector and an image and prints the image's scores: what `encoder-flow score` is timed
against.

    python score.py FOLDER IMAGE

FOLDER holds the exported weights, IMAGE the bytes of 32x32 grey pixels.
"""

import json
import sys

import numpy
import torch
from models import as_batch, load


def main():
    folder, image = sys.argv[1:3]
    pixels = numpy.fromfile(image, dtype=numpy.uint8).reshape(1, 1, 32, 32)
    batch = as_batch(torch.from_numpy(pixels))
    encoder, flow = load("autoencoder-grey", folder), load("flow", folder)
    with torch.inference_mode():
        outputs = encoder.outputs(batch)
        nll = -flow.log_prob(outputs["latents"])
        reconstruction = (outputs["reconstructions"] - batch).abs().mean()
    print(json.dumps({"nll": nll.item(), "reconstruction": reconstruction.item()}))


if __name__ == "__main__":
    main()
