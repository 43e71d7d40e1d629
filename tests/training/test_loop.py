"""The training loop: parts of a batch, what is not a number, memory that runs out, number formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ladle.errors import ConfigError, LadleError
from training import classifier_training, loop, train, train_classifier
from training.checkpoint import open_checkpoint
from training.out_of_memory import named_out_of_memory
from training.parts import DrawsOfPart, part_generator
from training.policy import DiffusionPolicy
from training.precision import loss_scaler
from training.run_log import read_log
from training.train import run


def start(overrides: list[str], buffer: Path, output: Path, *more: str) -> Path:
    """Train a policy without stages for a few steps."""
    return run([*overrides, f"task.dataset_path={buffer}", f"training.output_dir={output}", "observations.stage=none",
                "training.max_steps=6", *more])


def losses(folder: Path) -> list[float]:
    """Of a run, in order."""
    return [row["train_loss"] for row in read_log(folder)]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The trained weights, not their averages."""
    state = open_checkpoint(checkpoint, "policy").tensors("train_state.safetensors")
    return {name: value for name, value in state.items() if name.startswith("module.")}


@pytest.fixture(scope="module")
def whole(tiny_overrides: list[str], scoop_buffer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of six steps on whole batches of eight."""
    return start(tiny_overrides, scoop_buffer, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("parts", [2, 8])
def test_accumulated_parts_equal_one_large_batch(parts: int, whole: Path, tiny_overrides: list[str],
                                                 scoop_buffer: Path, tmp_path: Path):
    """Same losses and same weights up to rounding, crops and noise included."""
    checkpoint = start(tiny_overrides, scoop_buffer, tmp_path, f"training.gradient_accumulation={parts}")
    assert losses(tmp_path) == pytest.approx(losses(whole.parents[1]), rel=1e-5)
    theirs = weights(whole)
    for name, value in weights(checkpoint).items():
        # AdamW divides by a gradient's own size, which makes rounding of tiny gradients as large as a step.
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=2e-3, msg=name)


def test_a_part_has_its_rows_of_the_whole_batchs_noise():
    """Four parts together draw what one batch of eight draws; what dropout is seeded with differs."""
    whole = torch.Generator().manual_seed(5)
    drawn = [torch.randn((8, 3), generator=whole), torch.randint(0, 99, (8,), generator=whole)]
    rows: list[list[torch.Tensor]] = []
    seeds: set[int] = set()
    for part in range(4):
        generator = part_generator(torch.Generator().manual_seed(5), part)
        seeds.add(generator.initial_seed())
        with DrawsOfPart(part, 4):
            rows.append([torch.randn((2, 3), generator=generator), torch.randint(0, 99, (2,), generator=generator)])
    for number, expected in enumerate(drawn):
        assert torch.equal(torch.cat([row[number] for row in rows]), expected)
    assert len(seeds) == 4


def test_a_batch_that_does_not_divide_is_refused(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path):
    """The error names a size that does."""
    with pytest.raises(ConfigError, match=r"batch_size=8 .* gradient_accumulation=3; set it to 9"):
        start(tiny_overrides, scoop_buffer, tmp_path, "training.gradient_accumulation=3")


def test_a_killed_run_with_accumulation_goes_on_exactly(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch):
    """The losses after the last checkpoint are bit for bit those of the uninterrupted run."""
    chosen = ["training.gradient_accumulation=2", "training.schedule=linear", "training.checkpoint_every=2"]
    start(tiny_overrides, scoop_buffer, tmp_path / "whole", *chosen)
    real = loop.step_generator

    def dying(seed: int, now: int, device: str) -> torch.Generator:
        if now == 5:
            raise InterruptedError
        return real(seed, now, device)

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(loop, "step_generator", dying)
        start(tiny_overrides, scoop_buffer, tmp_path / "killed", *chosen)
    start(tiny_overrides, scoop_buffer, tmp_path / "killed", *chosen)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_what_is_not_a_number_stops_the_run(where: str, tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch):
    """One line; the batch of that step is kept with step and seed, and the last checkpoint is from before."""
    real, calls = DiffusionPolicy.compute_loss, 0

    def bad(self: DiffusionPolicy, batch: object, generator: torch.Generator) -> torch.Tensor:
        nonlocal calls
        loss = real(self, batch, generator)  # type: ignore[arg-type]
        calls += self.training
        if calls < 4:
            return loss
        # The square root of zero has a value and no gradient.
        return loss * torch.nan if where == "loss" else loss + ((loss - loss) ** 2).sqrt()

    monkeypatch.setattr(DiffusionPolicy, "compute_loss", bad)
    with pytest.raises(LadleError, match=rf"the {where} became nan at step 3; .*seed 42.* is in ") as caught:
        start(tiny_overrides, scoop_buffer, tmp_path, "training.checkpoint_every=1", "training.max_gradient_norm=null")
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "checkpoints/latest/meta.json").read_text())["step"] == 3
    assert all(bool(value.isfinite().all()) for value in weights(tmp_path / "checkpoints/latest").values())
    with safe_open(tmp_path / "not_finite_step=000003.safetensors", "pt") as file:
        assert file.metadata() == {"step": "3", "seed": "42"}
        assert file.get_tensor("images.camera_1").dtype == torch.uint8
        assert len(file.get_tensor("action")) == 8


def test_weights_that_are_not_numbers_are_never_a_checkpoint(tiny_overrides: list[str], scoop_buffer: Path,
                                                             tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A step may overflow though loss and gradient are finite."""
    real = torch.optim.AdamW.step

    def overflow(self: torch.optim.AdamW, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with pytest.raises(ConfigError, match="the weights became nan at step 0"):
        start(tiny_overrides, scoop_buffer, tmp_path, "training.checkpoint_every=1")
    assert not (tmp_path / "checkpoints" / "latest").exists()


@pytest.mark.parametrize("where", [
    (DiffusionPolicy, "compute_loss"), (train, "load_steps"), (DiffusionPolicy, "fit_normalizers")],
    ids=["step", "frames", "normaliser"])
@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nGPU 0 has"), MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
])
def test_memory_that_runs_out_is_one_line(
    where: tuple[object, str], error: Exception, tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """It names batch size, crop and precision, whatever allocator failed and wherever."""
    def fails(*_: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(*where, fails)
    with pytest.raises(ConfigError) as caught:
        start(tiny_overrides, scoop_buffer, tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert all(part in text for part in ("training.batch_size=8", "crop_px", "training.precision=float32"))


def test_memory_that_runs_out_before_the_classifiers_fit_is_one_line(
    scoop_buffer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Loading its frames takes the most."""
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(classifier_training, "load_steps", fails)
    with pytest.raises(ConfigError, match=r"out of memory on cpu .*training\.batch_size=.*lower data\.ram_limit_mb"):
        train_classifier.run([f"task.dataset_path={scoop_buffer}", f"training.output_dir={tmp_path}"])


def test_the_processors_allocator_and_numpys_are_recognised():
    """Real allocations that no machine can make; another RuntimeError keeps its traceback."""
    text = ("training: {device: cpu, batch_size: 4, gradient_accumulation: 1}\nobservations: {images: []}\n"
            "encoder: {crop_px: null}\n")
    with pytest.raises(ConfigError, match="batch_size=4"), named_out_of_memory(text, "float32"):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="batch_size=4"), named_out_of_memory(text, "float32"):
        np.empty(1 << 60, np.uint8)
    with pytest.raises(RuntimeError, match="size mismatch"), named_out_of_memory(text, "float32"):
        raise RuntimeError("size mismatch")


@pytest.mark.parametrize("name", ["fp16", "float16"])
def test_float16_needs_cuda(name: str, tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path):
    """Refused on a processor in one line."""
    with pytest.raises(ConfigError, match=r"precision=float16 needs CUDA, and training\.device is cpu"):
        start(tiny_overrides, scoop_buffer, tmp_path, f"training.precision={name}")
    assert not list(tmp_path.iterdir())


def test_bf16_is_bfloat16(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path):
    """The short name trains in it; only float16 scales its losses."""
    folder = start(tiny_overrides, scoop_buffer, tmp_path, "training.precision=bf16", "training.max_steps=1")
    assert json.loads((folder / "meta.json").read_text())["precision"] == "bfloat16"
    assert not loss_scaler("bfloat16", "cpu").is_enabled()


def test_training_can_be_kept_to_a_few_episodes(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path):
    """Of three episodes one is trained on: its start alone is in the checkpoint, and an epoch is a third as long."""
    folder = start(tiny_overrides, scoop_buffer, tmp_path, "training.max_train_episodes=1", "training.max_steps=2")
    assert len(json.loads((folder / "starts.json").read_text())) == 1
    batch, epoch = 8, read_log(tmp_path)[1]["epoch"]
    assert batch / epoch < 35, "windows of one episode of at most 30 steps"


def test_an_average_with_no_decay_is_the_weights(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
                                                 whole: Path):
    """Averaging is on by default; max_decay=0 ends it."""
    def same(folder: Path) -> bool:
        ema, raw = open_checkpoint(folder, "policy").tensors("ema.safetensors"), weights(folder)
        return all(bool((raw[f"module.{name}"] == value).all()) for name, value in ema.items())

    assert not same(whole)
    assert same(start(tiny_overrides, scoop_buffer, tmp_path, "ema.max_decay=0"))


def test_what_is_validated_is_what_is_deployed(tiny_overrides: list[str], scoop_buffer: Path, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch):
    """The averaged weights of the checkpoint, and not the trained ones."""
    validated: list[dict[str, torch.Tensor]] = []

    def validate(_: object, module: torch.nn.Module) -> dict[str, float]:
        validated.append({name: value.clone() for name, value in module.state_dict().items()})
        return {"val_loss": 1.0, "val_action_error": 0.5}

    monkeypatch.setattr("training.train.Validation.__call__", validate)
    checkpoint = start(tiny_overrides, scoop_buffer, tmp_path, "training.max_steps=3")
    averaged = open_checkpoint(checkpoint, "policy").tensors("ema.safetensors")
    assert all(torch.equal(validated[-1][name], value) for name, value in averaged.items())
    assert any(not torch.equal(value, averaged[name.removeprefix("module.")])
               for name, value in weights(checkpoint).items())
