# Machines of the nested lab: disk, TPM, power, ssh. Sourced by scripts/lab for a lab that was made by `up --nested`.
#
# A machine is a QEMU process with OVMF, a software TPM as its hardware TPM, a disk of its own, and two network cards: one
# through which the lab reaches it by ssh, one to the other machines. No mounts, no devices, no namespaces of the network.
#
# LAB/nested            its kind
# LAB/boot/             what they boot, of the image (scripts/nested.d/image), which may be replaced meanwhile
# LAB/ssh/              keys of machines and lab, ssh's configuration
# LAB/hosts/NAME/       disk.img, variables.fd (the firmware's), esp/ (what it boots from), tpm/, address, port (where ssh
#                       reaches it), qemu.pid and swtpm.pid (with start times), log/

NESTED=$ROOT/scripts/nested.d
PATH=$PATH:/usr/sbin:/sbin
# The file system with tvmmp on it, which the machines measure whole.
TVMMP_FS_UUID=5b5a7d2e-0d0c-4c52-8a1e-7476d6d70001

nested_ssh() {
  ssh -F "$LAB/ssh/config" "$@"
}

# The product as `scripts/setup` builds it, on a file system of its own: what runs needs, without what only builds and tests need.
make_product_image() {
  local tree=$LAB/product/tree path
  mkdir -p "$tree/build/Release"
  cp -r "$ROOT/dist" "$ROOT/package.json" "$ROOT/packaging" "$ROOT/hooks" "$ROOT/README.md" "$tree/"
  cp "$ROOT"/build/Release/{bridge.node,libvirt.node,tvmmp-hook,tvmmp-vtpm-certs} "$tree/build/Release/"
  (cd "$ROOT" && npm ls --omit=dev --all --parseable 2>/dev/null) | while read -r path; do
    [[ $path != "$ROOT" && $path == "$ROOT"/* ]] || continue
    path=${path#"$ROOT"/}
    mkdir -p "$tree/$(dirname "$path")"
    [[ -e $tree/$path ]] || cp -r "$ROOT/$path" "$tree/$path"
  done
  unshare_root mke2fs -q -t ext4 -L tvmmp -U "$TVMMP_FS_UUID" -d "$tree" "$LAB/product/product.img" 256M
  rm -rf "$tree"
}

# Files of whoever runs this are root's on the disk.
unshare_root() {
  if ((EUID == 0)); then "$@"; else unshare --map-root-user -- "$@"; fi
}

make_ssh_keys() {
  local name
  mkdir -p "$LAB/ssh"
  chmod 700 "$LAB/ssh"
  for name in lab host; do ssh-keygen -q -t ed25519 -N '' -C "nested lab" -f "$LAB/ssh/$name"; done
  printf '* %s\n' "$(cut -d' ' -f 1,2 "$LAB/ssh/host.pub")" >"$LAB/ssh/known_hosts"
  cat >"$LAB/ssh/config" <<CONF
Host *
  HostName 127.0.0.1
  User root
  IdentityFile $LAB/ssh/lab
  IdentitiesOnly yes
  UserKnownHostsFile $LAB/ssh/known_hosts
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
  ConnectTimeout 20
  ServerAliveInterval 30
CONF
}

# A port that nobody listens at.
free_port() {
  python3 -c '
import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])'
}

# provision_machine NAME: a copy of the disk, with what makes this machine this one; a TPM with EK certificates.
provision_machine() {
  local name=$1 host=$LAB/hosts/$1 files=$LAB/hosts/$1/files number
  number=${NESTED_MACHINES[$name]}
  mkdir -p "$host/log" "$host/tpm" "$files"
  echo "192.0.2.$number" >"$host/address"
  free_port >"$host/port"
  cat >>"$LAB/ssh/config" <<CONF
Host $name
  Port $(<"$host/port")
CONF
  manufacture_tpm "$name"
  cp --sparse=always --reflink=auto "$IMAGE/root.img" "$host/disk.img"
  : >"$host/writes"
  machine_file "$name" /etc/hostname <<<"$name"
  machine_file "$name" /etc/systemd/network/20-lab.network <<UNIT
[Match]
MACAddress=52:54:00:00:02:$number
[Network]
Address=192.0.2.$number/24
LinkLocalAddressing=no
UNIT
  machine_file "$name" /etc/ssh/ssh_host_ed25519_key 0600 <"$LAB/ssh/host"
  machine_file "$name" /root/.ssh/authorized_keys 0600 <"$LAB/ssh/lab.pub"
  machine_file "$name" /root/.ssh/id_ed25519 0600 <"$LAB/ssh/lab"
  machine_file "$name" /root/.ssh/known_hosts <"$LAB/ssh/known_hosts"
  machine_file "$name" /etc/ima/ima-policy <<POLICY
$(<"$ROOT/packaging/ima-policy")
measure func=FILE_CHECK mask=MAY_READ fsuuid=$TVMMP_FS_UUID
POLICY
  machine_file "$name" /var/lib/libvirt/images/vmlinuz <"$ROOT/.cache/guest/vmlinuz"
  machine_file "$name" /var/lib/libvirt/images/initrd.gz <"$ROOT/.cache/guest/initrd.gz"
  provision_libvirt_tls "$name" "192.0.2.$number"
  debugfs -w -f "$host/writes" "$host/disk.img" >"$host/log/debugfs.log" 2>&1
  ! grep -v -e '^debugfs' -e '^Allocated inode' "$host/log/debugfs.log" >&2 || die "cannot write to the disk of $name"
  rm -r "$files" "$host/writes"
}

# machine_file NAME PATH [MODE]: standard input becomes that file of the disk; directories are made. To be written by debugfs.
machine_file() {
  local host=$LAB/hosts/$1 path=$2 mode=${3:-0644} count part directory=''
  local -a parts
  count=$(find "$host/files" -type f | wc -l)
  cat >"$host/files/$count"
  IFS=/ read -r -a parts <<<"$(dirname "$path")"
  for part in "${parts[@]:1}"; do
    directory+=/$part
    debugfs -R "stat $directory" "$IMAGE/root.img" 2>/dev/null | grep -q '^Inode' || grep -qxF "mkdir $directory" "$host/writes" ||
      echo "mkdir $directory" >>"$host/writes"
  done
  {
    echo "write $host/files/$count $path"
    echo "set_inode_field $path mode 010$mode"
    echo "set_inode_field $path uid 0"
    echo "set_inode_field $path gid 0"
  } >>"$host/writes"
}

# The connection between libvirtds (qemu+tls://), which an operator has already: a CA, a certificate for each host.
provision_libvirt_tls() {
  local ca=$LAB/libvirt-ca key=$LAB/hosts/$1/files/libvirt-key certificate=$LAB/hosts/$1/files/libvirt-cert
  run_openssl req -x509 -CA "$ca/cert.pem" -CAkey "$ca/key.pem" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -days 365 -subj "/CN=$1" -keyout "$key" -out "$certificate" \
    -addext 'basicConstraints=critical,CA:FALSE' -addext 'keyUsage=digitalSignature' \
    -addext 'extendedKeyUsage=serverAuth,clientAuth' -addext "subjectAltName=DNS:$1,IP:$2"
  machine_file "$1" /etc/pki/CA/cacert.pem <"$ca/cert.pem"
  local role
  for role in server client; do
    machine_file "$1" "/etc/pki/libvirt/${role}cert.pem" <"$certificate"
    machine_file "$1" "/etc/pki/libvirt/private/${role}key.pem" 0600 <"$key"
  done
}

make_libvirt_ca() {
  mkdir -p "$LAB/libvirt-ca"
  run_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj '/CN=Lab libvirt CA' \
    -keyout "$LAB/libvirt-ca/key.pem" -out "$LAB/libvirt-ca/cert.pem" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign'
}

# set_boot NAME SECURE-BOOT [PARAMETER...]: what the machine boots with from now on; SECURE-BOOT is on or off.
set_boot() {
  local host=$LAB/hosts/$1 vars=variables.on.fd parameter
  [[ -e $host/$vars ]] || cp "$LAB/boot/vars.ms.fd" "$host/$vars"
  if [[ $2 == off ]]; then
    vars=variables.off.fd
    secure_boot_off <"$host/variables.on.fd" >"$host/$vars"
  fi
  shift 2
  ln -sf "$vars" "$host/variables.fd"
  rm -rf "$host/esp"
  mkdir -p "$host/esp/EFI/BOOT" "$host/esp/EFI/debian" "$host/esp/boot"
  ln "$LAB/boot/shimx64.efi" "$host/esp/EFI/BOOT/BOOTX64.EFI"
  ln "$LAB/boot/grubx64.efi" "$host/esp/EFI/BOOT/grubx64.efi"
  ln "$LAB/boot/vmlinuz" "$host/esp/boot/vmlinuz"
  ln "$LAB/boot/initrd.img" "$host/esp/boot/initrd.img"
  # Beside this text, so that both change apart: GRUB measures what it reads, and these files are not read, but listed.
  mkdir "$host/esp/parameters"
  for parameter; do : >"$host/esp/parameters/$parameter"; done
  # linuxefi, as GRUB does by itself under Secure Boot: the kernel's EFI stub is what keeps the event log.
  cat >"$host/esp/EFI/debian/grub.cfg" <<'GRUB'
search --file --set=root /boot/vmlinuz
for file in ($root)/parameters/*; do
  if regexp --set=1:parameter '([^/*]+)$' "$file"; then set parameters="$parameters $parameter"; fi
done
linuxefi /boot/vmlinuz root=LABEL=nested ro console=ttyS0 quiet $parameters
initrdefi /boot/initrd.img
boot
GRUB
}

# The firmware's variables with Secure Boot switched off as its set-up menu does it: the keys stay, one byte says no
# (SecureBootEnable; an authenticated variable's name, then its value).
secure_boot_off() {
  python3 -c '
import sys
variables = bytearray(sys.stdin.buffer.read())
name = "SecureBootEnable\0".encode("utf-16-le")
at = variables.find(name) + len(name)
assert variables.count(name) == 1 and variables[at] == 1, "the firmware keeps Secure Boot in another way"
variables[at] = 0
sys.stdout.buffer.write(variables)'
}

# record_pid FILE: the start time beside the process id that the file holds, so that `live` knows the process again.
record_pid() {
  local pid stat
  pid=$(tr -d ' \n' <"$1")
  read -r -a stat <"/proc/$pid/stat"
  printf '%s %s\n' "$pid" "${stat[21]}" >"$1"
}

# Switches the machine on, and returns at once. The lock is not for processes that outlive this command.
machine_on() {
  local name=$1 host=$LAB/hosts/$1
  local number
  number=$(<"$host/address")
  number=${number##*.}
  rm -f "$host"/{tpm.sock,qmp.sock,qemu.pid,swtpm.pid}
  swtpm socket --tpm2 --tpmstate "dir=$host/tpm" --ctrl "type=unixio,path=$host/tpm.sock" --terminate --daemon \
    --pid "file=$host/swtpm.pid" --log "file=$host/log/swtpm.log" {LOCK}>&-
  record_pid "$host/swtpm.pid"
  : >"$host/log/serial.log"
  qemu-system-x86_64 -name "$LAB_NAME-$name" -accel tcg,tb-size=512 -machine q35,smm=on -cpu max -smp 1 -m 1024 \
    -nodefaults -no-user-config -display none -daemonize -pidfile "$host/qemu.pid" \
    -uuid "7476d6d7-0000-4000-8000-0000000000$number" \
    -serial "file:$host/log/serial.log" -qmp "unix:$host/qmp.sock,server=on,wait=off" \
    -global driver=cfi.pflash01,property=secure,value=on \
    -drive "if=pflash,format=raw,unit=0,readonly=on,file=$LAB/boot/code.fd" -drive "if=pflash,format=raw,unit=1,file=$host/variables.fd" \
    -chardev "socket,id=tpm,path=$host/tpm.sock" -tpmdev emulator,id=tpm,chardev=tpm -device tpm-crb,tpmdev=tpm \
    -drive "if=none,id=esp,format=raw,readonly=on,file=fat:$host/esp" -device virtio-blk-pci,drive=esp,bootindex=1 \
    -drive "if=none,id=disk,format=raw,cache=unsafe,file=$host/disk.img" -device virtio-blk-pci,drive=disk \
    -drive "if=none,id=product,format=raw,readonly=on,file=$LAB/product/product.img" -device virtio-blk-pci,drive=product \
    -netdev "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:$(<"$host/port")-:22" \
    -device virtio-net-pci,netdev=control,mac=52:54:00:00:01:01,romfile= \
    -netdev "socket,id=lan,mcast=230.0.0.1:$(<"$LAB/lan-port"),localaddr=127.0.0.1" \
    -device "virtio-net-pci,netdev=lan,mac=52:54:00:00:02:$number,romfile=" \
    -device virtio-rng-pci {LOCK}>&-
  record_pid "$host/qemu.pid"
}

# Until systemd has started all that it starts.
machine_booted() {
  local name=$1 host=$LAB/hosts/$1 deadline=$((SECONDS + ${TVMMP_NESTED_BOOT_SECONDS:-600}))
  until nested_ssh "$name" true 2>/dev/null; do
    live "$host/qemu.pid" || die "machine '$name' has ended: $(tail -c 500 "$host/log/serial.log")"
    ((SECONDS < deadline)) || die "machine '$name' does not boot: $(tail -c 500 "$host/log/serial.log")"
    sleep 1
  done
  # degraded: some unit failed, which the caller may look at
  nested_ssh "$name" systemctl is-system-running --wait >/dev/null || true
}

# Shuts the machine down, its TPM too: after a few power cuts that would lock out what is protected against guessing.
machine_off() {
  local deadline=$((SECONDS + 120))
  if live "$LAB/hosts/$1/qemu.pid"; then
    nested_ssh "$1" systemctl poweroff --force 2>/dev/null || true
    while live "$LAB/hosts/$1/qemu.pid" && ((SECONDS < deadline)); do sleep 0.2; done
  fi
  machine_kill "$1"
}

# Cuts the power.
machine_kill() {
  local host=$LAB/hosts/$1
  ! live "$host/qemu.pid" || kill -TERM "$LIVE_PID"
  while live "$host/qemu.pid"; do sleep 0.05; done
  while live "$host/swtpm.pid"; do sleep 0.05; done
  rm -f "$host/qemu.pid" "$host/swtpm.pid"
}
