"""The file a lean interpreter (-I -S) is started on: makes the package importable, then runs the keeper.

Arguments: the server's whole command line.
"""

import os
import sys

# Appended, not inserted: nothing beside the package may shadow the standard library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from envd.keeper.keeper import Keeper

if __name__ == "__main__":
    sys.exit(Keeper(sys.argv[1:]).run())
