# What runs on the hosts: libvirt, agent, TPM, network link. Sourced by scripts/lab.

# libvirt as one daemon that runs everything as root, without systemd, cgroups or a security driver: see the lab's
# limits in the README. The key of a vTPM and the migration gate do not depend on any of these.
configure_libvirt() {
  local etc=$LAB/hosts/$1/fs/etc-libvirt
  mkdir -p "$etc/hooks" "$LAB/hosts/$1/fs/etc-tvmmp/migration-tls" "$LAB/hosts/$1/fs/var-log-libvirt/qemu"
  cat >"$etc/libvirtd.conf" <<CONF
host_uuid = "$(uuidgen)"
listen_tls = 0
listen_tcp = 1
listen_addr = "$(<"$LAB/hosts/$1/address")"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
CONF
  cat >"$etc/qemu.conf" <<'CONF'
user = "root"
group = "root"
swtpm_user = "root"
swtpm_group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
migrate_tls_x509_cert_dir = "/etc/tvmmp/migration-tls"
migrate_tls_x509_verify = 1
CONF
}

host_libvirtd() { (enter "$1" "$LIB/host-libvirtd" "$2"); }
lab_start_libvirtd() { host_libvirtd "${1?}" start; }
lab_stop_libvirtd() { host_libvirtd "${1?}" stop; }
lab_restart_libvirtd() { host_libvirtd "${1?}" stop && host_libvirtd "$1" start; }
lab_reload() { enter "${1?}" bash -c 'kill -HUP "$(</run/libvirtd.pid)"'; }

lab_tpm_extend() {
  [[ $# -eq 3 ]] || die 'usage: scripts/lab tpm-extend HOST PCR DIGEST'
  enter "$1" "$LIB/host-tpm" extend "$2" "$3"
}

lab_run_file() {
  [[ $# -eq 3 ]] || die 'usage: scripts/lab run-file HOST PATH CONTENTS'
  enter "$1" "$LIB/host-tpm" run --ima /var/lib/tvmmp/boot/binary_runtime_measurements "$2" "$3"
}

check_delay() {
  [[ $1 =~ ^(0|[1-9][0-9]{0,4})$ ]] || die "milliseconds a TPM command, up to 99999: '$1'"
}

# How a host's TPM behaves from the next command on.
lab_tpm() {
  local usage='usage: scripts/lab tpm HOST [delay MS | fail | drop | hang | ok]' file mode delay
  (($# >= 1)) || die "$usage"
  require_host "$1"
  file=$LAB/hosts/$1/tpm-behaviour
  [[ -s $file ]] || die "nothing stands before the TPM of '$1': scripts/lab up --tpm-delay MS (0 for a TPM as it is)"
  read -r mode delay <"$file"
  case $#:${2-} in
    1:) echo "$mode, $delay ms a command"; return ;;
    2:fail | 2:drop | 2:hang | 2:ok) mode=$2 ;;
    3:delay) check_delay "$3"; delay=$3 ;;
    *) die "$usage" ;;
  esac
  printf '%s %s\n' "$mode" "$delay" >"$file.new"
  mv "$file.new" "$file"
}

# Both directions of the cable, as the switch's side of it goes.
lab_link() {
  [[ $# -eq 2 && ($2 == up || $2 == down) ]] || die 'usage: scripts/lab link HOST up|down'
  require_host "$1"
  live "$LAB/switch.pid" || die 'the switch is down'
  nsenter -t "$LIVE_PID" -n -- ip link set "$1" "$2"
}

lab_start_agent() {
  local pidfile
  require_host "${1?}"
  pidfile=$LAB/hosts/$1/agent.pid
  ! live "$pidfile" || die "the agent of '$1' runs already"
  [[ -f $ROOT/dist/agent/main.js ]] || die 'tvmmpd is not built: run scripts/setup'
  require_host "$1"
  nsenter -t "$LIVE_PID" -m -u -n -p -- env "TVMMP_NODE=$(command -v node)" "$LIB/host-agent" start "$ROOT/packaging/tvmmpd"
  # The host knows the agent by another process id than we do.
  record_outer_pid "$1" /run/tvmmpd-lab.pid "$pidfile"
  local tries=0
  until (enter "$1" "$LIB/bin/tvmmp" status) >/dev/null 2>&1; do
    live "$pidfile" && ((++tries < 200)) || die "the agent of '$1' does not answer: $(tail -n 1 "$LAB/hosts/$1/fs/var-log-tvmmp/tvmmpd.log")"
    sleep 0.05
  done
}

lab_stop_agent() {
  require_host "${1?}"
  nsenter -t "$LIVE_PID" -m -u -n -p -- "$LIB/host-agent" stop
  rm -f "$LAB/hosts/$1/agent.pid"
}

# Finds the process that the host calls by the id in its file, and records it as we see it.
record_outer_pid() {
  local host=$1 inner candidate
  inner=$(enter "$host" cat "$2")
  require_host "$host"
  for candidate in $(grep -lsE "^NSpid:.*[[:space:]]$inner\$" /proc/[0-9]*/status); do
    candidate=${candidate%/status}
    [[ $(readlink "$candidate/ns/pid") == "$(readlink "/proc/$LIVE_PID/ns/pid")" ]] || continue
    local -a stat
    { read -r -a stat <"$candidate/stat"; } 2>/dev/null || return 0
    printf '%s %s\n' "${stat[0]}" "${stat[21]}" >"$3"
  done
}
