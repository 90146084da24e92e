"""A subnet in a folder: ``weights.safetensors`` and ``subnet.json``, readable with timm and safetensors alone."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from torch import nn

from ofa.supernet.extract import assign_state, build_empty
from ofa.supernet.files import read_json, write_atomic, write_json
from ofa.supernet.images import tell_images, told_images
from ofa.supernet.space import Subnet


def save_subnet(model: nn.Module, subnet: Subnet, folder: Path) -> None:
    """Writes an extracted (and perhaps fine-tuned) model and which subnet it is.

    Raises ``ValueError`` when ``model`` was not made by ``Supernet.extract``.
    """
    description = getattr(model, "description", None)
    if description is None:
        raise ValueError(
            "this model was not made by Supernet.extract; save it with safetensors.torch.save_file instead"
        )
    description = {**description, "num_classes": model.num_classes}  # may have got another classifier since
    save_weights(model, Path(folder) / "weights.safetensors")
    values = {"subnet": subnet.to_dict(), "id": subnet.id, "timm": description, "timm_version": timm.__version__}
    values["images"] = told_images(model)
    write_json(Path(folder) / "subnet.json", values)


def save_weights(model: nn.Module, path: Path, *, metadata: dict[str, str] | None = None) -> None:
    """Writes a model's state dict as a .safetensors file, which holds no memory format."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    write_atomic(path, safetensors.torch.save(state, metadata=metadata))


def load_subnet(folder: Path) -> nn.Module:
    """The timm model of a folder written by ``save_subnet``, in eval mode, channels_last.

    Its ``pretrained_cfg`` tells how its images are made: ``timm.data.resolve_model_data_config(model)``.

    Raises ``FileNotFoundError``, or ``ValueError`` naming the file that is damaged.
    """
    values = read_json(Path(folder) / "subnet.json")
    try:
        description = values["timm"]
        model = build_empty(description)
        tell_images(model, values["subnet"]["resolution"], **values.get("images", {}))
    except Exception as error:  # timm asserts and raises what it likes on blocks that it does not know
        raise ValueError(f"{Path(folder) / 'subnet.json'} is damaged: timm cannot build from it ({error!r})") from error
    model.description = description
    path = Path(folder) / "weights.safetensors"
    try:
        assign_state(model, safetensors.torch.load(path.read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or not of {path.parent / 'subnet.json'}: {error}") from error
    return model.to(memory_format=torch.channels_last).eval()
