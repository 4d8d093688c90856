"""How many steps a training takes, and the rate of each."""

import math

from ..config.settings import TrainingConfig

FIRST_LOOK = 0.1  # share of the minutes after which the speed of a training is known well enough
FILLED = 0.97  # share of the minutes that steps may fill: the last validation and the last save come after them


class Schedule:
    """A rate that rises linearly, and then stays constant or falls as a cosine to zero at the last step.

    If the minutes do not suffice for all steps, `fit` leaves out the last ones. Then the rate falls to zero sooner,
    which is better than a stop at a high rate (budgeted training: Li, Yumer and Ramanan 2020, arXiv:1905.04753).

    settings: of the training. steps: how many the run takes, as far as is known.
    """

    def __init__(self, settings: TrainingConfig) -> None:
        self.settings = settings
        self.steps = settings.steps

    def learning_rate(self, step: int) -> float:
        """The rate of the update that comes after `step` updates."""
        settings = self.settings
        if step < settings.warmup_steps:
            return settings.learning_rate * (step + 1) / settings.warmup_steps
        if settings.schedule == "constant":
            return settings.learning_rate
        done = (step - settings.warmup_steps) / max(1, self.steps - settings.warmup_steps)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def fit(self, step: int, taken: int, seconds: float) -> None:
        """Let the last step come before the minutes are over. A constant rate gains nothing by that, so it stays.

        Args:
            step: updates so far.
            taken: those of them that were taken since the minutes began, at least 1.
            seconds: since the minutes began, with all validations and saves.
        """
        limit = 60 * self.settings.max_minutes
        if not limit or seconds < FIRST_LOOK * limit or self.settings.schedule == "constant":
            return
        left = taken * max(0.0, FILLED * limit - seconds) / seconds
        self.steps = min(self.settings.steps, step + math.floor(left))
