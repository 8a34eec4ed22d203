"""What Python users call: train and distill networks, evaluate, use, save and load the result."""

from understudy.api.batches import DistillationBatches, TaughtBatch
from understudy.api.inference import create_model, evaluate, predict
from understudy.api.inputs import RunOptions
from understudy.api.student import Student
from understudy.api.teacher import Teacher
from understudy.api.training import distill, train
from understudy.teachers.acceptance import TeacherCheck

__all__ = [
    "DistillationBatches",
    "RunOptions",
    "Student",
    "TaughtBatch",
    "Teacher",
    "TeacherCheck",
    "create_model",
    "distill",
    "evaluate",
    "predict",
    "train",
]
