import json
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from sklearn_dr4sr import DatasetPersonalizer, SequenceDataset
from sklearn_dr4sr.augmentation import TeacherContinuation
from sklearn_dr4sr.baselines import SequentialRules
from sklearn_dr4sr.checkpoint import read
from sklearn_dr4sr.datasets import load_sequences, make_sequences
from sklearn_dr4sr.metrics import ranking_scorer
from sklearn_dr4sr.model_selection import leave_one_out

growth = pytest.importorskip("benchmarks.growth", reason="needs the repository")
from benchmarks import backbones, compare, data_centric, profiles, reproduce, run  # noqa: E402

ROOT = Path(run.__file__).parents[1]


@pytest.fixture
def data(tmp_path):
    """A folder with a small file of each of the two data sets."""
    for seed, file in enumerate(("Beauty.txt", "Toys_and_Games.txt")):
        rows = make_sequences(60, 30, random_state=seed)
        SequenceDataset(rows).to_text(tmp_path / file)
    return tmp_path


def words_of(data, *further):
    folders = ["--results", str(data / "results"), "--cache", str(data / "cache")]
    return [*folders, "--batch-size", "16", "--device", "cpu", *further]


def train(data, recipe, *further):
    """One run in this process; the name of its result."""
    words = ["--data", str(data / "Beauty.txt"), "--recipe", recipe]
    args = run.parse([*words, *words_of(data, *further)])
    split = leave_one_out(load_sequences(args.data))
    run.run(split, recipe, 0, args)
    return run.result_name(args, recipe, 0)


def made_result(folder, name, ndcg, ranks, **further):
    """Files of a result, as ``run.write`` leaves them."""
    record = {
        "test": {"ndcg@20": ndcg},
        "best_step": 10,
        "seconds": {"train": 5.0},
        "epoch_seconds": [1.0, 2.0, 9.0],
        "peak_memory_mb": 700,
        **further,
    }
    run.write(folder, name, record, np.array(ranks))


def test_every_option_that_changes_a_result_is_in_its_name():
    hidden, origin = '{"hidden_dim": 32}', '{"mined": 0.5}'
    variants = [
        [],
        ["--max-epochs", "2"],
        ["--patience", "4"],
        ["--batch-size", "64"],
        ["--precision", "bfloat16"],
        ["--device", "cuda"],
        ["--quick"],
        ["--loss", "ce"],
        ["--model", "GNN"],
        ["--steps-per-epoch", "backbone"],
        ["--diversity-factor", "3"],
        ["--generative-probability", "0.3"],
        ["--set", hidden],
        ["--personalizer", hidden],
        ["--set", '{"temperature": 2}'],
        ["--personalizer", '{"temperature": 2}'],
        ["--continuation", '{"temperature": 2}'],
        ["--personalizer", json.dumps(run.PAPER)],
        ["--personalizer", json.dumps({**run.PAPER, "hypergradient": "end_to_end"})],
        ["--personalizer", '{"hypergradient": "end_to_end"}'],
        ["--origin-weights", origin],
        ["--weights", "permuted"],
        ["--teachers", "2"],
        ["--generation", "2"],
        ["--teacher", "stack"],
        ["--teacher", "popularity"],
        ["--teacher", "auto"],
        ["--co-teachers", '{"FMLP": {}}'],
        ["--co-teachers", '{"FMLP": {"n_layers": 1}}'],
        ["--co-teachers", '{"FMLP": {}, "GNN": {}}'],
    ]
    named = {}
    for words in variants:
        name = run.result_name(run.parse(["--data", "Beauty.txt", *words]), "dr4sr+", 0)
        assert name not in named, (words, named[name])
        assert len(name) < 200  # file systems take 255 bytes, with what is appended
        named[name] = words
    training = ([], *variants[1:10], ["--set", hidden])
    kept = {
        backbones.backbone_name(run.parse(["--data", "Beauty.txt", *words]), 0)
        for words in training
    }
    assert len(kept) == len(training)


def test_teachers_of_another_kind_have_what_is_set_and_what_is_given_for_them():
    settings = '{"embedding_dim": 8, "hidden_dim": 16, "positions": "relative"}'
    words = ["--model", "BSARec", "--loss", "ce", "--teachers", "2", "--set", settings]
    further = ["--co-teachers", '{"FMLP": {"hidden_dim": 32}, "SASRec": {}}']
    args = run.parse(["--data", "Beauty.txt", *words, *further])
    made = {
        member: backbones.recommender(seed, own)
        for member, (own, seed) in backbones.teaching_backbones(args, 3).items()
    }
    shown = {
        member: (type(model).__name__, model.random_state, model.embedding_dim, model.hidden_dim)
        for member, model in made.items()
    }
    assert shown == {
        "model3": ("BSARec", 3, 8, 16),
        "model4": ("BSARec", 4, 8, 16),
        "fmlp3": ("FMLP", 3, 8, 32),
        "sasrec3": ("SASRec", 3, 8, 16),
    }
    assert made["sasrec3"].positions == "relative"  # FMLP has none
    assert {model.loss for model in made.values()} == {"ce"}
    with pytest.raises(SystemExit):
        run.parse(["--data", "Beauty.txt", "--co-teachers", '{"Popularity": {}}'])


def test_parameters_that_two_groups_have_are_told_apart():
    groups = [DatasetPersonalizer(None), TeacherContinuation(), *(m() for m in run.MODELS.values())]
    names = [set(group.get_params(deep=False)) for group in groups]
    upper, teacher, models = names[0], names[1], set.union(*names[2:])
    common = (upper & teacher) | (upper & models) | (teacher & models)
    assert common - {"random_state", "verbose"} == set(run.SHARED)  # these two are given once


def test_results_in_the_repository_have_the_names_of_their_commands():
    found = [path for path in run.RESULTS.glob("*-s?.json") if path.stem.count("-backbone-")]
    assert found
    for path in found:
        record = json.loads(path.read_text())
        given = {**record["parameters"], "quick": False}
        assert backbones.departures(given) == [
            part for part in path.stem.split("-") if part.partition("=")[0] in backbones.DEFAULTS
        ]


def test_quick_runs_keep_out_of_the_real_folders():
    args = run.parse(["--data", "Beauty.txt", "--quick"])
    assert args.max_epochs == 2
    for folder in (args.results, args.cache):
        assert folder not in (run.RESULTS, backbones.CACHE)
        assert backbones.CACHE / "quick" in (folder, *folder.parents)
    assert run.parse(["--data", "Beauty.txt", "--quick", "--max-epochs", "1"]).max_epochs == 1
    usual = run.parse(["--data", "Beauty.txt"])
    assert (usual.results, usual.cache, usual.max_epochs) == (run.RESULTS, backbones.CACHE, 1000)


def test_a_cell_writes_where_it_is_told_and_leaves_no_checkpoint(data):
    before = sorted(backbones.CACHE.rglob("*")) if backbones.CACHE.exists() else []
    name = train(data, "dr4sr+", "--quick")
    record = json.loads((data / "results" / f"{name}.json").read_text())
    assert record["epochs"] == 2
    assert "checkpoint_dir" not in record["parameters"]
    kept = {path.name for path in (data / "cache").glob("*.joblib")}
    made = {"Beauty-w5-K5-s0.joblib", "Beauty-w5-K5-s0-g0.1-data.joblib"}
    assert kept == {*made, f"{name}.joblib"}
    assert not list((data / "cache").rglob("*.checkpoint"))
    assert (sorted(backbones.CACHE.rglob("*")) if backbones.CACHE.exists() else []) == before
    permuted = train(data, "dr4sr+", "--quick", "--weights", "permuted")  # trains no personalizer
    seconds = json.loads((data / "results" / f"{permuted}.json").read_text())["seconds"]
    assert seconds["personalize"] == record["seconds"]["train"]


@pytest.mark.slow
def test_a_killed_cell_goes_on_where_it_was(data, capsys):
    """Killed after some epochs, it ends as one that was not killed, and trains no epoch twice."""
    further = ["--max-epochs", "40", "--patience", "40"]
    words = words_of(data, *further)
    command = [sys.executable, "-m", "benchmarks.run", "--data", str(data / "Beauty.txt"), *words]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    checkpoints = data / "cache" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.rglob("*.checkpoint")):
        assert killed.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    results = data / "results"
    assert not results.exists()
    (left,) = checkpoints.rglob("*.checkpoint")
    done = len(read(left)["history"])
    name = train(data, "backbone", *further)
    assert len(re.findall(r"^ +\d+ ", capsys.readouterr().out, re.MULTILINE)) == 40 - done < 40
    resumed = json.loads((results / f"{name}.json").read_text())
    rank = np.load(results / "ranks" / f"{name}.npz")["rank"]
    (results / f"{name}.json").unlink()
    assert train(data, "backbone", *further) == name
    whole = json.loads((results / f"{name}.json").read_text())
    assert resumed["epochs"] == whole["epochs"] == 40
    assert resumed["validation"] == whole["validation"]
    np.testing.assert_array_equal(np.load(results / "ranks" / f"{name}.npz")["rank"], rank)
    assert resumed["seconds"]["train"] >= sum(resumed["epoch_seconds"]) - 0.5
    assert not list(checkpoints.rglob("*.checkpoint"))


def test_a_cache_is_of_one_file(data):
    args = run.parse(["--data", str(data / "Beauty.txt"), *words_of(data)])
    split = run.load_split(args)
    assert run.load_split(args).history == split.history
    text = (data / "Beauty.txt").read_text()
    (data / "Beauty.txt").write_text(text.split("\n", 1)[1])
    with pytest.raises(SystemExit, match="holds fits on another file that is called Beauty"):
        run.load_split(args)


def test_options_of_all_cells_are_in_the_name_of_the_table_and_in_each_cell(data):
    shelf = reproduce.Shelf(data, 1, ["--loss", "ce", "--set", '{"lr": 0.002}'])
    assert shelf.departures() == ["ce", "lr=0.002"]
    masked = reproduce.Cell("Beauty", "CL4SRec", "backbone")
    assert shelf.name(masked, 0) == "Beauty-backbone-cl4srec-ce-lr=0.002-mask=0.4-s0"
    plain = reproduce.Cell("Beauty", "SASRec", "backbone")
    assert shelf.name(plain, 0) == "Beauty-backbone-sasrec-ce-lr=0.002-s0"
    assert reproduce.Shelf(data, 1, words_of(data)).departures() == ["batch_size=16"]
    assert reproduce.Shelf(data, 1).departures() == []


def test_what_is_set_replaces_the_strong_setting(data):
    words = ["--data", str(data / "Beauty.txt"), "--loss", "ce", "--set", '{"hidden_dim": 32}']
    args = run.parse([*words, *words_of(data)])
    assert run.recommender(0, args).hidden_dim == 32


def test_runs_are_compared_by_their_seeds_and_not_mixed(tmp_path, capsys):
    for name in ("a-ce-s0", "a-ce-s1", "a-ce-s1-again", "a-bce-s0"):
        np.savez(tmp_path / f"{name}.npz", rank=np.arange(3))
    assert compare.ranks_of("a-ce-s*", tmp_path).shape == (3, 3)
    assert compare.ranks_of("a-bce-s0.json", tmp_path).shape == (1, 3)
    with pytest.raises(SystemExit, match="of several runs, not of one: a-bce, a-ce"):
        compare.ranks_of("a-*", tmp_path)
    with pytest.raises(SystemExit, match="no such run"):
        compare.ranks_of("b", tmp_path)


def call_reproduce(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["reproduce", *words])
    return reproduce.main()


def test_reproduce_runs_the_rules_first_and_tells_what_failed(data, monkeypatch, capsys):
    started = []

    def fake(command, **options):
        assert command[:3] == [sys.executable, "-m", "benchmarks.run"]
        started.append(run.parse(command[3:]))
        return Namespace(returncode=int(started[-1].recipe == "backbone"), stderr="no memory")

    monkeypatch.setattr(reproduce.subprocess, "run", fake)
    words = words_of(data, "--max-epochs", "1")
    status = call_reproduce(monkeypatch, "--table", "5", "--data", str(data), *words)
    assert status == 1
    assert [args.recipe for args in started[:2]] == ["baselines", "baselines"]
    assert {args.max_epochs for args in started} == {1}
    plus = [args for args in started if args.recipe == "dr4sr+" and args.name == "Beauty"]
    assert [args.personalizer for args in plus] == [run.PAPER, {}]
    said = capsys.readouterr()
    assert "no memory" in said.err
    rows = [row for row in said.out.splitlines() if row.startswith("| Beauty")]
    assert [row.split(" | ")[3] for row in rows] == ["failed", "not run", "not run", "not run"]
    name = "table-5-max_epochs=1-batch_size=16.md"
    table = (data / "results" / "tables" / name).read_text()
    assert table.startswith("All cells: max_epochs=1, batch_size=16.")
    assert table in said.out


def test_reproduce_stops_cells_at_the_end_of_its_time(data, monkeypatch):
    def fake(command, timeout, **options):
        assert 0 < timeout <= 3600
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(reproduce.subprocess, "run", fake)
    words = ["--figure", "4", "--data", str(data), "--hours", "1", *words_of(data)]
    assert call_reproduce(monkeypatch, *words) == 0  # it goes on the next time


@pytest.mark.parametrize("which", [("--figure", "4"), ("--table", "3"), ("--table", "6")])
def test_reproduce_refuses_a_folder_without_the_files(which, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        call_reproduce(monkeypatch, *which, "--data", str(tmp_path / "none"))
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert str(tmp_path / "none") in message
    assert ("have to be supplied" in message) == (which[1] == "6")


def test_cells_of_the_files_that_there_are(data, monkeypatch):
    (data / "Yelp.txt").write_text("")
    monkeypatch.setattr(sys, "argv", ["reproduce", "--table", "3", "--data", str(data)])
    assert reproduce.read_arguments().sets == ["Beauty", "Toys", "Yelp"]
    for table, figure in [(2, None), (3, None), (4, None), (5, None), (None, 4), (None, 6)]:
        cells = reproduce.cells(
            table, figure, ["Beauty", "Toys", "Sports", "Yelp"][: 4 if table else 2]
        )
        shelf = reproduce.Shelf(data, 1)
        names = [shelf.name(cell, 0) for cell in cells]
        assert len(set(names)) == len(names) > 0
        assert all(n.startswith(f"{c.data}-") for n, c in zip(names, cells, strict=True))
        papers = [cell for cell in cells if cell.recipe == "dr4sr+" and cell.paper]
        assert all(cell.options["personalizer"].keys() >= run.PAPER.keys() for cell in papers)
        for cell in cells:  # the paper masks less of Beauty
            masked = run.parse(cell.arguments(data, 0)).set.get("mask")
            assert masked == (0.4 if (cell.data, cell.model) == ("Beauty", "CL4SRec") else None)


def test_cells_that_set_a_default_are_those_of_the_default():
    shelf = reproduce.Shelf(Path(), seeds=1)
    table_3 = {shelf.name(c, 0) for c in reproduce.cells(3, None, ["Beauty"])}
    figure_5 = {
        c.label(): shelf.name(c, 0)
        for c in reproduce.cells(None, 5, ["Beauty"])
        if c.recipe == "dr4sr" and not c.matched
    }
    assert figure_5 == {
        "dr4sr, graph=original": "Beauty-dr4sr-gnn-bce-s0",
        "dr4sr, graph=regenerated": "Beauty-dr4sr-gnn-bce-graph=regenerated-s0",
        "dr4sr, augment=original, mask=0.4": (
            "Beauty-dr4sr-cl4srec-bce-mask=0.4-augment=original-s0"
        ),
        "dr4sr, augment=regenerated, mask=0.4": "Beauty-dr4sr-cl4srec-bce-mask=0.4-s0",
    }
    assert len(table_3.intersection(figure_5.values())) == 2


def test_a_table_of_made_results(tmp_path):
    """Columns beside plain arithmetic: rank 1 has gain 1, rank 21 none."""
    cells = [
        reproduce.Cell("Beauty", "SASRec", "backbone", 0.0368),
        reproduce.Cell("Beauty", "SASRec", "dr4sr", 0.0395),
        reproduce.Cell("Beauty", "SASRec", "dr4sr+"),
    ]
    shelf = reproduce.Shelf(tmp_path, 2)
    made_result(tmp_path, shelf.name(cells[0], 0), 0.25, [21] * 30 + [1] * 10)
    made_result(tmp_path, shelf.name(cells[1], 0), 0.5, [1] * 20 + [21] * 10 + [1] * 10)
    made_result(tmp_path, shelf.name(cells[1], 1), 0.7, [1] * 20 + [21] * 10 + [1] * 10)
    made_result(tmp_path, "Beauty-sequentialrules", 0.0611, [1])
    shelf.failed.add(shelf.name(cells[2], 1))
    rows = [
        [word.strip() for word in row.split("|")[1:-1]]
        for row in reproduce.render(cells, shelf).splitlines()
    ]
    header, body = rows[0], rows[2:]
    assert [len(row) for row in rows] == [13] * 5
    backbone, dr4sr, plus = (dict(zip(header, row, strict=True)) for row in body)
    assert (backbone["paper N@20"], backbone["N@20"]) == ("0.0368", "0.2500")
    assert (backbone["seeds"], backbone["over backbone"]) == ("1 of 2", "")
    assert dr4sr["N@20"] == f"0.6000 ± {np.sqrt(0.02):.4f}"
    assert (dr4sr["seeds"], dr4sr["over backbone"]) == ("2 of 2", "+200.0%")  # 30 of 40, 10 of 40
    assert float(dr4sr["p (Holm)"]) < 0.001
    assert dr4sr["rules N@20"] == "0.0611"
    assert (plus["recipe"], plus["N@20"], plus["paper N@20"]) == ("dr4sr+, defaults", "failed", "")
    assert reproduce.statistics(cells[2:], shelf).splitlines()[-1].count("failed") == 1
    further = [
        reproduce.Cell("Toys", "GNN", "dr4sr", 0.0498),
        reproduce.Cell("Toys", "GNN", "mined"),
    ]
    table, left = reproduce.render([*cells, *further], shelf).split("\nNot run:\n\n")
    assert table == reproduce.render(cells, shelf)
    assert left == "- Toys, GNN: dr4sr (the paper: 0.0498); mined\n"
    fewer = shelf.name(cells[0], 1).replace("-s1", "-max_epochs=60-s1")
    made_result(tmp_path, fewer, 0.125, [1], parameters={"max_epochs": 60})
    (tmp_path / f"{shelf.name(cells[0], 0)}.json").unlink()
    assert "| not run to its end; 60 epochs: 0.1250 |" in reproduce.render(cells, shelf)


def test_table_2_has_the_size_of_the_default_data_set_whatever_trained_on_it(tmp_path):
    shelf = reproduce.Shelf(tmp_path, 1)
    cells = reproduce.cells(2, None, ["Beauty", "Toys"])
    usual = {"diversity_factor": 5, "generative_probability": 0.1}
    sizes = {"patterns": 1000, "mean_length": 7.0}
    other = usual | {"generative_probability": 0.5} | sizes
    made_result(tmp_path, "Beauty-dr4sr-sasrec-bce-g0.5-s0", 0.5, [1], **other)
    made_result(tmp_path, "Beauty-dr4sr-sasrec-ce-s1", 0.5, [1], **usual, **sizes)
    assert reproduce.statistics(cells, shelf).count("not run") == 2
    sizes = {"patterns": 102_048, "mean_length": 3.22}
    made_result(tmp_path, "Beauty-dr4sr-sasrec-ce-patience=10-s0", 0.5, [1], **usual, **sizes)
    rows = reproduce.statistics(cells, shelf).splitlines()
    assert rows[2] == "| Beauty | 0.32 m, 4.0 | 0.33 m, 3.2 | 102,048 |"
    assert rows[3].count("not run") == 1


def test_table_5_has_the_median_epoch_and_the_peak(tmp_path):
    cells = reproduce.cells(5, None, ["Beauty"])
    shelf = reproduce.Shelf(tmp_path, 1)
    made_result(tmp_path, shelf.name(cells[1], 0), 0.5, [1])
    slower = {"epoch_seconds": [3.0, 3.0, 1.0], "peak_device_memory_mb": 40}
    made_result(tmp_path, shelf.name(cells[2], 0), 0.5, [1], **slower)
    rows = reproduce.efficiency(cells, shelf).splitlines()
    assert rows[2].split(" | ")[1:4] == ["backbone", "", "not run"]
    assert rows[3].split(" | ")[1:5] == ["dr4sr", "7.618", "2.000", ""]
    cost = ["9.476", "3.000", "1.50", "2342", "40", "700", "CPU |"]
    assert rows[4].split(" | ")[1:] == ["dr4sr+, recipe=paper", *cost]
    assert rows[5].split(" | ")[1:4] == ["dr4sr+, defaults", "", "not run"]
    made_result(tmp_path, shelf.name(cells[2], 0), 0.5, [1], **slower, device="NVIDIA H200")
    row = reproduce.efficiency(cells, shelf).splitlines()[4]  # no ratio of two devices
    assert row.split(" | ")[3:] == ["3.000", "", "2342", "40", "700", "NVIDIA H200 |"]


def test_a_profile_counts_each_kernel_once():
    def event(device, microseconds, annotation=False):
        device = getattr(profiles.DeviceType, device)
        return Namespace(
            device_type=device, self_device_time_total=microseconds, is_user_annotation=annotation
        )

    kernels = [event("CUDA", 30.0), event("CUDA", 12.0)]
    operations = [event("CPU", 30.0), event("CPU", 12.0)]
    step = [event("CUDA", 100.0, annotation=True), event("CPU", 12.0, annotation=True)]
    assert profiles.kernel_seconds([*operations, *kernels, *step]) == pytest.approx(42e-6)


def test_growth_draws_rows_of_every_item_from_all_shops():
    shops = make_sequences(300, 40, random_state=0)
    drawn = growth.rows_of_all_items(shops, 60)
    assert len(drawn) == len(set(drawn)) == 60
    assert {item for row in drawn for item in shops[int(row)]} == {i for row in shops for i in row}
    assert drawn.max() >= 200  # not the first rows alone


def test_growth_goes_on_after_a_point_that_failed(monkeypatch):
    def fake(command, **options):
        rows = int(command[-2])
        if rows == 100_000:
            return Namespace(returncode=1, stdout="", stderr="...\nMemoryError: a | b\n")
        point = {"rows": rows, "items": 1000, "cpu_seconds": rows**1.5 / 1e5}
        point |= {"peak_mb": 1, "peak_mb_before": 1}
        return Namespace(returncode=0, stdout=json.dumps(point), stderr="")

    monkeypatch.setattr(growth.subprocess, "run", fake)
    found = growth.grow("mine", "cpu")
    assert [line["rows"] for line in found["lines"]] == [10_000, 100_000, 1_000_000]
    assert found["slope"] == found["last_slope"] == 1.5
    report = {"cpu": "a processor", "date": "", "command": "", "stages": {"mine": found}}
    text = growth.as_markdown(report, "growth")
    assert "Slopes above 1.05: mine (1.50). Failed: mine at 100,000 rows" in text
    assert "failed: MemoryError: a / b" in text


def test_items_by_popularity_are_ranked_as_the_scorer_ranks():
    """Of 60 items no more than all can be drawn, so both rankings are the scorer's."""
    split = leave_one_out(make_sequences(300, 60, random_state=0))
    model = SequentialRules().fit(split.train)
    found = data_centric.by_popularity(model, split, threshold=24.5, seed=0)
    known = np.isin(split.test, model.items_)
    scorer = ranking_scorer("ndcg@20", "recall@10", "ndcg@10")
    test = scorer(model, split.history[known], split.test[known])
    assert found["all"]["ndcg@20"] == pytest.approx(test["ndcg@20"])
    assert found["all"]["recall@10 of 100"] == pytest.approx(test["recall@10"])
    assert found["all"]["ndcg@10 of 100"] == pytest.approx(test["ndcg@10"])
    groups = found["head"], found["tail"]
    assert found["all"]["users"] == sum(group["users"] for group in groups) == known.sum()
    mean = sum(group["users"] * group["ndcg@20"] for group in groups) / known.sum()
    assert mean == pytest.approx(test["ndcg@20"])
    assert 0 < found["tail"]["ndcg@20"] < found["head"]["ndcg@20"]
