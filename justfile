# Everyday commands. Every recipe is a plain cargo command: `just --show NAME` prints it.
# Another backend: `just backend=wgpu experiment mnist-3`.

# arguments reach the program as they were given: --set 'data.ood=["svhn"]' keeps its quotes
set positional-arguments

# flex or ndarray (CPU), wgpu or vulkan (GPU)
backend := "flex"

# the user's own target folder wins; else one in the cache, so that a clean clone does not rebuild Burn
export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", cache_directory() / "encoder-flow" / "target")

# PyTorch, in the cache for the same reason
pytorch := cache_directory() / "encoder-flow" / "pytorch-venv"

# a GPU's scores are compared with the CPU's, so that has to be there too
backends := if backend =~ "wgpu|vulkan" { backend + ",flex" } else { backend }

run := "cargo run --release --no-default-features --features " + backends + ",tui --"

# show the recipes
default:
    @just --list

# train, evaluate and report: `just experiment mnist-3 --seed 1 --set encoder.width=64`
experiment name *arguments:
    {{run}} experiment "$@"

# evaluate a trained run again: `just evaluate mnist-3 --confidence 0.99`
evaluate name *arguments:
    {{run}} evaluate "$@"

# methods and variants on every class: `just sweep mnist --methods encoder-flow,knn --seeds 0,1,2`
sweep study *arguments:
    {{run}} sweep "$@"

# compare methods and variants without the classes left out: `just select mnist --candidate a,b`
select study *arguments:
    {{run}} select "$@"

# a detector for a folder of normal images: `just fit good-parts --out model.safetensors`
fit folder *arguments:
    {{run}} fit "$@"

# verdicts for images: `just score model.safetensors new/ --heatmaps maps`
score model *arguments:
    {{run}} score "$@"

# what can be run, and with which settings: `just list --settings mnist-3`
list *arguments:
    {{run}} list "$@"

# data sets and pretrained weights: `just data list`, `just data fetch mnist`, `just data fetch squeezenet`, `just data verify`
data *arguments:
    {{run}} data "$@"

# everything, without network
test *arguments:
    cargo test "$@"

# formatting and clippy, warnings are errors
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# criterion benchmarks: `just bench autoencoder`
bench *arguments:
    cargo bench --bench pipeline -- "$@"

# against PyTorch on the same machine: `just bench-pytorch --only flow,knn`
bench-pytorch *arguments:
    python3 -m venv {{pytorch}}
    {{pytorch}}/bin/pip install --quiet --requirement benches/pytorch/requirements.txt
    {{pytorch}}/bin/python benches/pytorch/bench.py --features {{backend}},tui "$@"

# what CI runs
ci:
    bash .ci/run
