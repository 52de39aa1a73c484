"""The file a worker's interpreter is started on (-I -S): makes the package importable, then works.

Arguments: where else modules are.
"""

import os
import sys

# Appended, not inserted: nothing beside the package may shadow the standard library.
sys.path += [os.path.abspath(f"{os.path.dirname(__file__)}/../../.."), *sys.argv[1:]]

from envd.filesystem.search.worker import main

if __name__ == "__main__":
    main()
