"""The stage of a live episode, from the classifier of a checkpoint. Runs on the robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ladle.hysteresis import StageFilter
from ladle.policy import ObservationWindow
from ladle.task import TaskConfig
from training.checkpoint import open_checkpoint
from training.classifier_loading import load_classifier, refuse_other_stages
from training.policy import StageClassifier
from training.schema import ClassifierConfig
from training.window_batch import make_batch


class StageEstimator:
    """The classifier with its hysteresis: every tick that a window newly brings is decided once, in order.

    A classifier that looks at several frames is given those of earlier windows too; before an episode's first frame
    that frame repeats, as in training.
    """

    def __init__(self, classifier: StageClassifier, config: ClassifierConfig, task: TaskConfig, device: str) -> None:
        assert task.stages is not None
        self.observations = config.observations
        self._classifier, self._device = classifier, device
        self._filter = StageFilter(task.stages.hysteresis_ticks)
        self._half_period_s = task.period_s / 2
        self._reach_s = (classifier.n_frames - 0.5) * task.period_s
        self._seen: list[tuple[float, torch.Tensor]] = []  # time and features (F,) of the last n_frames ticks
        self._logits: torch.Tensor | None = None

    @classmethod
    def from_checkpoint(cls, path: Path, task: TaskConfig, device: str) -> StageEstimator:
        """Load a classifier and refuse one for other stages."""
        checkpoint = open_checkpoint(path, "classifier")
        refuse_other_stages(checkpoint, task)
        return cls(load_classifier(checkpoint, device), checkpoint.config(ClassifierConfig), task, device)

    def reset(self) -> None:
        """Forget the episode."""
        self._filter.reset()
        self._seen.clear()

    def update(self, window: ObservationWindow, blind: bool) -> tuple[int, NDArray[np.float64]]:
        """The stage that holds now, and the calibrated probabilities (n_stages,) of the newest observation."""
        if self._seen and window.time_s < self._seen[-1][0]:
            self.reset()  # time ran backwards: another episode
        features = self._classifier.features(make_batch(window, self.observations, self._device, blind))[0]
        for time_s, feature in zip(window.observation_times_s.tolist(), features, strict=True):
            if not self._seen or time_s > self._seen[-1][0] + self._half_period_s:
                self._logits = self._decide(time_s, feature)
                self._filter.update(int(self._logits.argmax()))
        stage = self._filter.stage
        assert stage is not None
        assert self._logits is not None
        return stage, self._classifier.probabilities(self._logits).double().cpu().numpy()

    def _decide(self, time_s: float, feature: torch.Tensor) -> torch.Tensor:
        """Logits (n_stages,) of the tick that is next; after a gap nothing from before it counts."""
        n_frames = self._classifier.n_frames
        self._seen = [*(item for item in self._seen if item[0] > time_s - self._reach_s), (time_s, feature)][-n_frames:]
        features = [item[1] for item in self._seen]
        features = [features[0]] * (n_frames - len(features)) + features
        return self._classifier.classify(torch.stack(features)[None])[0]
