"""The short form of the kill test: scripts/kill-test is the long one."""

from pathlib import Path

import pytest

from tests.kill_test import kill_test

pytestmark = pytest.mark.alone


def test_killed_ranks_do_not_change_a_bit(tmp_path: Path) -> None:
    result = kill_test(tmp_path, kills=4, kills_per_run=4, seed=1)
    assert result.kills >= 4
    assert result.different == []
