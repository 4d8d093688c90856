"""The rate of each step, and how many steps fit into the minutes."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbot.config.settings import TrainingConfig
from chatbot.training.schedule import Schedule


def test_the_rate_rises_then_falls_to_zero() -> None:
    settings = TrainingConfig(steps=1000, warmup_steps=100, learning_rate=2.0)
    rates = [Schedule(settings).learning_rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[100] == pytest.approx(2.0)
    assert rates[550] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)
    constant = dataclasses.replace(settings, schedule="constant")
    assert Schedule(constant).learning_rate(999) == 2.0


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(1e-6, 1e5), st.floats(0, 100))
def test_a_schedule_takes_the_steps_that_fit_into_its_minutes(
    asked: int, taken: int, seconds: float, minutes: float
) -> None:
    taken = min(asked, taken)
    schedule = Schedule(TrainingConfig(steps=asked, warmup_steps=0, learning_rate=1.0, max_minutes=minutes))
    schedule.fit(taken, taken, seconds)
    share = seconds / (60 * minutes) if minutes else 0.0
    if share < 0.1:  # too soon to tell, or no limit
        assert schedule.steps == asked
    elif schedule.steps < asked:
        assert schedule.learning_rate(schedule.steps) == pytest.approx(0.0, abs=1e-12)
        if schedule.steps > taken:  # at this speed the steps end within 97% of the minutes, and one more would not
            assert share * schedule.steps / taken <= 0.97 + 1e-9 < share * (schedule.steps + 1) / taken + 2e-9
    else:
        assert asked == taken or share * asked / taken <= 0.97 + 1e-9


def test_a_schedule_gets_its_steps_back_where_a_training_gets_faster() -> None:
    schedule = Schedule(TrainingConfig(steps=1000, max_minutes=1.0))
    schedule.fit(100, 100, 20.0)
    assert schedule.steps == pytest.approx(100 + 191, abs=1)  # 38.2 seconds are left at 5 steps a second
    schedule.fit(200, 200, 22.0)
    assert schedule.steps == pytest.approx(200 + 329, abs=1)
    schedule.fit(900, 900, 30.0)
    assert schedule.steps == 1000


def test_a_constant_rate_takes_its_steps_until_the_minutes_end() -> None:
    schedule = Schedule(TrainingConfig(steps=1000, max_minutes=1.0, schedule="constant"))
    schedule.fit(100, 100, 59.0)
    assert schedule.steps == 1000
