"""``hvcod completion``."""

import click
from click.shell_completion import get_completion_class

from hvcod.terminal import show

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  laptop   echo 'eval "$(hvcod completion bash)"' >> ~/.bashrc
           echo 'eval "$(hvcod completion zsh)"' >> ~/.zshrc            # after compinit
           hvcod completion fish > ~/.config/fish/completions/hvcod.fish
  cluster  hvcod completion bash > /apps/hvcod/completion.bash          # for a module file
"""


@click.command(epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script by which a shell completes the words of hvcod.

    It completes commands, options and their choices, tasks, presets, experiments, site profiles and
    run directories. bash must be 4.4 or newer. docs/install.md shows how to install it for all
    users of a cluster.
    """
    root = click.get_current_context().find_root()
    completion = get_completion_class(shell)
    assert completion is not None
    show(completion(root.command, {}, "hvcod", "_HVCOD_COMPLETE").source())
