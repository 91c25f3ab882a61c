from eyas.studies.log import Log, read_log


def test_lines_are_there_at_once(tmp_path):
    with Log(tmp_path / "log.jsonl", 0) as log:
        log.add({"step": 1, "loss": 0.1})
        assert read_log(tmp_path / "log.jsonl") == [{"step": 1, "loss": 0.1}]


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path):
    path = tmp_path / "log.jsonl"
    with Log(path, 0) as log:
        for step in range(1, 6):
            log.add({"step": step, "loss": 1 / 3})
        log.settle()
    whole = path.read_bytes()
    with Log(path, 3) as log:
        assert [line["step"] for line in read_log(path)] == [1, 2, 3]
        for step in (4, 5):
            log.add({"step": step, "loss": 1 / 3})
    assert path.read_bytes() == whole


def test_a_line_cut_short_by_a_kill_is_forgotten(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in read_log(path)] == [1, 2]
    with Log(path, 2):
        assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_without_a_file_there_are_no_lines(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []
