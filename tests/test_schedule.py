"""The rate of each step, and how many steps fit into the minutes."""

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatbot.config.settings import TrainingConfig
from chatbot.training.schedule import FILLED, FIRST_LOOK, Schedule


def test_the_rate_rises_then_falls_to_zero() -> None:
    settings = TrainingConfig(steps=1000, warmup_steps=100, learning_rate=2.0)
    rates = [Schedule(settings).learning_rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[100] == pytest.approx(2.0)
    assert rates[550] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.0, abs=1e-12)
    constant = dataclasses.replace(settings, schedule="constant")
    assert Schedule(constant).learning_rate(999) == 2.0


@given(
    asked=st.integers(2, 10_000),
    taken=st.integers(2, 10_000),
    each=st.floats(1e-3, 1e3),
    late=st.floats(0, 100),
    minutes=st.floats(0, 100),
    warmup=st.integers(0, 1000),
)
def test_a_schedule_takes_the_steps_that_fit_into_its_minutes(
    asked: int, taken: int, each: float, late: float, minutes: float, warmup: int
) -> None:
    taken = min(asked, taken)
    schedule = Schedule(TrainingConfig(steps=asked, warmup_steps=warmup, learning_rate=1.0, max_minutes=minutes))
    schedule.look(1, late)  # what came before the first step says nothing of the speed
    seconds = late + (taken - 1) * each
    schedule.look(taken, seconds)
    if not minutes or seconds < FIRST_LOOK * schedule.limit:  # no limit, or too soon to tell
        assert schedule.steps == asked
        return
    left = FILLED * schedule.limit - seconds
    fits = max(0.0, left / each)
    assert schedule.steps == pytest.approx(min(asked, taken + fits), abs=1 + 1e-6 * fits)
    assume(schedule.steps < asked)
    assert max(0.0, left) + each > (schedule.steps - taken) * each * (1 - 1e-6)
    assert schedule.learning_rate(schedule.steps) == pytest.approx(0.0, abs=1e-12)
    assert schedule.learning_rate(schedule.steps // 10) > 0.95  # and it had risen before


def test_a_schedule_gets_its_steps_back_where_a_training_gets_faster() -> None:
    schedule = Schedule(TrainingConfig(steps=1000, max_minutes=1.0))
    schedule.look(0, 0.0)
    schedule.look(100, 20.0)
    assert schedule.steps == pytest.approx(100 + 191, abs=1)  # 38.2 seconds are left at 5 steps a second
    schedule.look(200, 22.0)
    assert schedule.steps == pytest.approx(200 + 329, abs=1)
    schedule.look(900, 30.0)
    assert schedule.steps == 1000


def test_a_resumed_training_begins_with_the_rate_of_the_minutes_that_it_has_anew() -> None:
    settings = TrainingConfig(steps=1000, warmup_steps=0, learning_rate=1.0, max_minutes=1.0)
    schedule = Schedule(settings)
    schedule.resume(300, 60.0)
    assert schedule.steps == pytest.approx(300 + 291, abs=1)
    assert schedule.learning_rate(300) == pytest.approx(0.49, abs=0.01)
    fast = Schedule(settings)
    fast.resume(300, 6.0)
    assert [fast.learning_rate(step) for step in range(1001)] == [
        Schedule(settings).learning_rate(step) for step in range(1001)
    ]


def test_a_constant_rate_takes_its_steps_until_the_minutes_end() -> None:
    schedule = Schedule(TrainingConfig(steps=1000, max_minutes=1.0, schedule="constant"))
    schedule.look(1, 0.0)
    schedule.look(100, 59.0)
    assert schedule.steps == 1000
