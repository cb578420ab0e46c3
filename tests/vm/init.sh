#!/bin/sh
# The first process of the guest. It waits to be saved and restored, then mounts the host's files, runs the one
# job that it is sent, answers "exit STATUS", and is gone. Two ports of virtio-serial lead to machine.py: `control`
# (a line each way) and `output`. Commands are those of busybox.
export PATH=/bin:/sbin
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
for port in /sys/class/virtio-ports/*; do ln -s "${port##*/}" "/dev/$(cat "$port/name")"; done

# The machine is saved while it waits for this line: seconds since 1970, a script in base64.
exec 3<> /dev/control # a port can be opened once at a time
echo ready >&3
until read -r now script <&3 && [ -n "$script" ]; do usleep 10000; done
date -s "@$now" > /dev/null

share() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$1" "$2" "$3"; }
share ro,cache=loose host /host
mount -t tmpfs -o mode=755 tmpfs /tmpfs
mkdir /tmpfs/upper /tmpfs/work
mount -t overlay -o lowerdir=/host,upperdir=/tmpfs/upper,workdir=/tmpfs/work overlay /root

mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o mode=620,ptmxmode=666,gid=5 devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t tmpfs -o mode=755 tmpfs /root/run
ln -sf /proc/self/fd /root/dev/fd
mount -t bpf bpf /root/sys/fs/bpf
mount -t tracefs tracefs /root/sys/kernel/tracing
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t securityfs securityfs /root/sys/kernel/security
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
modules=/root/lib/modules/$(uname -r)
mkdir -p "$modules" /root/vmjob
share ro,cache=loose modules "$modules"
share rw,cache=mmap job /root/vmjob
ip link set lo up
hostname vm

# If machine.py dies, its end of the port closes, and nobody waits for the job any more.
{ while read -r now <&3; do :; done; echo o > /proc/sysrq-trigger; } &

env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	setsid chroot /root /bin/sh -c "$(echo "$script" | base64 -d)" < /dev/null > /dev/output 2>&1 3<&-
status=$?
sync
echo "exit $status" >&3
sleep 60 # machine.py ends the machine
