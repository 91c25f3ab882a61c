"""What holds for every test, set before torch is imported anywhere."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

# Threads of parallel test processes must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Prepared images of tests are not for the user's own cache.
CACHE = tempfile.mkdtemp(prefix="eyas-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
# Environments of converters take minutes to make, so they are kept from one session to the next.
os.environ.setdefault("EYAS_ENVIRONMENTS", str(Path(sys.prefix) / "eyas-environments"))

# No test is timed, this one no less than another; and a red test is red for everyone.
settings.register_profile("eyas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("eyas")
