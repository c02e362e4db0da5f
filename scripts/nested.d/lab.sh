# Commands of scripts/lab for a nested lab. Sourced by scripts/lab.

# The last number of their addresses.
declare -A NESTED_MACHINES=([authority]=10 [alpha]=11 [beta]=12)

# usage: up --nested [--hosts authority,alpha,beta]: machines as delivered: libvirt, a TPM, tvmmp's files; nothing set up.
nested_up() {
  local hosts=authority,alpha,beta name
  local -a names
  while (($#)); do
    case $1 in
      --nested) shift ;;
      --hosts) hosts=${2?}; shift 2 ;;
      *) die "up --nested: unknown argument '$1'" ;;
    esac
  done
  IFS=, read -r -a names <<<"$hosts"
  for name in "${names[@]}"; do
    [[ -n ${NESTED_MACHINES[$name]-} ]] || die "machines of a nested lab are authority, alpha and beta, not '$name'"
  done
  if [[ -e $LAB ]]; then
    [[ -e $LAB/nested ]] || die "lab '$LAB_NAME' is there, and is not nested: scripts/lab down first"
    echo "lab '$LAB_NAME' is up already"
    return
  fi
  IMAGE=$("$NESTED/image")
  "$ROOT/scripts/guest/build"
  mkdir -p "$LAB/hosts" "$LAB/product"
  trap 'nested_failed_up' EXIT
  : >"$LAB/.tvmmp-lab"
  : >"$LAB/nested"
  printf '%s\n' "${names[@]}" >"$LAB/names"
  free_port >"$LAB/lan-port"
  mkdir "$LAB/boot"
  find "$IMAGE" -type f ! -name root.img ! -name complete -exec cp {} "$LAB/boot/" \;
  make_product_image
  make_ssh_keys
  make_tpm_manufacturer
  make_libvirt_ca
  for name in "${names[@]}"; do
    provision_machine "$name"
    set_boot "$name" on
  done
  for name in "${names[@]}"; do machine_on "$name"; done
  for name in "${names[@]}"; do machine_booted "$name"; done
  trap - EXIT
  echo "lab '$LAB_NAME' is up: ${names[*]}"
}

nested_failed_up() {
  local log
  for log in "$LAB"/hosts/*/log/*.log; do
    [[ ! -s $log ]] || { echo "--- $log"; tail -n 20 "$log"; } >&2
  done
  echo "lab: up failed; taking lab '$LAB_NAME' down again" >&2
  nested_down
}

nested_down() {
  trap - EXIT
  local name
  for name in "$LAB"/hosts/*/; do
    [[ -d $name ]] || continue
    machine_kill "$(basename "$name")"
  done
  rm -rf --one-file-system "$LAB"
  rm -f "$LAB_ROOT/.$LAB_NAME.lock"
  rmdir "$LAB_ROOT" 2>/dev/null || true
  echo "lab '$LAB_NAME' is down"
}

# Runs a command on a machine, with this standard input and output, in root's home.
nested_exec() {
  local name=$1 words
  shift
  live "$LAB/hosts/$name/qemu.pid" || die "machine '$name' of lab '$LAB_NAME' is off"
  printf -v words '%q ' "$@"
  exec ssh -F "$LAB/ssh/config" "$name" "$words"
}

# usage: reboot HOST [--secure-boot on|off] [--cmdline TEXT]
nested_reboot() {
  local name='' secure=on
  local -a parameters=()
  while (($#)); do
    case $1 in
      --secure-boot) secure=${2?}; shift 2 ;;
      --cmdline) read -r -a parameters <<<"${2?}"; shift 2 ;;
      -*) die "reboot: unknown argument '$1' (of a nested lab: --secure-boot on|off, --cmdline TEXT)" ;;
      *) [[ -z $name ]] || die 'reboot wants one host'; name=$1; shift ;;
    esac
  done
  [[ $secure == on || $secure == off ]] || die "--secure-boot is on or off, not '$secure'"
  [[ ${parameters[*]} != */* ]] || die '--cmdline takes parameters without a slash: the boot menu has them as names of files'
  nested_machine "$name"
  machine_off "$name"
  set_boot "$name" "$secure" "${parameters[@]}"
  machine_on "$name"
  machine_booted "$name"
  echo "host '$name' has booted"
}

# usage: power HOST off|on
nested_power() {
  nested_machine "${1-}"
  case ${2-} in
    off) machine_off "$1" ;;
    on)
      ! live "$LAB/hosts/$1/qemu.pid" || die "machine '$1' is on"
      machine_on "$1"
      machine_booted "$1"
      ;;
    *) die 'usage: scripts/lab power HOST off|on' ;;
  esac
}

nested_machine() {
  [[ ${1-} =~ ^[a-z]+$ && -d $LAB/hosts/$1 ]] || die "no host '${1-}' in lab '$LAB_NAME'"
}

nested_status() {
  local name state
  while read -r name; do
    state=off
    ! live "$LAB/hosts/$name/qemu.pid" || state=on
    jq -n --arg name "$name" --arg address "$(<"$LAB/hosts/$name/address")" --arg state "$state" '$ARGS.named'
  done <"$LAB/names" | jq -s --arg name "$LAB_NAME" --arg directory "$LAB" '{name: $name, kind: "nested", directory: $directory, hosts: .}' |
    if [[ ${1-} == --json ]]; then cat; else jq -r '"nested lab \(.name) (\(.directory))", (.hosts[] | "  \(.name) \(.address) \(.state)")'; fi
}
