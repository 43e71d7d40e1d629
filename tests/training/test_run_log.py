"""Which run of Weights & Biases a folder belongs to."""

from __future__ import annotations

from pathlib import Path

from training.run_log import wandb_id


def test_a_run_keeps_its_id_and_another_run_gets_another(tmp_path: Path):
    """Going on keeps it; from step 0, and in a folder of the same name elsewhere, it is new."""
    (tmp_path / "mine").mkdir()
    first = wandb_id(tmp_path, 0)
    assert wandb_id(tmp_path, 500) == first
    assert wandb_id(tmp_path / "mine", 500) != first
    again = wandb_id(tmp_path, 0)
    assert again != first
    assert wandb_id(tmp_path, 1) == again
