# What there is. Sourced by scripts/lab.

# The host's state as JSON.
host_status() {
  local host=$LAB/hosts/$1 state=down pid=null tpm=false libvirtd=false agent=false domains='[]'
  if live "$host/pid"; then
    state=up pid=$LIVE_PID
    domains=$(enter "$1" "$LIB/host-status")
    [[ $domains != *'"tpm"'* ]] || tpm=true
    [[ $domains != *'"libvirtd"'* ]] || libvirtd=true
    domains=$(jq -c .domains <<<"$domains")
    ! live "$host/agent.pid" || agent=true
  fi
  jq -n --arg name "$1" --arg address "$(<"$host/address")" --arg state "$state" --argjson pid "$pid" \
    --argjson tpm "$tpm" --argjson libvirtd "$libvirtd" --argjson agent "$agent" --argjson domains "$domains" \
    '$ARGS.named'
}

lab_status() {
  local name json
  [[ -f $LAB/names ]] || die "there is no lab '$LAB_NAME'"
  json=$(
    while read -r name; do host_status "$name"; done <"$LAB/names" |
      jq -s --arg name "$LAB_NAME" --arg directory "$LAB" --arg subnet "$(<"$LAB/subnet")" --arg certs "$(<"$LAB/certs")" \
        '{name: $name, directory: $directory, subnet: $subnet, certs: $certs, hosts: .}'
  )
  if [[ ${1-} == --json ]]; then
    printf '%s\n' "$json"
  else
    jq -r '"lab \(.name) (\(.directory), \(.subnet), certificates: \(.certs))",
      (.hosts[] | "  \(.name) \(.address) \(.state)" + (if .state == "up" then
        "  tpm: \(if .tpm then "up" else "down" end)  libvirtd: \(if .libvirtd then "up" else "down" end)" +
        "  agent: \(if .agent then "up" else "down" end)" else "" end),
      (.domains[] | "    \(.name): \(.state)"))' <<<"$json"
  fi
}

lab_list() {
  local lab
  for lab in "$LAB_ROOT"/*/.tvmmp-lab; do
    [[ -e $lab ]] || continue
    lab=${lab%/.tvmmp-lab}
    printf '%s: %s\n' "${lab##*/}" "$(paste -sd' ' "$lab/names")"
  done
}
