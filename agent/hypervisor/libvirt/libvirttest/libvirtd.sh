# Runs libvirtd as on a host of its own: DIRECTORY HOST-UUID CACHE PORT
set -e
dir=$1 id=$2 cache=$3 port=$4
mkdir -p "$dir"/{run,lib,etc,log,sock}
cat >"$dir/etc/libvirtd.conf" <<C
host_uuid = "$id"
unix_sock_dir = "$dir/sock"
auth_unix_ro = "none"
auth_unix_rw = "none"
listen_tls = 0
listen_tcp = 0
log_level = 3
log_outputs = "3:file:$dir/log/libvirtd.log"
C
cat >"$dir/etc/qemu.conf" <<C
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
remember_owner = 0
max_files = 0
migration_port_min = $port
migration_port_max = $((port + 15))
C
# libvirtd looks for hooks when it starts: this one passes on to one that may come.
mkdir -p "$dir/etc/hooks/qemu.d"
cat >"$dir/etc/hooks/qemu.d/test" <<C
#!/bin/sh
[ -x "$dir/hook" ] || exit 0
exec "$dir/hook" "\$@"
C
chmod 755 "$dir/etc/hooks/qemu.d/test"
export dir cache
exec unshare --mount --propagation private bash -ec '
	mount --bind "$dir/run" /run
	mount --bind "$dir/lib" /var/lib/libvirt
	mount --bind "$dir/etc" /etc/libvirt
	mount --bind "$dir/log" /var/log/libvirt
	mount --bind "$cache" /var/cache/libvirt
	# Where there is a /dev/kvm of no use, libvirt would ask QEMU anew at each start what it can do.
	if [ -e /dev/kvm ]; then
		>"$dir/nokvm"
		mount --bind "$dir/nokvm" /dev/kvm
		mount -o remount,bind,ro /dev/kvm
	fi
	mkdir -p /run/libvirt /var/lib/libvirt/qemu
	exec libvirtd --config /etc/libvirt/libvirtd.conf'
