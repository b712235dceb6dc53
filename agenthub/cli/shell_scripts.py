"""What makes shells complete: each script asks `agenthub __complete` for what fits, and shows it as the shell does."""

from __future__ import annotations

_BASH = r"""
_agenthub() {
  local line program=${COMP_WORDS[0]}
  type -P -- "$program" >/dev/null || program=agenthub
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == $'\x1fpaths' ]]; then
      compopt -o default 2>/dev/null
    else
      COMPREPLY+=("$line")
    fi
  done < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -F _agenthub agenthub
"""

_ZSH = r"""
#compdef agenthub
_agenthub() {
  local -a lines found shown
  local line program=${words[1]} paths=
  (( $+commands[$program] )) || [[ -x $program ]] || program=agenthub
  lines=("${(@f)$($program __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for line in $lines; do
    if [[ $line == $'\x1fpaths' ]]; then
      paths=1
    elif [[ $line == *$'\t'* ]]; then
      found+=("${line%%$'\t'*}") shown+=("${line%%$'\t'*} -- ${line#*$'\t'}")
    else
      found+=("$line") shown+=("$line")
    fi
  done
  if (( $#found )); then
    compadd -l -d shown -a found
  elif [[ -n $paths ]]; then
    compset -P '-*='
    _files
  fi
}
if [[ ${funcstack[1]} == _agenthub ]]; then
  _agenthub "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
  compdef _agenthub agenthub
fi
"""

_FISH = r"""
function __agenthub_complete
    set -l words (commandline -opc)
    set -l current (string replace -r -- '^[\'"]' '' (commandline -ct))
    set -l program $words[1]
    command -q -- $program; or set program agenthub
    for line in ($program __complete fish $words[2..] "$current" 2>/dev/null)
        if test "$line" = \x1fpaths
            set -l option (string match -r -- '^-[^=]*=' "$current"; or echo)
            for path in (__fish_complete_path (string replace -r -- '^-[^=]*=' '' "$current"))
                printf '%s\n' $option$path
            end
        else
            printf '%s\n' $line
        end
    end
end
complete -c agenthub -f -a '(__agenthub_complete)'
"""

SCRIPTS = {"bash": _BASH.lstrip(), "zsh": _ZSH.lstrip(), "fish": _FISH.lstrip()}
"""By the name of the shell."""
