"""Ends what a killed predecessor of a role left behind, then becomes the role's daemon. Started by the supervisor."""

import os
import sys

from thurn.stack.processes import end_predecessors

if __name__ == "__main__":
    end_predecessors()
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command comes from our own supervisor's configuration
