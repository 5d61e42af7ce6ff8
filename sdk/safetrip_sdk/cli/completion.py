"""`safetrip completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import argparse
import shlex

__all__ = ["EPILOG", "HELP", "SHELLS", "configure", "run"]

HELP = "print a shell's completion script"
EPILOG = """\
exit status: 0 done

examples:
  safetrip completion bash > ~/.local/share/bash-completion/completions/safetrip
  safetrip completion zsh > ~/.zfunc/_safetrip    (with `fpath+=~/.zfunc` before compinit in ~/.zshrc)
  source <(safetrip completion bash)"""

SHELLS = ("bash", "zsh")

_BASH = """\
# bash completion of safetrip; made by `safetrip completion bash`
_safetrip() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
    else
        case "$verb,$before" in
{values}
            *)
                case "$verb" in
{options}
                esac
                [ "${{word:0:1}}" = - ] || words=
                ;;
        esac
    fi
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        compopt -o default
    fi
}}
complete -F _safetrip safetrip
"""

_ZSH = """\
#compdef safetrip
# zsh completion of safetrip; made by `safetrip completion zsh`
autoload -U +X bashcompinit && bashcompinit
{bash}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=SHELLS, help="whose script to print")


def run(args: argparse.Namespace) -> int:
    """Print it; 0."""
    from safetrip_sdk.cli.main import make_parser

    print(script(make_parser()[0], args.shell), end="")
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a parser with verbs: verbs, their options, and values that are listed."""
    (verbs,) = (item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    options, values = [], []
    for verb, child in verbs.choices.items():
        names: list[str] = []
        for action in child._actions:
            names += [name for name in action.option_strings if name.startswith("--")]
            if action.choices is not None:
                # A word without an option before it follows the verb.
                places = action.option_strings or [verb]
                pattern = "|".join(f"{verb},{place}" for place in places)
                words = shlex.quote(" ".join(map(str, action.choices)))
                values.append(f"            {pattern}) words={words} ;;")
        options.append(f"                    {verb}) words={shlex.quote(' '.join(names))} ;;")
    bash = _BASH.format(
        verbs=shlex.quote(" ".join(verbs.choices)), values="\n".join(values), options="\n".join(options)
    )
    return bash if shell == "bash" else _ZSH.format(bash=bash)
