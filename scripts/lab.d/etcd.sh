# The ledger that the lab's hosts share with `up --etcd`: three members of Debian's etcd at addresses of the bridge. Sourced by scripts/lab.

ETCD_MEMBERS=(m1 m2 m3)

# Runs etcd-cluster where the hosts reach its members.
etcd_cluster() {
  live "$LAB/switch.pid" || die 'the switch is down'
  nsenter -t "$LIVE_PID" -n -- "$LIB/etcd-cluster" "$1" "$LAB/etcd" "${@:2}"
}

power_on_etcd() {
  command -v etcd >/dev/null && command -v etcdctl >/dev/null || die 'etcd is not installed: run scripts/setup'
  local subnet member number=200 name
  local -a addresses=()
  subnet=$(<"$LAB/subnet")
  live "$LAB/switch.pid"
  for member in "${ETCD_MEMBERS[@]}"; do
    addresses+=("${subnet%.0/24}.$((++number)):2379:2380")
    nsenter -t "$LIVE_PID" -n -- ip addr add "${subnet%.0/24}.$number/24" dev switch
  done
  nsenter -t "$LIVE_PID" -n -- ip link set lo up
  etcd_cluster make "${addresses[@]}"
  for member in "${ETCD_MEMBERS[@]}"; do
    # The lock is not for processes that outlive this command.
    etcd_cluster start "$member" {LOCK}>&-
  done
  etcd_cluster secure
  while read -r name; do etcd_cluster user "$name"; done <"$LAB/names"
}

power_off_etcd() {
  local member
  [[ -d $LAB/etcd ]] || return 0
  for member in "${ETCD_MEMBERS[@]}"; do "$LIB/etcd-cluster" stop "$LAB/etcd" "$member"; done
}

# The host's certificate, and its agent's configuration.
configure_etcd() {
  local etc=$LAB/hosts/$1/fs/etc-tvmmp file
  mkdir -p "$etc/etcd"
  cp "$LAB/etcd/ca.pem" "$etc/etcd/ca.pem"
  cp "$LAB/etcd/$1.pem" "$etc/etcd/host.pem"
  install -m 600 "$LAB/etcd/$1-key.pem" "$etc/etcd/host-key.pem"
  file=$etc/tvmmpd.json
  jq --rawfile members "$LAB/etcd/members" '.ledger = {
    kind: "etcd",
    endpoints: [$members | split("\n")[] | select(. != "") | split(" ") | "https://\(.[1]):\(.[2])"],
    ca: "/etc/tvmmp/etcd/ca.pem", certificate: "/etc/tvmmp/etcd/host.pem", key: "/etc/tvmmp/etcd/host-key.pem"
  }' "$file" >"$file.new"
  mv "$file.new" "$file"
}

# usage: etcd start|stop MEMBER, etcd ctl ARGUMENTS...
lab_etcd() {
  [[ -d $LAB/etcd ]] || die "lab '$LAB_NAME' has no etcd: scripts/lab up --etcd"
  case ${1-} in
    start | stop) [[ " ${ETCD_MEMBERS[*]} " == *" ${2-} "* ]] || die 'members are m1, m2 and m3' ;;
    ctl) ;;
    *) die 'usage: scripts/lab etcd start|stop MEMBER, or scripts/lab etcd ctl ARGUMENTS...' ;;
  esac
  etcd_cluster "$@"
}

# usage: ledger HOST sqlite|etcd
lab_ledger() {
  local config
  require_host "${1?}"
  case ${2-} in
    etcd)
      [[ -d $LAB/etcd ]] || die "lab '$LAB_NAME' has no etcd: scripts/lab up --etcd"
      configure_etcd "$1"
      ;;
    sqlite)
      config=$LAB/hosts/$1/fs/etc-tvmmp/tvmmpd.json
      jq 'del(.ledger)' "$config" >"$config.new"
      mv "$config.new" "$config"
      ;;
    *) die 'usage: scripts/lab ledger HOST sqlite|etcd' ;;
  esac
}
