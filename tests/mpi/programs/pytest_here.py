"""Runs pytest as ``python -m pytest`` does. Arguments: its."""

import sys

import pytest

if __name__ == "__main__":
    sys.path[0] = ""
    sys.exit(pytest.main(sys.argv[1:]))
