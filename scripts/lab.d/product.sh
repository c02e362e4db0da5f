# tvmmp on the lab's hosts, installed as an operator would: authority, policy, enrolment, hooks, agents. Sourced by scripts/lab.
#
# LAB/authority/        the authority (on the machine, not on a host: hosts reach it through a pipe)
# LAB/states/NAME.json  measured states that the policy approves
# LAB/policy.json       the signed policy in force

TVMMP=$LIB/bin/tvmmp

# Approves the state that a host is in now, under a name.
measure_state() {
  mkdir -p "$LAB/states"
  (enter "$1" "$TVMMP" host measure --pcrs 0-7 --name "$2" --json) >"$LAB/states/$2.json"
}

# Signs a policy of all measured states, one version above the last.
sign_policy() {
  local version=1
  [[ ! -f $LAB/policy.version ]] || version=$(($(<"$LAB/policy.version") + 1))
  local -a states=()
  local state
  for state in "$LAB"/states/*.json; do states+=(--state "$state"); done
  "$TVMMP" policy new --id lab --version "$version" --pcrs 0-7 "${states[@]}" -o "$LAB/policy.draft.json" >&2
  "$TVMMP" policy sign "$LAB/authority" "$LAB/policy.draft.json" -o "$LAB/policy.json" >&2
  echo "$version" >"$LAB/policy.version"
}

configure_agent() {
  local config=$LAB/hosts/$1/fs/etc-tvmmp/tvmmpd.json
  jq '.libvirt.migrationUri = "qemu+tcp://{host}/system"' "$config" >"$config.new"
  mv "$config.new" "$config"
  [[ ! -d $LAB/etcd ]] || configure_etcd "$1"
}

enroll_host() {
  local via
  printf -v via '%q authority enroll %q --name %q --address %q --ek-roots %q' \
    "$TVMMP" "$LAB/authority" "$1" "$(<"$LAB/hosts/$1/address")" "$LAB/tpm-roots"
  (enter "$1" "$TVMMP" host init --bundle "$LAB/bundle.json") >&2
  (enter "$1" "$TVMMP" host enroll --via "$via") >&2
}

# usage: install HOST...: everything that makes these hosts a trusted pair.
lab_install() {
  local host
  (($#)) || die 'install wants the names of hosts'
  for host; do require_host "$host"; done
  if [[ ! -d $LAB/authority ]]; then
    "$TVMMP" authority init "$LAB/authority" --name lab >&2
    "$TVMMP" authority bundle "$LAB/authority" >"$LAB/bundle.json"
  fi
  for host; do measure_state "$host" "$host"; done
  sign_policy
  for host; do
    configure_agent "$host"
    enroll_host "$host"
    lab_arm "$host"
    lab_start_agent "$host"
  done
}

# usage: arm HOST: the hook alone, as on a host that is not enrolled (yet).
lab_arm() {
  require_host "$1"
  (enter "$1" "$TVMMP" hooks install --reload) >&2
}

# usage: approve HOST NAME: approve the state that the host is in now, and bring the new policy to all enrolled hosts.
lab_approve() {
  local host
  measure_state "$1" "$2"
  sign_policy
  while read -r host; do
    [[ -f $LAB/hosts/$host/fs/etc-tvmmp/ak.pem ]] || continue
    (enter "$host" "$TVMMP" policy install "$LAB/policy.json") >&2
  done <"$LAB/names"
}
