"""``hvcod`` where a further folder of installed packages is on the path: the first argument."""

import sys

sys.path.append(sys.argv.pop(1))
# A fork of the server has made its flags already, from what is installed for all tests.
for name in [name for name in sys.modules if name.partition(".")[0] == "hvcod"]:
    del sys.modules[name]

if __name__ == "__main__":
    from hvcod.cli.main import main

    main()
