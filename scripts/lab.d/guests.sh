# Guests. Sourced by scripts/lab.

check_guest_name() {
  [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$ ]] || die "a guest's name is letters, digits, '_', '.' and '-': '$1'"
}

lab_guest_define() {
  local host='' guest='' uuid='' encrypted=no encryption='' accelerator cpu='' secret
  while (($#)); do
    case $1 in
      --uuid) uuid=${2?}; shift 2 ;;
      --encrypted) encrypted=yes; shift ;;
      -*) die "guest-define: unknown argument '$1'" ;;
      *) if [[ -z $host ]]; then host=$1; elif [[ -z $guest ]]; then guest=$1; else die "guest-define: one guest at a time"; fi; shift ;;
    esac
  done
  check_guest_name "$guest"
  uuid=${uuid:-$(uuidgen)}
  [[ $uuid =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] || die "no UUID: '$uuid'"
  forget_console "$guest"
  require_host "$host"
  "$ROOT/scripts/guest/build"
  accelerator=$("$ROOT/scripts/guest/accelerator")
  # KVM's default CPU is fine; under emulation libvirt wants to be told which.
  [[ $accelerator == kvm ]] || cpu="<cpu mode='custom' match='exact'><model>qemu64</model></cpu>"
  if [[ $encrypted == yes ]]; then
    secret=$(uuidgen)
    share_secret "$secret" "$guest"
    encryption="<encryption secret='$secret'/>"
  fi
  truncate -s 1M "$LAB/shared/$guest.img"
  sed -e "s|@ACCELERATOR@|$accelerator|" -e "s|@CPU@|$cpu|" -e "s|@NAME@|$guest|g" -e "s|@UUID@|$uuid|" \
    -e "s|@GUEST@|$ROOT/.cache/guest|g" -e "s|@DISK@|$LAB/shared/$guest.img|" -e "s|@ENCRYPTION@|$encryption|" \
    "$ROOT/scripts/guest/domain.xml" | (enter "$host" virsh --quiet define /dev/stdin)
  echo "$uuid"
}

# A new guest has a new console, unless one of that name still exists on some host.
forget_console() {
  local name
  while read -r name <&3; do
    ! (enter "$name" virsh domstate "$1") >/dev/null 2>&1 || die "there is a guest '$1' on host '$name'"
    rm -f "$LAB/hosts/$name/fs/var-log-libvirt/qemu/$1-console.log"
  done 3<"$LAB/names"
}

# Gives one random vTPM key to every host, for plain libvirt without tvmmp: kept as libvirt keeps secrets, so that the guest
# can start again after a reboot of the host. It is in no argument.
share_secret() {
  local key name xml
  key=$(openssl rand -base64 32)
  xml="<secret ephemeral='no' private='yes'><uuid>$1</uuid><usage type='vtpm'><name>lab $2 $1</name></usage></secret>"
  while read -r name <&3; do
    (enter "$name" virsh --quiet secret-define /dev/stdin) <<<"$xml"
    printf %s "$key" | (enter "$name" virsh --quiet secret-set-value "$1" --file /dev/stdin)
  done 3<"$LAB/names"
}

# Prints every host's part of the guest's console, each line with the host's name before it.
console_lines() {
  local name log
  while read -r name; do
    log=$LAB/hosts/$name/fs/var-log-libvirt/qemu/$1-console.log
    [[ ! -f $log ]] || tr -d '\r' <"$log" | sed "s/^/$name /"
  done <"$LAB/names"
}

# The guest's clock goes on with it, so it orders what several hosts have seen, over migrations and reboots.
lab_guest_ticks() {
  check_guest_name "${1-}"
  local host
  local -a logs=()
  while read -r host; do
    logs+=("$host=$LAB/hosts/$host/fs/var-log-libvirt/qemu/$1-console.log")
  done <"$LAB/names"
  node "$LIB/ticks.mjs" "${logs[@]}"
}

lab_guest_console() {
  check_guest_name "${1-}"
  if [[ ${2-} == --follow ]]; then
    exec tail -n +1 -F "$LAB"/hosts/*/fs/var-log-libvirt/qemu/"$1"-console.log
  fi
  console_lines "$1"
}
