"""An adapter that an engine would take although it does not fit is found from its files."""

import json
import struct
from math import prod

import pytest

from journeyman.engines.fit import WEIGHTS, check_fit
from journeyman.errors import InvalidInput
from tests.tiny import write_lora, write_model

LORA = {"A": (2, 3), "B": (4, 2)}
BASE = {"layer.weight": (4, 3)}


def write_tensors(path, shapes, kind="F32", value=b"\0\0\x80\x3f"):
    """A safetensors file whose numbers are all `value`."""
    header, data = {}, b""
    for key, shape in shapes.items():
        added = value * prod(shape)
        header[key] = {"dtype": kind, "shape": list(shape), "data_offsets": [len(data), len(data) + len(added)]}
        data += added
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


@pytest.fixture
def fits(tmp_path):
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
    write_tensors(tmp_path / "base" / "model.safetensors", BASE)

    def checked(shapes, **options):
        named = {f"base_model.model.layer.lora_{key}.weight" if key in LORA else key: s for key, s in shapes.items()}
        write_tensors(tmp_path / "adapter" / WEIGHTS, named, **options)
        check_fit("a", tmp_path / "adapter", tmp_path / "base")
        return tmp_path / "adapter" / WEIGHTS

    return checked


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("F32", struct.pack("<f", 3.4e38)),
        ("F32", struct.pack("<f", -1e-40)),
        ("F16", struct.pack("<e", -65504)),
        ("BF16", b"\x7f\x7f"),
    ],
)
def test_numbers_of_every_size_fit(fits, kind, value):
    fits(LORA, kind=kind, value=value)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_number_is_refused(fits, kind, number):
    number = float(number)
    value = {"F32": struct.pack("<f", number), "F16": struct.pack("<e", number), "BF16": struct.pack("<f", number)[2:]}
    with pytest.raises(InvalidInput, match="not finite"):
        fits(LORA, kind=kind, value=value[kind])


@pytest.mark.parametrize(
    "shapes",
    [
        {"A": (2, 2), "B": (4, 2)},
        {"A": (2, 3), "B": (3, 2)},
        {"base_model.model.unknown.lora_A.weight": (2, 3)},
    ],
)
def test_another_models_matrices_are_refused(fits, shapes):
    with pytest.raises(InvalidInput, match="does not fit this base model"):
        fits(shapes)


@pytest.mark.parametrize("key", ["layer.weight", "layer.lora_magnitude_vector.weight"])
def test_weights_that_are_no_lora_are_refused(fits, key):
    with pytest.raises(InvalidInput, match="not LoRA matrices"):
        fits(LORA | {f"base_model.model.{key}": (4, 3)})


def test_broken_files_are_refused(fits, tmp_path):
    path = fits(LORA)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:20], b"", b"PK\x03\x04" + bytes(60), whole + b"x", b"\xff" * 64):
        path.write_bytes(broken)
        with pytest.raises(InvalidInput, match="truncated"):
            check_fit("a", tmp_path / "adapter", tmp_path / "base")
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(InvalidInput, match="pickled weights are not read"):
        check_fit("a", tmp_path / "adapter", tmp_path / "base")


def test_what_peft_writes_for_this_model_fits_and_for_another_one_does_not(tmp_path, tiny, loras):
    other = write_model(tmp_path / "other", hidden_size=32, intermediate_size=48, head_dim=8)
    for name, folder in loras.items():
        check_fit(name, folder, tiny)
    with pytest.raises(InvalidInput, match="does not fit"):
        check_fit("foreign", write_lora(tmp_path / "foreign", other, 1), tiny)
