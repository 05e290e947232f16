"""Files are written as a whole or not at all; folders belong to one process at a time."""

import json
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from benchmarks import files
from benchmarks.errors import HarnessError
from tabdl.kaggle.files import new_file

ROOT = Path(__file__).parent.parent.parent


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "a" / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(OSError, match="full"), new_file(path) as new:
        new.write_text("half")
        raise OSError(28, "full")
    assert json.loads(path.read_text()) == {"a": 1} and list(path.parent.iterdir()) == [path]


def test_a_folder_is_the_old_one_or_the_new_one(tmp_path):
    folder = tmp_path / "0"
    for text in ("old", "new"):
        with files.new_folder(folder) as new:
            (new / "x").write_text(text)
    with pytest.raises(OSError, match="full"), files.new_folder(folder) as new:
        (new / "x").write_text("half")
        raise OSError(28, "full")
    assert (folder / "x").read_text() == "new" and list(tmp_path.iterdir()) == [folder]


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("os.fsync", lambda descriptor: seen.append((tmp_path / "x").exists()))
    files.write_text(tmp_path / "x", "text")
    assert seen == [False, True]  # the file, then the name in its folder


def test_one_command_at_a_time(tmp_path, monkeypatch, capsys):
    code = f"""
from filelock import FileLock
with FileLock({str(tmp_path / ".out.lock")!r}):
    print("in", flush=True)
    input()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == "in\n"
        refused = pytest.raises(HarnessError, match="another command writes to")
        with refused, files.locked(tmp_path / "out", wait=False):
            pass
        monkeypatch.setattr(files, "WAIT_S", 0)
        monkeypatch.setattr(files, "print", lambda *a, **k: other.communicate("\n"), raising=False)
        with files.locked(tmp_path / "out"):
            pass


def test_what_cannot_be_written_is_said_with_the_arguments(tmp_path):
    assert files.writable_file(str(tmp_path / "a" / "b.jsonl")) == tmp_path / "a" / "b.jsonl"
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "a", tmp_path / "file" / "b.jsonl"):
        with pytest.raises(ArgumentTypeError, match="is a folder|nothing can be written"):
            files.writable_file(str(wrong))
