"""Where training computes."""

from typing import Literal

import torch

from journeyman.errors import InvalidInput


def choose_device(asked: Literal["auto", "cpu", "cuda"], processes: int = 1, rank: int = 0) -> torch.device:
    """The device that was asked for; `auto` takes the graphics processor where there is one for each of the processes.

    Several processes take one each, by their `rank`. InvalidInput when graphics processors are asked for that are not
    there or cannot be used.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        asked = "cuda" if there >= processes else "cpu"
    if asked == "cpu":
        return torch.device("cpu")
    if not there:
        built = torch.version.cuda is not None
        why = "no graphics processor was found" if built else "this PyTorch was built for processors only"
        raise InvalidInput(f"--device cuda: {why}. Nothing was started; leave the option out to compute on the CPU")
    if there < processes:
        raise InvalidInput(
            f"--processes {processes}: each takes a graphics processor, and {there} were found. Nothing was started; "
            f"ask for --processes {there}, or leave out --device"
        )
    return torch.device("cuda", rank) if processes > 1 else torch.device("cuda")
