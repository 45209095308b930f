"""``ptrain bench``: what it reports on real ranks, and the arithmetic behind it. No test looks at how long it took."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptrain.cli import main
from ptrain.comm.base import RankInfo
from ptrain.console import Console
from ptrain.steps.base import Times
from ptrain.steps.shared import why_not_shared
from ptrain.verbs.bench.comm import recommend, show
from ptrain.verbs.bench.scaling import default_ranks, evaluate, verdict
from ptrain.verbs.bench.train import PARTS, slowest, split
from tests.ranks import run_group, run_ranks

BENCH = [sys.executable, "-m", "ptrain", "bench"]
SHORT = ["--steps", "4", "--seconds", "2"]


def report_of(*arguments: str) -> dict[str, Any]:
    done = run_group([*BENCH, *arguments, "--json"], timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


# bench train


@pytest.mark.parametrize("extra", [["--threads", "2", "--kernels", "torch"], ["--ranks", "2"]])
def test_the_parts_of_a_step_add_up_to_it(extra: list[str]) -> None:
    report = report_of("train", *SHORT, "--hidden", "16", "--batch-size", "64", *extra)
    ranks = 2 if "--ranks" in extra else 1
    assert (report["ranks"], report["widths"], report["batch_size"]) == (ranks, [64, 16, 10], 64)
    step, exchange = ("slices", "shared memory") if "--ranks" in extra else ("messages", "messages")
    assert (report["step"], report["exchange"]) == (step, exchange)
    assert list(report["why_not"]) == ([] if step == "slices" else ["slices", "device", "shared"])
    assert 1 <= report["steps"] <= 4
    assert report["samples_per_second"] > 0
    assert [row["rank"] for row in report["split"]] == list(range(ranks))
    for row in report["split"]:
        assert all(row[part] >= 0 for part in PARTS)
        assert row["waiting"] <= row["exchange"]
        parts = sum(row[part] for part in PARTS if part != "waiting")
        assert parts == pytest.approx(row["step"])


def test_it_reads_as_a_table_leaves_nothing_behind_and_takes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[train]\nbatch_size = 32\n[model]\nhidden = [8]\n[run]\nrun_dir = 'never-made'\n")
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "train", "--config", "job.toml", *SHORT]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[1].startswith("digits: 64-8-10, 610 parameters, global batch 32 in 8 shards")
    assert any(line.split()[:3] == ["rank", "host", "gather"] for line in lines)
    assert lines[-1].startswith("the largest part: ")
    assert [entry.name for entry in tmp_path.iterdir()] == ["job.toml"]


def test_under_a_launcher_its_ranks_are_measured() -> None:
    done = run_ranks([*BENCH, "train", *SHORT, "--json"], 3, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ranks"] == 3


def test_bad_data_are_one_line() -> None:
    done = run_group([*BENCH, "train", "--ranks", "2", "--data", "none.npy", "--labels", "none.npy"], timeout=180)
    assert done.returncode == 2
    assert [line.startswith("ptrain: error: ") for line in done.stderr.splitlines()] == [True]


# bench comm


def test_every_backend_is_measured_and_one_recommended() -> None:
    report = report_of("comm", *SHORT, "--parameters", "1000")
    assert report["failed"] == {}
    ways = [(way["backend"], way["way"]) for way in report["ways"]]
    messages = [(backend, way) for backend in ("mpi", "horovod", "torch") for way in ("ordered sum", "allreduce")]
    assert sorted(ways) == sorted([*messages, ("mpi", "shared memory")])
    assert report["why_messages"] == ""
    for way in report["ways"]:
        assert [size["times"] for size in way["sizes"]] == ["1/16", "1/4", "1", "4", "16"]
        assert all(size["seconds"] > 0 for size in way["sizes"])
    assert report["recommended"]["here"]["way"] in ("ordered sum", "shared memory")


def test_one_backend_on_the_ranks_of_a_job() -> None:
    done = run_ranks([*BENCH, "comm", *SHORT, "--parameters", "100"], 2, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("recommended")


def test_where_memory_cannot_be_shared_the_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    apart = RankInfo(rank=0, size=4, local_rank=0, local_size=2, host="here", launcher="none", job_id="")
    assert why_not_shared(apart, torch.device("cpu")) == "the ranks are on several machines"
    assert why_not_shared(apart, torch.device("meta")) == "the device is the meta"
    assert why_not_shared(replace(apart, size=2), torch.device("cpu")) == ""
    way = {"backend": "mpi", "way": "ordered sum", "latency_seconds": 1e-6, "sizes": []}
    report = {"ranks": 4, "elements": 9, "ways": [way], "failed": {}, "why_messages": "no room"}
    show(Console(), report | {"recommended": recommend([way])}, as_json=False)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "no shared memory: no room",
        "recommended: --backend mpi, 1 µs",
    ]


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6))
def test_the_recommended_way_is_the_fastest_that_keeps_the_bits(seconds: list[float]) -> None:
    ways = [
        {
            "backend": f"b{index}",
            "way": "ordered sum",
            "latency_seconds": 0.0,
            "sizes": [{"times": "1", "seconds": value}],
        }
        for index, value in enumerate(seconds)
    ]
    unsafe = {"backend": "x", "way": "allreduce", "latency_seconds": 0.0, "sizes": [{"times": "1", "seconds": 0.0}]}
    found = recommend([unsafe, *ways])
    assert found["here"]["seconds"] == found["between_machines"]["seconds"] == min(seconds)


# bench scaling


def test_scaling_writes_a_plot_and_the_numbers(tmp_path: Path) -> None:
    picture = tmp_path / "plot.png"
    flags = ["--ranks", "1", "2", "--repetitions", "1", "--out", str(picture)]
    report = report_of("scaling", *flags, *SHORT, "--batch-size", "64")
    assert [row["ranks"] for row in report["ranks"]] == [1, 2]
    assert (report["threads"], report["batch_size"]) == (1, 64)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(picture.with_suffix(".json").read_text()) == report


def test_a_job_that_fails_is_named(tmp_path: Path) -> None:
    flags = ["--ranks", "2", "--out", str(tmp_path / "x.png"), "--data", "none.npz"]
    done = run_group([*BENCH, "scaling", *flags], timeout=180)
    assert done.returncode == 2
    assert done.stderr.startswith("ptrain: error: 2 ranks: ")
    assert done.stderr.count("\n") == 1


def test_speed_up_and_the_number_of_ranks_that_pays() -> None:
    report = evaluate({1: [100.0, 90.0, 110.0], 2: [180.0], 4: [185.0], 8: [120.0]})
    assert [row["speed_up"] for row in report["ranks"]] == pytest.approx([1.0, 1.8, 1.85, 1.2])
    assert [row["efficiency"] for row in report["ranks"]] == pytest.approx([1.0, 0.9, 0.4625, 0.15])
    assert report["enough"] == 2
    assert verdict(report) == "more than 2 ranks do not pay for this job on this machine"
    assert verdict(evaluate({1: [1.0], 2: [2.0]})) == "up to 2 ranks every step paid; more were not tried"
    assert evaluate({2: [100.0], 4: [200.0]})["ranks"][1]["efficiency"] == 1.0


@given(st.integers(1, 500), st.integers(1, 64))
def test_default_ranks_fit_cores_and_shards(cores: int, shards: int) -> None:
    ranks = default_ranks(cores, shards)
    assert ranks[0] == 1
    assert ranks[-1] <= min(cores, shards) < 2 * ranks[-1]


@given(st.lists(st.tuples(*[st.floats(1e-6, 1.0)] * 4), min_size=1, max_size=5), st.integers(1, 4))
def test_the_split_of_any_times(rows: list[tuple[float, ...]], num_steps: int) -> None:
    times = [
        Times(
            gather=[gather] * num_steps,
            compute=[compute] * num_steps,
            exchange=[exchange] * num_steps,
            step=[gather + compute + exchange + update] * num_steps,
        )
        for gather, compute, exchange, update in rows
    ]
    found = split(times)
    for row, (gather, compute, exchange, update) in zip(found, rows, strict=True):
        parts = [row["gather"], row["compute"], row["exchange"], row["update"]]
        assert parts == pytest.approx([gather, compute, exchange, update], abs=1e-9)
    assert min(row["waiting"] for row in found) == pytest.approx(0.0, abs=1e-9)
    own = [row["step"] - row["waiting"] for row in found]
    assert own[slowest(found)] == max(own)
