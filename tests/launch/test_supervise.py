from pathlib import Path

import pytest

from ptrain.launch.supervise import supervise


class Starts:
    """Plays a run: what each start returns, and the checkpoint it leaves."""

    def __init__(self, run_dir: Path, codes: list[int], checkpoints: list[int]) -> None:
        self.run_dir, self.codes, self.checkpoints = run_dir, codes, checkpoints
        self.calls: list[tuple[int, bool]] = []

    def __call__(self, ranks: int, again: bool) -> int:
        number = len(self.calls)
        self.calls.append((ranks, again))
        step = self.checkpoints[number]
        if step:
            (self.run_dir / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)
        return self.codes[number]


@pytest.mark.parametrize("code", [0, 2, 3, 75, 130])
def test_an_end_that_is_meant_is_not_repeated(tmp_path: Path, code: int) -> None:
    starts = Starts(tmp_path, [code], [0])
    assert supervise(starts, tmp_path, 4, 3) == code
    assert starts.calls == [(4, False)]


def test_a_crash_is_continued_up_to_the_limit(tmp_path: Path) -> None:
    starts = Starts(tmp_path, [137, 1, 137], [1, 2, 3])
    assert supervise(starts, tmp_path, 4, 2) == 137
    assert starts.calls == [(4, False), (4, True), (4, True)]


def test_without_progress_there_is_one_rank_less(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    starts = Starts(tmp_path, [137, 137, 137, 137, 0], [1, 1, 1, 2, 3])
    assert supervise(starts, tmp_path, 3, 4) == 0
    assert [ranks for ranks, _ in starts.calls] == [3, 3, 2, 1, 1]
    assert "restart 4 of 4 on 1 ranks from step-00000002" in capfd.readouterr().err
