"""Architecture parameters on disk: safetensors under the genes' names."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from ofa.supernet.files import write_atomic
from ofa.supernet.genome import Genome
from ofa.supernet.relaxation.architecture import Architecture


def save_architecture(architecture: Architecture, path: Path) -> None:
    """The parameters, which options are open, and the relaxation; atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in architecture.state_dict().items()}
    kept = json.dumps({"relaxation": architecture.relaxation, "seed": architecture.seed})
    write_atomic(path, safetensors.torch.save(tensors, metadata={"architecture": kept}))


def load_architecture(path: Path, space: Genome) -> Architecture:
    """What ``save_architecture`` wrote, of a network of ``space``.

    Raises ``ValueError`` naming the file when it is damaged, or the gene when it is of another space.
    """
    try:
        tensors = safetensors.torch.load(path.read_bytes())
        with safe_open(path, "pt") as file:
            kept = json.loads(file.metadata()["architecture"])
        architecture = Architecture(space.genes, relaxation=kept["relaxation"], seed=kept["seed"])
    except (SafetensorError, TypeError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is damaged: these are no architecture parameters ({error})") from error
    theirs, ours = (
        {name: tuple(tensor.shape) for name, tensor in state.items()} for state in (tensors, architecture.state_dict())
    )
    for name in (*ours, *theirs):
        if theirs.get(name) != ours.get(name):
            raise ValueError(
                f"{path} is of another space: {name} has the shape {theirs.get(name, 'none')} there and "
                f"{ours.get(name, 'none')} here; learn them for this space"
            )
    architecture.load_state_dict(tensors)
    return architecture
