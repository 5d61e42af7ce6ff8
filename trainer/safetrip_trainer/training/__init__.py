"""What Lightning trains: the student, its teacher, and their schedule."""

from safetrip_trainer.training.student import HydraTask
from safetrip_trainer.training.teacher import TeacherTask

__all__ = ["HydraTask", "TeacherTask"]
