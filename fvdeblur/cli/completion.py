"""``fvdeblur completion``: completion of commands and options by the shell."""

from __future__ import annotations

import click

SHELLS = {
    "bash": 'eval "$(fvdeblur completion bash)"      in ~/.bashrc',
    "zsh": 'eval "$(fvdeblur completion zsh)"       in ~/.zshrc, after compinit',
    "fish": "fvdeblur completion fish | source       in ~/.config/fish/config.fish",
}


@click.command(epilog="To have it in every shell:\n\n\b\n" + "\n".join(SHELLS.values()))
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options and their values."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "fvdeblur", "_FVDEBLUR_COMPLETE").source())
