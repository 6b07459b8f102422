"""The weights that an encoder begins with: its library's, none, or those of a file."""

from pathlib import Path

import torch

from errors import UserError
from files import check_file

ENCODER = "encoder."  # with which the names of an encoder's tensors begin in a checkpoint of this project
BACKBONE = "backbone."  # and in a file of torchvision's segmentation networks, such as those trained on COCO


class Weights:
    """text: "imagenet", "none" or a path. Raises UserError for a file that holds no state dict, and runs none of it."""

    def __init__(self, text):
        self.text = text
        self.pretrained = text == "imagenet"
        self.state = None if text in ("imagenet", "none") else _read_state(text)
        self.of_checkpoint = self.state is not None and any(key.startswith(ENCODER) for key in self.state)

    def fill(self, module, heads=()):
        """Load the file, if there is one, into a module whose tensors it names; none of those that begin with heads.

        Raises UserError naming the first tensor that does not fit.
        """
        if self.state is None:
            return
        path, state = self.text, {key: value for key, value in self.state.items() if not key.startswith(tuple(heads))}
        wanted = {key: value for key, value in module.state_dict().items() if not key.startswith(tuple(heads))}
        for key, value in wanted.items():
            if key.endswith("num_batches_tracked") and key not in state:
                continue  # files written before PyTorch 0.4.1 lack it, and nothing here reads it
            if key not in state:
                raise UserError(f"weights {path}: {key} is missing: is it of another backbone?")
            if state[key].shape != value.shape:
                raise UserError(
                    f"weights {path}: {key} has shape {list(state[key].shape)}, not {list(value.shape)}: "
                    "is it of another backbone?"
                )
        extra = next((key for key in state if key not in wanted), None)
        if extra is not None:
            raise UserError(f"weights {path}: {extra} is not a part of this backbone")
        module.load_state_dict(state, strict=False)

    def renamed(self, change):
        """These weights with each tensor's name replaced by change(name), and left out where that is None."""
        other = Weights("none")
        named = [(change(key), value) for key, value in (self.state or {}).items()]
        other.text, other.state = self.text, {key: value for key, value in named if key is not None}
        return other

    def of_encoder(self):
        """These weights with the encoder's tensors alone, named as in `net.encoder.Encoder`."""
        if not self.of_checkpoint:
            return self
        return self.renamed(lambda key: key.removeprefix(ENCODER) if key.startswith(ENCODER) else None)


def _read_state(path):
    check_file(path)
    if not Path(path).is_file():
        raise UserError(f"weights {path}: no such file (give imagenet, none, or a file)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"weights {path}: not a readable PyTorch state file ({type(error).__name__}): give imagenet, none, or a "
            "file of a state dict"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise UserError(f"weights {path}: holds no state dict of tensors")
    encoder = {key.removeprefix(BACKBONE): value for key, value in state.items() if key.startswith(BACKBONE)}
    return encoder or state
