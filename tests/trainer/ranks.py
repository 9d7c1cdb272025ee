"""Started by torchrun: runs the jobs of the files it is given, one after another."""

import sys
from pathlib import Path

from trainer.distributed import joined
from trainer.job import read_job

if __name__ == "__main__":
    with joined() as world:
        assert world.size == 2
        for path in sys.argv[1:]:
            read_job(Path(path)).run(world)
