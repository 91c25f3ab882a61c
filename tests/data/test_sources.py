"""Wherever an image is kept, its bytes come out whole, in any order and from any number of threads, or the reason why not."""

import gzip
import io
import os
import struct
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.data import cells, idx
from eyas.data.decode import decode
from eyas.data.sources import Refusal, member, opened
from tests.images import encoded, image, picture, put

PNGS = [encoded(image(seed, 8, 8), "PNG") for seed in range(300)]


def content(source):
    with opened(source) as file:
        return file.read()


def parquet(folder, column, rows_a_group=100, name="images.parquet"):
    pq.write_table(pa.table({"image": column}), folder / name, row_group_size=rows_a_group)
    return [cells.source(cells.PARQUET, str(folder / name), row, "image") for row in range(len(column))]


def arrow(folder, column, name="images.arrow"):
    table = pa.table({"image": column})
    with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)
    return [cells.source(cells.ARROW, str(folder / name), row, "image") for row in range(len(column))]


def tar(folder, contents, name="shard.tar"):
    with tarfile.open(folder / name, "w") as file:
        for number, data in enumerate(contents):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    with tarfile.open(folder / name) as file:
        return [member(str(folder / name), each.offset_data, each.size) for each in file]


def files(folder, contents):
    return [str(put(folder / f"{number}.png", data)) for number, data in enumerate(contents)]


KINDS = {"parquet": parquet, "arrow": arrow, "tar": tar, "files": files}


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_and_many_threads_give_the_same_bytes(tmp_path, kind):
    sources = KINDS[kind](tmp_path, PNGS)
    order = np.random.default_rng(0).permutation(len(PNGS)).tolist()
    assert [content(sources[row]) for row in order[:40]] == [PNGS[row] for row in order[:40]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(content, sources)) == PNGS


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_may_hold_what_separates_the_parts_of_a_source(tmp_path, kind):
    folder = tmp_path / "a#b" / "50% + 1" / "собака"
    folder.mkdir(parents=True)
    assert content(KINDS[kind](folder, PNGS[:3])[2]) == PNGS[2]


def test_a_column_may_have_any_name(tmp_path):
    pq.write_table(pa.table({"my/image #1": PNGS[:2]}), tmp_path / "x.parquet")
    assert content(cells.source(cells.PARQUET, str(tmp_path / "x.parquet"), 1, "my/image #1")) == PNGS[1]


def test_a_file_written_anew_is_read_anew(tmp_path):
    for kind in (parquet, arrow):
        first = kind(tmp_path, PNGS[:2])[0]
        assert content(first) == PNGS[0]
        kind(tmp_path, PNGS[2:7])
        assert content(first) == PNGS[2]


def test_few_files_stay_open(tmp_path):
    sources = [parquet(tmp_path, PNGS[:2], name=f"{number}.parquet")[1] for number in range(40)]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, and the listing itself holds one
    assert [content(source) for source in sources] == [PNGS[1]] * 40
    assert len(os.listdir("/proc/self/fd")) - before <= 10  # noqa: PTH208


def test_a_row_far_back_in_a_large_group_is_found_again(tmp_path):
    sources = parquet(tmp_path, PNGS, rows_a_group=300)
    assert [content(sources[row]) for row in (299, 0, 150, 149, 1)] == [PNGS[row] for row in (299, 0, 150, 149, 1)]


def test_a_struct_without_bytes_names_a_file_beside_it(tmp_path):
    put(tmp_path / "deep" / "a.png", PNGS[0])
    column = [{"bytes": None, "path": "deep/a.png"}, {"bytes": PNGS[1], "path": "gone.png"}, {"bytes": None, "path": None}]
    sources = parquet(tmp_path, column)
    assert [content(source) for source in sources[:2]] == PNGS[:2]
    with pytest.raises(Refusal, match=r"^damaged: row 2 of images\.parquet has no bytes"):
        content(sources[2])


def test_rows_of_an_idx_file_decode_to_their_pixels(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 9), np.uint8)
    path = put(tmp_path / "images.gz", gzip.compress(struct.pack(">HBB3I", 0, 8, 3, *array.shape) + array.tobytes()))
    for row in range(5):
        np.testing.assert_array_equal(decode(idx.source(str(path), row))[..., 0], array[row])


def test_every_kind_decodes(tmp_path):
    for kind in KINDS.values():
        np.testing.assert_array_equal(decode(kind(tmp_path, PNGS[:3])[2]), picture(2, 8, 8))


def test_what_is_not_there_or_damaged_is_refused_in_plain_words(tmp_path):
    parquets, arrows, tars = parquet(tmp_path, PNGS[:3]), arrow(tmp_path, PNGS[:3]), tar(tmp_path, [*PNGS[:2], b""])
    shard = (tmp_path / "shard.tar").read_bytes()
    offset = int(tars[1].rpartition("#")[2].partition("+")[0])
    put(tmp_path / "short.tar", shard[: offset + 10])
    put(tmp_path / "no.parquet", b"PAR1 no table")
    expected = {
        parquets[0].replace("images", "gone"): "no such file",
        parquets[0].replace("images", "no"): "damaged: row 0 of no.parquet",
        parquets[2].replace("#2", "#3"): "damaged: the file has no row 3",
        parquets[0].removesuffix("image") + "picture": "damaged: row 0 of images.parquet",
        arrows[2].replace("#2", "#3"): "damaged: the file has no row 3",
        arrows[0].removesuffix("image") + "picture": "damaged: row 0 of images.arrow",
        tars[2]: "empty file",
        tars[1].replace("shard", "short"): "truncated: the shard ends",
        tars[1].replace("shard", "gone"): "no such file",
        f"{tmp_path}/zero\0byte": "damaged",
        "memory://nowhere/x.png": "no such file",
        "nosuchprotocol://x/y.png": "cannot be read",
    }
    for source, reason in expected.items():
        with pytest.raises(Refusal, match=f"^{reason}"):
            content(source)


def test_a_fork_does_not_wait_for_a_thread_of_its_parent(tmp_path):
    source = parquet(tmp_path, PNGS[:2])[1]
    assert content(source) == PNGS[1]
    held, done = threading.Event(), threading.Event()

    def hold():
        with cells._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if content(source) == PNGS[1] else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        thread.join()
