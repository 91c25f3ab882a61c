"""What holds for every test, set before torch is imported anywhere."""

import os

from hypothesis import HealthCheck, settings

# Threads of parallel test processes must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test is timed, this one no less than another; and a red test is red for everyone.
settings.register_profile("eyas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eyas")
