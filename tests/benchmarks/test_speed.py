"""The speed benchmark on tiny tables: its command, its table of results, its report and figures. No
time is asserted."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as speed, latency, memory, networks, opponents, scaling
from benchmarks.speed.cases import Case, encoded, table
from benchmarks.speed.networks import flop_per_row, matrix_limits
from benchmarks.speed.report import ratios, shares, spread
from benchmarks.speed.results import Results, describe_run

TINY = ["--networks", "mlp", "--rows", "200", "--batch-sizes", "64", "--repeats", "1"]


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    """Without AVX-512, a large product in bfloat16 takes long."""
    monkeypatch.setitem(networks.SIZES, "cpu", 64)


def run(out, *arguments):
    """Run the command; return the CPU's entries and the report."""
    speed.main([*TINY, "--out", str(out), *arguments])
    return json.loads((out / "speed-cpu.json").read_text())["entries"], (
        out / "speed.md"
    ).read_text()


def section(text, title):
    return text.split(f"### {title}\n")[1].split("\n#")[0]


def test_the_table_has_every_category_and_repeats_itself():
    X, y = table(100, n_num=3, cardinalities=(2, 60))
    assert X.shape == (100, 5) and [X[name].nunique() for name in ("c0", "c1")] == [2, 60]
    x_num, x_cat, target = encoded(X, y, 3)
    assert x_cat.min() == 0 and x_cat.max(0).tolist() == [1, 59] and x_num.shape == (100, 3)
    np.testing.assert_allclose([target.mean(), target.std()], [0, 1], atol=1e-5)
    assert table(100)[0].equals(table(100)[0])


@pytest.mark.parametrize("network", [name for name in speed.NETWORKS if name != "grownet"])
def test_both_train_the_same_network(network):
    case = Case(network, n_rows=64, batch_size=32)
    X, y = case.table()
    model = case.estimator(max_epochs=1).fit(X, y)
    loop = case.loop(encoded(X, y, case.n_num))
    before = [parameter.clone() for parameter in loop.net.parameters()]
    loop.train()
    assert all(
        not torch.equal(old, new) for old, new in zip(before, loop.net.parameters(), strict=True)
    )
    assert loop.predict(10).shape == ((64, 32, 1) if network == "tabm" else (64, 1))
    # tabdl has a row for unseen values of each category, and a biased vector in FT-Transformer.
    n_parameters = sum(parameter.numel() for parameter in loop.net.parameters())
    assert n_parameters == pytest.approx(model.n_parameters_, rel=0.01)


def test_grownet_grows_in_both():
    case = Case("grownet", n_rows=64, batch_size=32)
    X, y = case.table()
    model = case.estimator(max_epochs=2).fit(X, y)
    loop = case.loop(encoded(X, y, case.n_num))
    backbone = loop.net.module.backbone
    before = [parameter.clone() for parameter in backbone.parameters()]
    loop.train()
    assert backbone.n_used == 1
    loop.train()
    assert backbone.n_used == 2 == len(model.module_.backbone.nets)
    trained = {id(parameter) for net in backbone.nets[:2] for parameter in net.parameters()}
    for old, new in zip(before, backbone.parameters(), strict=True):
        assert torch.equal(old, new) == (id(new) not in trained)
    assert loop.predict(10).shape == (64, 1)


def test_flop_are_those_counted_by_hand():
    case = Case("mlp", batch_size=32)
    d_in = case.n_num + 16 * len(case.cardinalities)
    weights = d_in * 384 + 3 * 384 * 384 + 384
    assert (
        flop_per_row(case) == 2 * 3 * weights
    )  # multiply and add; outputs, gradients of inputs and of weights


@pytest.mark.parametrize("has_half", [False, True])
def test_limits(has_half, monkeypatch):
    monkeypatch.setattr(networks, "multiplies_bfloat16", lambda device: has_half)
    measured = matrix_limits("cpu")
    assert set(measured) == {"float32", *(["bfloat16"] if has_half else [])}
    assert min(measured.values()) > 0
    assert torch.get_float32_matmul_precision() == "highest"


def test_ratios_and_shares_are_taken_repeat_by_repeat():
    ours, plain = ([{"train": s} for s in seconds] for seconds in ((1.0, 2.0), (2.0, 8.0)))
    limits = [{"float32": 30.0}, {"float32": 15.0}]
    entry = {"n_rows": 10, "flop_per_row": 3.0, "limits": limits, "seconds": {"auto": ours}}
    assert ratios([once["train"] for once in plain], [1.0, 2.0]) == [2.0, 4.0]
    assert shares(entry, "auto", "float32") == [1.0, 1.0]
    assert spread([1.0, 2.0, 4.0]) == "2.00 (1.00–4.00)" and spread([]) == "—"


def test_networks_then_one_part_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opponents, "is_installed", lambda name: False)
    entries, text = run(tmp_path, "--parts", "networks", "others")
    by_network, by_package = entries["networks/mlp/64"], entries["others/mlp"]
    assert set(by_network["seconds"]) == {"auto", "float32", "plain"}
    assert set(by_network["seconds"]["plain"][0]) == {
        "train",
        "first_epoch",
        "predict",
        "predict_best",
    }
    assert by_network["best_batch"] in networks.PREDICT_BATCHES and by_network["flop_per_row"] > 1e6
    assert len(by_network["limits"]) == len(by_network["seconds"]["auto"]) == 1
    assert set(by_package["seconds"]) == {"tabdl auto", "tabdl float32"} and by_package[
        "not_installed"
    ] == list(opponents.OPPONENTS)
    assert "networks/mlp/64\n| network |" in capsys.readouterr().out
    plain, ours = ([o["train"] for o in by_network["seconds"][who]] for who in ("plain", "auto"))
    assert f"| {spread(ratios(plain, ours))} |" in section(text, "Networks")
    assert "| MLP | 200 | 64 | skorch | not installed | — |" in text
    assert section(text, "Scaling").strip() == "not measured yet"
    assert text.split("## GPU\n")[1].split("\n#")[0].strip() == "not measured yet"
    assert text.split("## What did not help\n")[1].strip() == "—"

    again, text = run(tmp_path, "--parts", "networks")
    assert (
        again["others/mlp"] == by_package
        and again["networks/mlp/64"]["seconds"] != by_network["seconds"]
    )
    assert "(Run 1.)" in section(
        text, "Against other packages' estimators"
    ) and "(Run 2.)" in section(text, "Networks")
    assert text.count("`python -m benchmarks.speed --networks mlp") == 2


def test_report_alone_takes_notes_and_a_gpus_results(tmp_path):
    _, text = run(tmp_path, "--parts", "networks")
    (tmp_path / "speed-notes.md").write_text("Larger chunks: 0.9 times.\n")
    shutil.copy(tmp_path / "speed-cpu.json", tmp_path / "speed-cuda.json")
    before = (tmp_path / "speed-cpu.json").read_text()
    entries, text = run(tmp_path, "--parts", "report")
    assert (
        text.endswith("## What did not help\n\nLarger chunks: 0.9 times.\n")
        and text.count("### Networks\n\n(Run 1.)") == 2
    )
    assert (tmp_path / "speed-cpu.json").read_text() == before and list(entries) == [
        "networks/mlp/64"
    ]


def test_a_folder_without_results_is_not_measured_yet(tmp_path):
    speed.main(["--parts", "report", "--out", str(tmp_path / "new")])
    assert (tmp_path / "new" / "speed.md").read_text().count("not measured yet") == 2


def test_several_epochs_time_the_last(tmp_path):
    entries, _ = run(tmp_path, "--parts", "networks", "--epochs", "2")
    assert entries["networks/mlp/64"]["epochs"] == 2


def test_without_the_authors_package_there_is_a_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "has_reference", lambda network: False)
    entries, text = run(tmp_path, "--parts", "networks")
    assert set(entries["networks/mlp/64"]["seconds"]) == {"auto", "float32"}
    assert "no comparison" in capsys.readouterr().out
    assert section(text, "Networks").count("| — |") >= 2


def test_memory_of_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PRECISIONS", ())
    monkeypatch.setattr(memory, "is_installed", lambda name: False)
    entries, text = run(tmp_path, "--parts", "memory")
    entry = entries["memory/mlp/64/plain"]
    assert entry["peak"] >= entry["before"] > 1e8 and entry["gpu_peak"] is None
    assert "| MLP | 200 | 64 | plain loop |" in section(text, "Peak memory of a fit of one epoch")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_not_that_of_the_process_that_started_it():
    held = bytearray(7 * 10**8)
    held[::4096] = bytes([1]) * len(held[::4096])  # in memory, not only promised
    child = [
        sys.executable,
        "-c",
        "from benchmarks.runs.peak_memory import peak_bytes; print(peak_bytes())",
    ]
    done = subprocess.run(
        child,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(speed.__file__).parent.parent.parent,
    )
    assert int(done.stdout) < len(held) < memory.peak_bytes()


def test_overhead(tmp_path):
    entries, text = run(tmp_path, "--parts", "overhead", "--overhead-rows", "500")
    entry = entries["overhead/mlp/held_out"]
    assert (
        entry["table_bytes"] == 500 * 90 * 4
        and entry["fit"][0] > entry["loop"][0] > 0
        and entry["growth"][0] > 0
    )
    assert section(text, "What fit costs beside its loop").count("| MLP |") == len(entries) == 2


def test_a_failed_process_is_named_and_left_out(capsys):
    assert memory.in_new_python("memory", case={"network": "forest"}, who="auto") is None
    assert "failed with status 1: KeyError: 'forest'" in capsys.readouterr().out


def test_scaling_draws_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setitem(scaling.AXES, "cardinality", (10, 500))
    entries, text = run(
        tmp_path, "--parts", "scaling", "--axes", "cardinality", "--point-seconds", "0.01"
    )
    entry = entries["scaling/cardinality/mlp"]
    assert [(point["value"], point["who"]) for point in entry["points"]] == [
        (value, who) for value in (10, 500) for who in ("tabdl", "plain")
    ]
    assert all(
        point["n_rows"] >= max(256, point["value"]) and point["train"] > 0
        for point in entry["points"]
    )
    assert entry["missing"] == [] and "not measured from" not in text
    picture = tmp_path / "speed_cpu_cardinality.png"
    assert 5_000 < picture.stat().st_size < 150_000 and f"({picture.name})" in section(
        text, "Scaling"
    )


def test_scaling_names_what_it_left_out_and_goes_no_further(tmp_path):
    entries, text = run(tmp_path, "--parts", "scaling", "--axes", "rows", "--budget", "0")
    entry = entries["scaling/rows/mlp"]
    assert entry["points"] == [] and [(gap["value"], gap["who"]) for gap in entry["missing"]] == [
        (1000, "tabdl"),
        (1000, "plain"),
    ]
    line = "| MLP | rows | 1,000 | tabdl | over the budget of 0 s |"
    assert line in section(text, "Scaling") and "![rows" not in text


def test_scaling_survives_a_lack_of_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(Case, "loop", lambda case, arrays: torch.empty(10**15))
    entries, _ = run(tmp_path, "--parts", "scaling", "--axes", "rows", "--budget", "0")
    assert [gap["why"] for gap in entries["scaling/rows/mlp"]["missing"]] == [
        "over the budget of 0 s",
        "out of memory",
    ]


def test_results_drop_runs_of_which_nothing_is_left(tmp_path):
    for number in (1, 2, 3):
        results = Results(tmp_path, "cpu")
        results.begin({"number": number})
        results.put("networks/mlp/64", {"value": number})
        if number == 1:
            results.put("others/mlp", {"value": number})
    held = Results(tmp_path, "cpu")
    assert [run["number"] for run in held.runs] == [1, 3]
    assert held.part("networks") == [{"value": 3, "run": 1}] and held.part("others") == [
        {"value": 1, "run": 0}
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["speed-cpu.json"]


@pytest.mark.parametrize(
    "argument, message",
    [
        (["--parts", "speed"], "invalid choice: 'speed'"),
        (["--device", "mps"], "'mps' is none of cpu, cuda"),
        (["--device", "cuda:99"], "this machine has none"),
    ],
)
def test_unknown_arguments(argument, message, capsys):
    with pytest.raises(SystemExit) as stop:
        speed.main(argument)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_defaults_follow_the_device(monkeypatch):
    monkeypatch.setattr(speed, "choose_device", lambda device, estimator_name: device)
    cpu, cuda = speed.arguments([]), speed.arguments(["--device", "cuda"])
    assert cpu.batch_sizes == [256] and cuda.batch_sizes == [256, 4096]
    assert "others" in cpu.parts and "others" not in cuda.parts


@pytest.mark.filterwarnings("ignore")  # their own
@pytest.mark.parametrize("name", opponents.OPPONENTS)
@pytest.mark.parametrize("network", opponents.COMMON)
def test_opponents_fit_a_network_of_the_same_size(name, network):
    if not opponents.is_installed(name):
        pytest.skip(f"{name} is not installed")
    case = Case(network, n_rows=128, batch_size=64)
    X, y = case.table()
    seconds, n_parameters = opponents.OPPONENTS[name](case, opponents.train_val(case), 1)
    assert seconds > 0
    assert n_parameters == pytest.approx(
        case.estimator(max_epochs=1).fit(X, y).n_parameters_, rel=0.06
    )


def test_the_report_of_latencies(tmp_path):
    lines = [
        latency.Line("Adult", "MLP", "data frame", 1, 1.0, 2.0),
        latency.Line("Adult", "MLP", "data frame", 100, 3.0, 3.5),
        latency.Line("Adult", "MLP", "data frame", 10_000, 20.0, 21.0, 12.4),
        latency.Line("Adult", "MLP", "onnxruntime", 1, 0.2, 0.25),
        latency.Line("Adult", "CatBoost", "data frame", 1, 0.5, 0.8),
    ]
    run = describe_run("cpu", [])
    latency.write_report(tmp_path / "latency.md", lines, run, 1.5)
    text = (tmp_path / "latency.md").read_text()
    assert "| Adult | MLP | data frame | 2.00 (1.00) | 3.50 (3.00) | 21.00 (20.00) |" in text
    assert "| Adult | MLP | onnxruntime | 0.25 (0.20) |  |  |" in text
    assert "| Adult | MLP | data frame | 12 |" in text
    assert "| Adult | MLP | 8.0 | 2.5 |" in text and run["machine"] in text


def test_latencies_are_measured():
    low, median = latency.seconds(lambda: sum(range(20_000)), 100)
    assert 0 < low <= median < 1


def test_a_call_that_would_take_too_long_is_left_out():
    way = latency.Way("a table", "sum", "range", lambda n_rows: lambda: sum(range(n_rows)), 30_000)
    sizes = [40_000, 20_000, 10_000]
    (line,) = latency.measured([way], sizes, longest=0)
    assert line.n_rows == 10_000 and line.memory is not None
    lines = list(latency.measured([way], sizes, longest=60))
    assert [line.n_rows for line in lines] == [10_000, 20_000]
