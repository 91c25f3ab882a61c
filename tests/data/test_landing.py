"""A file that goes to the disk while it is written."""

import errno
import os

import pytest

from eyas.data.landing import landing


def test_the_file_holds_what_was_written_and_went_to_the_disk_on_the_way(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr("eyas.data.landing.STEP", 1000)
    monkeypatch.setattr(os, "fsync", lambda number: sent.append(os.fstat(number).st_size))
    with landing(tmp_path / "a") as file:
        for _ in range(50):
            file.write(bytes(100_000))
            if file.sending:
                file.sending.result()
        on_the_way = len(sent)
    assert on_the_way > 10
    assert len(sent) == on_the_way + 1
    assert sent[-1] == file.written == (tmp_path / "a").stat().st_size == 5_000_000


@pytest.mark.parametrize("writes", [2, 20])
def test_an_error_that_the_disk_told_on_the_way_is_not_lost(tmp_path, monkeypatch, writes):
    """The system tells it once; the last fsync, behind it, succeeds."""
    asked = []

    def fsync(_number):
        asked.append(1)
        if len(asked) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("eyas.data.landing.STEP", 1000)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"), landing(tmp_path / "a") as file:
        for _ in range(writes):
            file.write(bytes(600))
    assert not (tmp_path / "a").exists()


def test_nothing_is_left_of_a_file_that_was_given_up(tmp_path):
    with pytest.raises(KeyboardInterrupt), landing(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
