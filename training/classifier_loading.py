"""A stage classifier from its checkpoint. Apart from its training, so that the robot needs no zarr."""

from __future__ import annotations

import json

from ladle.errors import CheckpointError
from ladle.task import TaskConfig
from training.checkpoint import EMA, Checkpoint
from training.policy import StageClassifier
from training.schema import ClassifierConfig

CALIBRATION = "calibration.json"
TEMPERATURE = "temperature"


def load_classifier(checkpoint: Checkpoint, device: str = "cpu") -> StageClassifier:
    """The averaged weights, in evaluation mode, and the temperature; one from before it was fitted has 1."""
    classifier = StageClassifier(checkpoint.config(ClassifierConfig), checkpoint.task)
    classifier.load_state_dict(checkpoint.tensors(EMA))
    if CALIBRATION in checkpoint.meta["sha256"]:
        classifier.temperature = float(json.loads(checkpoint.text(CALIBRATION))[TEMPERATURE])
    return classifier.eval().requires_grad_(False).to(device)


def refuse_other_stages(checkpoint: Checkpoint, task: TaskConfig) -> None:
    """Raise CheckpointError unless the classifier decides between the stages of the task."""
    theirs = checkpoint.task.stages.names if checkpoint.task.stages else ()
    ours = task.stages.names if task.stages else ()
    if theirs != ours:
        raise CheckpointError(f"classifier {checkpoint.folder} decides between {', '.join(theirs) or 'nothing'}, but "
                              f"task {task.name} has {', '.join(ours) or 'no stages'}; train one for this task")
