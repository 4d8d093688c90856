"""How many steps a training takes, and the rate of each."""

import math

from ..config.settings import TrainingConfig

FIRST_LOOK = 0.1  # share of the minutes after which the speed of a training is known well enough
FILLED = 0.97  # share of the minutes that steps may fill: the last validation and the last save come after them


class Schedule:
    """A rate that rises linearly, and then stays constant or falls as a cosine to zero at the last step.

    If the minutes do not suffice for all steps, the last ones are left out. Then the rate falls to zero sooner, which
    is better than a stop at a high rate (budgeted training: Li, Yumer and Ramanan 2020, arXiv:1905.04753). A constant
    rate gains nothing by that, so it goes on until the minutes end.

    settings: of the training. steps: how many it takes, as far as is known. limit: seconds of a sitting; 0 is none.
    """

    def __init__(self, settings: TrainingConfig) -> None:
        self.settings = settings
        self.steps = settings.steps
        self.limit = 60 * settings.max_minutes
        self._looked: tuple[int, float] | None = None  # step and seconds at the first look of this sitting

    def learning_rate(self, step: int) -> float:
        """The rate of the update that comes after `step` updates."""
        settings, warmup = self.settings, self.settings.warmup_steps
        if self.steps < settings.steps:
            warmup = min(warmup, self.steps // 10)
        if step < warmup:
            return settings.learning_rate * (step + 1) / warmup
        if settings.schedule == "constant":
            return settings.learning_rate
        done = (step - warmup) / max(1, self.steps - warmup)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def resume(self, step: int, seconds: float) -> None:
        """Go on after `step` updates, which took so many seconds in other sittings: the minutes begin anew."""
        if step:
            self._fit(step, seconds / step, 0.0)

    def look(self, step: int, seconds: float) -> None:
        """Leave out the steps that do not fit, or take them back. The first call only begins to measure the speed.

        Args:
            step: updates so far.
            seconds: since this sitting began, with all validations and saves.
        """
        if self._looked is None:
            self._looked = step, seconds
        elif seconds >= FIRST_LOOK * self.limit:
            self._fit(step, (seconds - self._looked[1]) / (step - self._looked[0]), seconds)

    def _fit(self, step: int, each: float, seconds: float) -> None:
        """Plan the steps that fit, at so many seconds each, into what is left of the minutes."""
        if self.limit and each and self.settings.schedule != "constant":
            left = max(0.0, FILLED * self.limit - seconds) / each
            self.steps = min(self.settings.steps, step + math.floor(left))
