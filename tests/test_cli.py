"""The command line and the Python names, as far as no trained model is needed."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eyas
from eyas.cli import COMMANDS, main
from eyas.cli.terminal import out
from eyas.errors import UserError

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]):
    """The one line that a refused command says."""

    def refused(*words: str) -> str:
        assert main(list(words)) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (sentence,) = shown.err.splitlines()
        return sentence

    return refused


class TestOverview:
    @pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
    def test_lists_every_command(self, words, capsys):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown and command.does in shown for name, command in COMMANDS.items())

    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"eyas {eyas.__version__}\n"

    def test_a_command_that_is_not_there(self, told):
        assert told("fti") == "eyas: no command 'fti'; did you mean fit? (eyas --help lists them)"
        assert told("dance") == "eyas: no command 'dance' (eyas --help lists them)"
        assert told("--verbose") == "eyas: no command '--verbose' (eyas --help lists them)"

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_explains_itself(self, name, capsys):
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"usage: eyas {name} ")
        for python in ("<class", "type:", "null", "==SUPPRESS=="):
            assert python not in shown

    def test_help_says_what_may_be_given_several_times(self, capsys):
        with pytest.raises(SystemExit):
            main(["cost", "--help"])
        shown = capsys.readouterr().out
        assert shown.startswith("usage: eyas cost ARCH [ARCH ...] [OPTIONS]")
        assert "torchvision:vgg16" in shown

    def test_only_commands_that_give_a_table_have_csv(self, told):
        assert told("train", "photos", "--out", "run", "--csv") == "eyas train: unexpected '--csv'; see eyas train --help"

    def test_help_of_the_main_job_names_its_settings(self, capsys):
        with pytest.raises(SystemExit):
            main(["fit", "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "usage: eyas fit DATA --out OUT [OPTIONS]" in shown
        assert 'what the model file must keep, for example "size<=2MB,latency<=10ms".' in shown
        assert "--training.rate RATE peak learning rate. (default: 0.001)" in shown


class TestCost:
    def test_the_published_figures(self, capsys):
        assert main(["cost", "mobilenet_v1"]) == 0
        first, madds, parameters, *_ = capsys.readouterr().out.splitlines()
        assert first == "mobilenet_v1 at 224 x 224 pixels, 1000 classes"
        assert "568.7 M" in madds
        assert "4.2" in parameters

    def test_by_type_as_in_table_2_of_the_paper(self, capsys):
        assert main(["cost", "mobilenet_v1", "--by", "type"]) == 0
        row = next(line for line in capsys.readouterr().out.splitlines() if "Conv 1x1" in line)
        assert ("94.86%" in row, "74.5" in row or "74.4" in row) == (True, True)

    def test_in_json(self, capsys):
        assert main(["cost", "mobilenet_v1x0.5@160", "--by", "stage", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["arch"], found["resolution"], found["classes"]) == ("mobilenet_v1x0.5@160", 160, 1000)
        assert found["cost"]["madds"] == sum(share["madds"] for share in found["shares"])
        assert round(found["cost"]["madds"] / 1e6) == 77  # MobileNets, Table 8 says 76 and rounds it down

    def test_by_layer_with_the_roofline_view(self, capsys, monkeypatch):
        monkeypatch.setattr(out, "width", 80)
        assert main(["cost", "mobilenet_v1", "--by", "layer"]) == 0
        shown = capsys.readouterr().out
        row = next(line for line in shown.splitlines() if line.startswith(" 1 Conv DW 3x3"))
        # 112x112x32 in and out, 352 parameters: 803,168 bytes in int8 for 3,612,672 multiply-adds
        assert row.split() == ["1", "Conv", "DW", "3x3", "3.61", "0.64%", "352", "0.01%", "0.80", "4.5"]
        assert "float32 moves 4 times that" in shown
        assert max(map(len, shown.splitlines())) <= 80

    def test_several_against_the_first(self, capsys, monkeypatch):
        monkeypatch.setattr(out, "width", 80)
        assert main(["cost", "mobilenet_v1", "torchvision:vgg16", "mobilenet_v1x0.5@160"]) == 0
        shown = capsys.readouterr().out
        rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line[1:2].islower() and "x" in line}
        assert rows["mobilenet_v1"] == ["224", "568.7", "1.0x", "4.23", "4.21", "1.0x", "1.20", "70.6"]
        # "32 times smaller and 27 times less compute intensive than VGG16" (MobileNets, section 4.3)
        assert rows["torchvision:vgg16"] == ["224", "15,470.3", "27.2x", "138.36", "138.34", "32.9x"]
        assert rows["mobilenet_v1x0.5@160"] == ["160", "76.5", "0.13x", "1.33", "1.32", "0.31x", "0.31"]
        assert max(map(len, shown.splitlines())) <= 80
        assert "FLOPs are twice that" in shown

    def test_in_csv(self, capsys):
        assert main(["cost", "mobilenet_v1", "timm:resnet18", "--csv"]) == 0
        assert capsys.readouterr().out == (
            "arch,resolution,classes,madds,params,weights,peak_activation_bytes,top1\n"
            "mobilenet_v1,224,1000,568740352,4231976,4209088,1204224,70.6\n"
            "timm:resnet18,224,1000,1814073344,11689512,11678912,,\n"
        )

    def test_in_csv_by_stage(self, capsys):
        assert main(["cost", "mobilenet_v1", "mobilenet_v2", "--by", "stage", "--csv"]) == 0
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert {row["arch"] for row in rows} == {"mobilenet_v1", "mobilenet_v2"}
        assert sum(int(row["madds"]) for row in rows if row["arch"] == "mobilenet_v1") == 568_740_352
        last = rows[-1]
        assert (last["group"], last["layers"], last["moved_bytes"]) == ("classifier", "1", str(1280 + 1_281_000 + 1000))
        assert float(last["madds_per_byte"]) == 1_280_000 / 1_283_280

    def test_in_json_a_line_each(self, capsys):
        assert main(["cost", "mobilenet_v1", "mobilenet_v2", "--json"]) == 0
        assert [json.loads(line)["top1"] for line in capsys.readouterr().out.splitlines()] == [70.6, 72.0]

    def test_of_a_model_in_a_file_here(self, capsys, tmp_path, monkeypatch):
        (tmp_path / "own_classifier.py").write_text("from torch.nn import *\nnet = Sequential(Flatten(), Linear(192, 10))\n")
        monkeypatch.chdir(tmp_path)
        assert main(["cost", "own_classifier:net@8", "--by", "layer"]) == 0
        first, *_, shown = capsys.readouterr().out.partition("\n")
        assert first == "own_classifier:net@8 at 8 x 8 pixels"
        assert "1 Fully Connected" in shown
        assert "peak" not in shown

    def test_prints_what_its_page_shows(self, capsys, monkeypatch):
        monkeypatch.setattr(out, "width", 80)
        examples = re.findall(r"```console\n\$ eyas (cost .*)\n((?:.*\n)*?)```", (DOCS / "cost.md").read_text())
        assert len(examples) == 3
        for words, expected in examples:
            assert main(words.split()) == 0
            shown = [line.rstrip() for line in capsys.readouterr().out.strip("\n").splitlines()]
            assert "\n".join(shown).strip() == expected.strip()

    def test_of_a_table_waits_for_no_torch(self):
        code = "import sys; from eyas.cli import main; main(['cost', 'mobilenet_v1']); print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.endswith("\nFalse\n")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ((), "ARCH must be given; see eyas cost --help"),
            (("mobilenet_v1", "mobilenet_v33"), "no architecture is named 'mobilenet_v33'; did you mean mobilenet_v"),
            (("mobilenet_v1", "--class", "3"), "unexpected '--class'; did you mean --classes?; see eyas cost --help"),
            (("mobilenet_v1", "--classes", "1.5"), "--classes is '1.5'; it must be a whole number; see eyas cost --help"),
            (("mobilenet_v1", "--classes", "-1"), "classes is -1; it must be 0 or above"),
            (("mobilenet_v1", "--by", "kind"), "--by is 'kind'; it must be one of 'none', 'layer', 'type', 'stage'; see"),
            (("mobilenet_v9",), "no architecture is named 'mobilenet_v9'; did you mean mobilenet_v"),
            (("mobilenet_v1@7",), "resolution 7 of mobilenet_v1: it must be at least the total stride, 32 pixels"),
            (("mobilenet_v1x0",), "width multiplier 0 of mobilenet_v1: it must be above 0"),
            (("mobilenet_v1", "--csv", "--json"), "--csv and --json are two forms of one output: keep one of them; see"),
            (("torchvision:vgg61",), "torchvision has no 'vgg61'; did you mean vgg1"),
            (("torchvision:alexnet@8",), "torchvision:alexnet@8: AlexNet does not run on an image of 8 x 8 pixels: "),
        ],
    )
    def test_what_is_wrong_in_one_sentence(self, words, sentence, told):
        assert told("cost", *words).startswith(f"eyas cost: {sentence}")


class TestSettings:
    def test_printed_and_read_again(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["cost", "mobilenet_v1x0.5@160", "--by", "type", "--classes", "10", "--print_config"])
        assert stopped.value.code == 0
        (tmp_path / "cost.yaml").write_text(capsys.readouterr().out)
        assert main(["cost", "mobilenet_v1x0.5@160", "--by", "type", "--classes", "10"]) == 0
        expected = capsys.readouterr().out
        assert main(["cost", "--config", str(tmp_path / "cost.yaml")]) == 0
        assert capsys.readouterr().out == expected

    def test_of_the_main_job_come_round(self, tmp_path, capsys):
        words = ["fit", "photos", "--out", "run", "--budget", "size<=2MB", "--training.rate", "0.02"]
        shown = []
        for given in (words, ["fit", "--config", str(tmp_path / "fit.yaml")]):
            with pytest.raises(SystemExit):
                main([*given, "--print_config"])
            shown.append(capsys.readouterr().out)
            (tmp_path / "fit.yaml").write_text(shown[0])
        assert shown[0] == shown[1]
        assert "  rate: 0.02\n" in shown[0]
        assert "budget: size<=2MB\n" in shown[0]

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("classes: 3\nclases: 4", "Option 'clases' is not accepted"),
            ("classes: [", "Problems parsing config"),
            ("classes: many", "--classes is 'many'; it must be a whole number"),
        ],
    )
    def test_a_file_that_is_wrong(self, text, sentence, told, tmp_path):
        (tmp_path / "cost.yaml").write_text(text)
        assert sentence in told("cost", "mobilenet_v1", "--config", str(tmp_path / "cost.yaml"))


class TestReport:
    def test_needs_a_run(self, told, tmp_path):
        assert told("report", str(tmp_path)).startswith("eyas report: ")


class TestRounds:
    @pytest.mark.parametrize(
        ("given", "wrong"),
        [("x", "is 'x'"), ("[{arx: 1}]", "has an unknown setting 'arx'"), ("[{ratio: many}]", "is \"[{'ratio': 'many'}]\"")],
    )
    def test_that_are_no_rounds(self, given, wrong, tmp_path, capsys):
        assert main(["fit", "photos", "--out", str(tmp_path / "run"), "--self_training.rounds", given]) == 2
        expected = "it must be a whole number, or a list of settings in braces; see eyas fit --help"
        assert capsys.readouterr().err == f"eyas fit: --self_training.rounds {wrong}; {expected}\n"


class TestPython:
    def test_importing_eyas_waits_for_nothing(self):
        code = "import sys, eyas; print([name for name in ('torch', 'numpy', 'pyarrow', 'PIL', 'rich') if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    def test_studies_are_functions_of_the_package(self):
        for name in ("fit", "train", "cost", "evaluate", "predict", "export"):
            assert callable(getattr(eyas, name))
            assert name in dir(eyas)
        assert eyas.cost("mobilenet_v1").cost.params == 4_231_976

    def test_a_name_that_is_none(self):
        with pytest.raises(AttributeError, match="module 'eyas' has no attribute 'fti'"):
            eyas.fti  # noqa: B018

    def test_mistakes_are_exceptions_with_the_sentence(self, tmp_path: Path):
        with pytest.raises(UserError, match="no data at"):
            eyas.fit(str(tmp_path / "photos"), out=str(tmp_path / "run"))
        assert not (tmp_path / "run").exists()
