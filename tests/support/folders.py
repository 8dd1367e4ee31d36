"""Folders of empty images, archives and CSV files, and the image table that is read from them."""

import io
import tarfile
import zipfile

import pytest

from kit.config.reader import read_competition
from kit.core.errors import InputError
from kit.core.files import Workspace
from kit.data.table import read_table

CSV_LABELED = 'labeled = { csv = "train.csv", images = "images" }'


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def zip_files(archive, names):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for name in names:
            opened.writestr(name, b"")


def tar_files(archive, names, mode="w"):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as opened:
        for name in names:
            opened.addfile(tarfile.TarInfo(name), io.BytesIO(b""))


def competition_of(tmp_path, *data, slug=None):
    facts = '[competition]\ntitle = "t"\n' + (f'slug = "{slug}"\n' if slug else "")
    text = facts + '[data]\nroot = "data"\n' + "\n".join(data) + "\n"
    write(tmp_path / "comp" / "competition.toml", text)
    return read_competition(str(tmp_path / "comp"), Workspace(tmp_path))


def read(tmp_path, *data):
    return read_table(competition_of(tmp_path, *data))


def refusal(tmp_path, *data):
    with pytest.raises(InputError) as refused:
        read(tmp_path, *data)
    return str(refused.value)


def of(table, split):
    return table[table["split"] == split]


def shown(capsys):
    return " ".join(capsys.readouterr().err.split())


def of_several(tmp_path, text, *data, listing=CSV_LABELED):
    """Return a competition of several labels whose train.csv is `text`."""
    root = tmp_path / "data"
    touch(root, *(f"images/{name}.jpg" for name in "abcd"))
    write(root / "train.csv", text)
    made = competition_of(tmp_path, listing, *data)
    return made.model_copy(update={"facts": made.facts.model_copy(update={"task": "multilabel"})})
