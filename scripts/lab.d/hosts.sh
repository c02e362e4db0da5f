# Hosts: namespaces, network, power. Sourced by scripts/lab.
#
# A host is a mount, UTS, network and PID namespace. Its process 1 (host-init) holds them all: when it is killed, the
# kernel ends everything on the host and takes down its mounts and interfaces. So nothing of a lab shows outside but
# its processes and its directory.
#
# LAB/hosts/NAME/   pid (of host-init, with its start time), address, measure (extra boot events),
#                   recorded (whose logs it booted with), log/
#                   fs/ (what is mounted on the host), tpm/ (state of its TPM)
#                   tpm-behaviour (with --tpm-delay: how its TPM behaves now, see host-tpm-relay; log/tpm-commands.log has what it was asked)
# LAB/switch.pid    the process that holds the namespace of the bridge
# LAB/etcd/        the cluster of `up --etcd`: certificates, data and process of each member, in the namespace of the bridge
# LAB/tpm-ca/, LAB/tpm-roots/root.pem   the lab's TPM manufacturer
# LAB/shared/       storage that all hosts share

# What each host has for itself, as "private copy:where it is mounted".
HOST_DIRECTORIES=(
  etc-libvirt:/etc/libvirt
  var-lib-libvirt:/var/lib/libvirt
  var-log-libvirt:/var/log/libvirt
  var-cache-libvirt:/var/cache/libvirt
  swtpm-localca:/var/lib/swtpm-localca
  etc-tvmmp:/etc/tvmmp
  var-lib-tvmmp:/var/lib/tvmmp
  var-log-tvmmp:/var/log/tvmmp
)
# Shared by all labs on the machine, whatever their roots: the mount points that labs had to make.
MOUNT_POINTS_MADE=/run/tvmmp-lab/mount-points

# Runs a command with the lab for itself.
with_lock() {
  mkdir -p "$LAB_ROOT"
  exec {LOCK}>"$LAB_ROOT/.$LAB_NAME.lock"
  flock -w 120 "$LOCK" || die "another command holds lab '$LAB_NAME'"
  "$@"
}

lab_up() {
  local hosts=alpha,beta certs=none etcd=no delay='' name
  local -a extra=()
  while (($#)); do
    case $1 in
      --hosts) hosts=${2?}; shift 2 ;;
      --certs) certs=${2?}; shift 2 ;;
      --etcd) etcd=yes; shift ;;
      --tpm-delay) delay=${2?}; check_delay "$delay"; shift 2 ;;
      --extra-measure) extra+=("${2?}"); shift 2 ;;
      *) die "up: unknown argument '$1'" ;;
    esac
  done
  [[ $certs == none || $certs == self ]] || die "--certs is none or self, not '$certs'"
  if [[ -e $LAB ]]; then
    while read -r name; do
      live "$LAB/hosts/$name/pid" || die "lab '$LAB_NAME' is there and '$name' is down: scripts/lab reboot $name, or scripts/lab down first"
    done <"$LAB/names"
    echo "lab '$LAB_NAME' is up already: $(tr '\n' ' ' <"$LAB/names")"
    return
  fi
  local -a names
  IFS=, read -r -a names <<<"$hosts"
  for name in "${names[@]}"; do
    [[ $name =~ ^[a-z][a-z0-9]{0,11}$ ]] || die "a host's name is up to 12 small letters and digits: '$name'"
  done
  mkdir -p "$LAB/hosts" "$LAB/shared"
  trap 'lab_failed_up' EXIT
  : >"$LAB/.tvmmp-lab"
  printf '%s\n' "${names[@]}" >"$LAB/names"
  printf '%s\n' "$certs" >"$LAB/certs"
  choose_addresses "${names[@]}"
  for name in "${names[@]}"; do
    [[ -z $delay ]] || printf 'ok %s\n' "$delay" >"$LAB/hosts/$name/tpm-behaviour"
  done
  for name in "${extra[@]}"; do
    [[ $name =~ ^([a-z0-9]+):([0-9]+:.+)$ && -d $LAB/hosts/${BASH_REMATCH[1]} ]] || die "--extra-measure wants HOST:PCR:TEXT"
    check_measure "${BASH_REMATCH[2]}"
    printf '%s\n' "${BASH_REMATCH[2]}" >>"$LAB/hosts/${BASH_REMATCH[1]}/measure"
  done
  make_mount_points
  make_tpm_manufacturer
  [[ $certs != self ]] || make_migration_certificates "${names[@]}"
  power_on_switch
  [[ $etcd == no ]] || power_on_etcd
  each_host provision_host "${names[@]}"
  each_host power_on "${names[@]}"
  trap - EXIT
  echo "lab '$LAB_NAME' is up: ${names[*]}"
}

lab_failed_up() {
  local name
  for name in "$LAB"/hosts/*/log/boot.log "$LAB"/hosts/*/fs/var-log-libvirt/libvirtd.log; do
    [[ ! -s $name ]] || { echo "--- $name"; tail -n 20 "$name"; } >&2
  done
  echo "lab: up failed; taking lab '$LAB_NAME' down again" >&2
  lab_down
}

# Runs a function for all hosts at once, and fails if it fails for one.
each_host() {
  local function=$1 name pid failed=0
  local -a pids=()
  shift
  for name; do
    # The lock is not for processes that outlive this command.
    ("$function" "$name") {LOCK}>&- &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  ((failed == 0)) || die "$function failed"
}

# Labs are isolated from each other; the subnet follows from the name so that logs of two labs can be told apart.
choose_addresses() {
  local sum subnet index=0 name
  read -r sum _ < <(printf %s "$LAB_NAME" | cksum)
  subnet=10.$((64 + sum % 64)).$((sum / 64 % 256))
  printf '%s.0/24\n' "$subnet" >"$LAB/subnet"
  for name; do
    mkdir -p "$LAB/hosts/$name/fs" "$LAB/hosts/$name/tpm" "$LAB/hosts/$name/log"
    printf '%s.%s\n' "$subnet" $((++index)) >"$LAB/hosts/$name/address"
    printf '%s.%s %s\n' "$subnet" "$index" "$name" >>"$LAB/etc-hosts"
  done
  printf '127.0.0.1 localhost\n' >>"$LAB/etc-hosts"
}

check_measure() {
  [[ $1 =~ ^(0|[1-9]|1[0-5]):.+$ ]] || die "a measurement is PCR:TEXT with a PCR from 0 to 15: '$1'"
}

make_mount_points() {
  local pair target
  mkdir -p "${MOUNT_POINTS_MADE%/*}"
  {
    flock 9
    for pair in "${HOST_DIRECTORIES[@]}"; do
      target=${pair#*:}
      if [[ ! -d $target ]]; then
        mkdir -p "$target"
        printf '%s\n' "$target" >>"$MOUNT_POINTS_MADE"
      fi
    done
  } 9>"${MOUNT_POINTS_MADE%/*}/lock"
}

# Removes the mount points that labs made, unless a host of any lab still uses them or somebody put something there.
remove_mount_points() {
  [[ -d ${MOUNT_POINTS_MADE%/*} ]] || return 0
  local target left=()
  {
    flock 9
    [[ ! -f $MOUNT_POINTS_MADE ]] || while read -r target; do
      if grep -qsF " $target " /proc/[0-9]*/mountinfo || ! rmdir "$target" 2>/dev/null; then left+=("$target"); fi
    done <"$MOUNT_POINTS_MADE"
    rm -f "$MOUNT_POINTS_MADE"
    if ((${#left[@]})); then
      printf '%s\n' "${left[@]}" >"$MOUNT_POINTS_MADE"
    else
      rm -rf "${MOUNT_POINTS_MADE%/*}"
    fi
  } 9>"${MOUNT_POINTS_MADE%/*}/lock"
}

# The host as it comes from the factory: empty directories, configuration, a TPM with EK certificates.
provision_host() {
  local host=$LAB/hosts/$1 pair port=2321
  [[ ! -e $host/tpm-behaviour ]] || port=2331
  for pair in "${HOST_DIRECTORIES[@]}"; do mkdir -p "$host/fs/${pair%%:*}"; done
  configure_libvirt "$1"
  manufacture_tpm "$1"
  jq -n --arg name "$1" --arg address "$(<"$host/address")" --arg tcti "swtpm:host=127.0.0.1,port=$port" '{
    name: $name,
    tpm: {tcti: $tcti},
    libvirt: {uri: "qemu:///system"},
    listen: {address: $address, port: 16515},
    logs: {
      eventLog: "/var/lib/tvmmp/boot/binary_bios_measurements",
      ima: "/var/lib/tvmmp/boot/binary_runtime_measurements"
    }
  }' >"$host/fs/etc-tvmmp/tvmmpd.json"
}

power_on_switch() {
  setsid unshare --net -- sleep infinity </dev/null >/dev/null 2>&1 {LOCK}>&- &
  disown
  local pid=$! stat
  # Until unshare has become sleep, the namespace is still ours.
  until [[ $(readlink "/proc/$pid/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.01; done
  read -r -a stat <"/proc/$pid/stat"
  printf '%s %s\n' "$pid" "${stat[21]}" >"$LAB/switch.pid"
  nsenter -t "$pid" -n -- sh -c 'ip link add name switch type bridge && ip link set switch up'
}

power_on() {
  local host=$LAB/hosts/$1 name=$1 tries=0 switch address mac
  rm -f "$host/pid"
  setsid unshare --mount --uts --net --pid --fork --kill-child --propagation private -- \
    "$LIB/host-init" "$LAB" "$name" "${HOST_DIRECTORIES[@]}" </dev/null >"$host/log/boot.log" 2>&1 &
  disown
  until live "$host/pid"; do
    ((++tries < 500)) || die "host '$name' does not come up"
    sleep 0.01
  done
  live "$LAB/switch.pid" || die 'the switch is down'
  switch=$LIVE_PID
  live "$host/pid"
  address=$(<"$host/address")
  # A host keeps its network card over reboots: with another MAC its peers would talk to the old one for half a minute.
  mac=$(printf '02:00:%02x:%02x:%02x:%02x' ${address//./ })
  # The kernel takes its time with the network of a host that lost its power: its end of the cable may still be there.
  nsenter -t "$switch" -n -- ip link del dev "$name" 2>/dev/null || true
  nsenter -t "$switch" -n -- \
    ip link add name "$name" up master switch type veth peer name eth0 address "$mac" netns "$LIVE_PID"
  nsenter -t "$LIVE_PID" -n -- sh -c "ip link set lo up && ip addr add '$address/24' dev eth0 && ip link set eth0 up"
  (enter "$name" "$LIB/host-boot" "$LAB" "$name") >>"$host/log/boot.log" 2>&1
}

# A zombie runs no more; in a container it may wait for ever to be reaped.
runs() {
  local stat
  { read -r -a stat <"/proc/$1/stat"; } 2>/dev/null && [[ ${stat[2]} != Z ]]
}

power_off() {
  local host=$LAB/hosts/$1 parent
  live "$host/pid" || return 0
  parent=$(ps -o ppid= -p "$LIVE_PID" | tr -d ' ')
  kill -KILL "$LIVE_PID"
  # The kernel lets process 1 go only after all others of its namespace, and its parent (unshare) goes after it.
  while live "$host/pid"; do sleep 0.01; done
  ((parent == 1)) || while runs "$parent"; do sleep 0.01; done
  rm -f "$host/pid"
}

lab_reboot() {
  local hard=no name= recorded=
  local -a measure=()
  while (($#)); do
    case $1 in
      --hard) hard=yes; shift ;;
      --measure) check_measure "${2?}"; measure+=("$2"); shift 2 ;;
      --recorded) recorded=$(realpath "${2?}"); shift 2 ;;
      -*) die "reboot: unknown argument '$1'" ;;
      *) [[ -z $name ]] || die 'reboot wants one host'; name=$1; shift ;;
    esac
  done
  [[ $name =~ ^[a-z0-9]+$ && -d $LAB/hosts/$name ]] || die "no host '$name' in lab '$LAB_NAME'"
  # A reset without TPM2_Shutdown is a TPM reset all the same, but not an orderly one.
  if [[ $hard == no ]] && live "$LAB/hosts/$name/pid"; then
    (enter "$name" "$LIB/host-tpm" shutdown) || die "the TPM of '$name' refuses to shut down"
  fi
  power_off "$name"
  rm -f "$LAB/hosts/$name/measure" "$LAB/hosts/$name/recorded"
  [[ -z $recorded ]] || printf '%s\n' "$recorded" >"$LAB/hosts/$name/recorded"
  ((${#measure[@]} == 0)) || printf '%s\n' "${measure[@]}" >"$LAB/hosts/$name/measure"
  each_host power_on "$name"
  echo "host '$name' has booted"
}

lab_down() {
  trap - EXIT
  local host
  if [[ -e $LAB ]]; then
    [[ -e $LAB/.tvmmp-lab ]] || die "$LAB is no lab's directory"
    for host in "$LAB"/hosts/*/; do
      [[ ! -d $host ]] || power_off "$(basename "$host")"
    done
    power_off_etcd
    if live "$LAB/switch.pid"; then
      kill -KILL "$LIVE_PID"
      while live "$LAB/switch.pid"; do sleep 0.01; done
    fi
    rm -rf --one-file-system "$LAB"
  fi
  remove_mount_points
  rm -f "$LAB_ROOT/.$LAB_NAME.lock"
  rmdir "$LAB_ROOT" 2>/dev/null || true
  echo "lab '$LAB_NAME' is down"
}
