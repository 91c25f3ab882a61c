"""A file that goes to the disk while it is written."""

import errno
import os
import sys

import pytest

from eyas.data.landing import WRITE, landing, sender


def test_every_byte_is_sent_to_the_disk_on_the_way_and_is_there_at_the_end(tmp_path, monkeypatch):
    sent, settled = [], []

    def send(number, start, count, _how):
        assert os.fstat(number).st_size >= start + count
        sent.append((start, count))

    monkeypatch.setattr("eyas.data.landing.STEP", 250_000)
    monkeypatch.setattr("eyas.data.landing.sender", lambda: send)
    monkeypatch.setattr(os, "fsync", lambda number: settled.append(os.fstat(number).st_size))
    with landing(tmp_path / "a") as file:
        for _ in range(50):
            file.write(bytes(100_000))
        assert settled == []
    assert sent == [(start, 300_000) for start in range(0, 4_800_000, 300_000)]
    assert settled == [file.written] == [(tmp_path / "a").stat().st_size] == [5_000_000]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked to begin")
def test_this_system_can_be_asked_to_begin(tmp_path):
    send = sender()
    assert send
    with (tmp_path / "a").open("wb") as file:
        file.write(bytes(100_000))
        file.flush()
        assert send(file.fileno(), 0, 100_000, WRITE) == 0


def test_a_system_that_cannot_be_asked_has_all_on_the_disk_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("eyas.data.landing.STEP", 10)
    monkeypatch.setattr("eyas.data.landing.sender", lambda: None)
    with landing(tmp_path / "a") as file:
        file.write(b"everything that there is")
    assert (tmp_path / "a").read_bytes() == b"everything that there is"


def test_an_error_of_the_disk_leaves_no_file(tmp_path, monkeypatch):
    def fsync(_number):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"), landing(tmp_path / "a") as file:
        file.write(bytes(600))
    assert not (tmp_path / "a").exists()


def test_nothing_is_left_of_a_file_that_was_given_up(tmp_path):
    with pytest.raises(KeyboardInterrupt), landing(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
