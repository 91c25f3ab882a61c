"""Set before torch is imported anywhere: threads of parallel test processes must not spin while they wait."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
