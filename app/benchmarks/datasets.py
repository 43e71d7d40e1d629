"""Where the benchmarks find their data."""

from __future__ import annotations

from pathlib import Path

from ladle.errors import ConfigError

PUSHT = "pusht_cchi_v7_replay.zarr"
ROOT = Path(__file__).parents[2]
FOLDERS = (Path("data"), ROOT / "data", ROOT.parent / "shared" / "data")


def pusht_path() -> Path:
    """The human demonstrations of the Diffusion Policy paper. Raises ConfigError saying where it looked."""
    for folder in FOLDERS:
        if (folder / PUSHT).exists():
            return (folder / PUSHT).resolve()
    raise ConfigError(f"no {PUSHT} in {', '.join(str(folder) for folder in FOLDERS)}; put the Push-T demonstrations of "
                      "the Diffusion Policy paper there, or name them by --dataset")
