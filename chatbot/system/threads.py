"""How threads that compute together wait for each other."""

import os

SPINS = 10_000


def wait_briefly() -> None:
    """Have OpenMP's threads spin for a moment when they wait, and then sleep, unless the environment says otherwise.

    It must be called before torch is loaded. The next product often comes sooner than a sleeping thread wakes up; but
    threads that spin for as long as OpenMP's default is take the cores from whatever else runs there, and then wait
    for each other.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        # GNU's OpenMP, which torch has on Linux, goes by the count; others know the policy, and just sleep
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT=str(SPINS))
