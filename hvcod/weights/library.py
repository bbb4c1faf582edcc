"""The library of safetensors, which is optional."""

from typing import Any

from hvcod.errors import HvcodError


def safetensors_torch() -> Any:
    """Returns the module ``safetensors.torch``; raises HvcodError if it is not installed."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise HvcodError(
            "files that end in .safetensors need the package safetensors: pip install "
            '"hvcod[export]", or name a file that ends in .pt'
        ) from error
    return safetensors.torch
