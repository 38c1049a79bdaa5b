"""Where training computes."""

from typing import Literal

import torch

from journeyman.errors import InvalidInput


def choose_device(asked: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device that was asked for; `auto` takes the graphics processor where there is one.

    InvalidInput when a graphics processor is asked for and none can be used.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "no graphics processor was found" if built else "this PyTorch was built for processors only"
        raise InvalidInput(f"--device cuda: {why}. Nothing was started; leave the option out to compute on the CPU")
    return torch.device(asked)
