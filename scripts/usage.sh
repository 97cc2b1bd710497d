# Sourced by the scripts beside it, with their arguments: `--help` prints the comment at a
# script's head, and `takes WORD...` refuses what is none of these words.
script=$0
arguments=("$@")

help() {
  sed -n '2,/^[^#]/{ s/^# \{0,1\}//p }' "$script"
}

refuse() {
  echo "$(basename "$script"): $1 (--help says more)" >&2
  exit 2
}

takes() {
  local argument
  for argument in "${arguments[@]}"; do
    [[ " $* " == *" $argument "* ]] || refuse "unknown argument '$argument', expected ${*:-none}"
  done
}

case " $* " in
  *" --help "* | *" -h "*) help; exit ;;
esac
