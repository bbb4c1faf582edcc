"""hvcod on a node whose disk changes a byte of whatever it publishes while a flag file is there.

python corrupting.py FLAG train ...
"""

import os
import sys
from pathlib import Path
from typing import Any

from hvcod.cli.main import main


def corrupt(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))


def main_with_a_bad_disk(flag: Path) -> None:
    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        # The last moment before a checkpoint gets its name.
        if event == "os.rename" and flag.exists():
            source, _, descriptor, _ = arguments
            folder = Path(f"/proc/self/fd/{descriptor}").readlink()
            if folder.name == "published":
                corrupt(folder / source)

    sys.addaudithook(hear)
    main()


if __name__ == "__main__":
    main_with_a_bad_disk(Path(sys.argv.pop(1)))
