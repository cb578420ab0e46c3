/*
 * Names of the interface to programs (include/uapi) that are macros, beside those in compile/include/macros.h. Numbers of
 * system calls (__NR_x) come from a table. Values that differ between machines stand under a condition.
 */

/* Files */
#define S_ISUID 0004000
#define S_ISGID 0002000
#define S_ISVTX 0001000
#define S_IRWXU 00700
#define S_IRUSR 00400
#define S_IWUSR 00200
#define S_IXUSR 00100
#define S_IRWXG 00070
#define S_IRGRP 00040
#define S_IWGRP 00020
#define S_IXGRP 00010
#define S_IRWXO 00007
#define S_IROTH 00004
#define S_IWOTH 00002
#define S_IXOTH 00001
#define S_ISLNK(mode) (((mode) & 00170000) == 0120000)
#define S_ISREG(mode) (((mode) & 00170000) == 0100000)
#define S_ISDIR(mode) (((mode) & 00170000) == 0040000)
#define S_ISCHR(mode) (((mode) & 00170000) == 0020000)
#define S_ISBLK(mode) (((mode) & 00170000) == 0060000)
#define S_ISFIFO(mode) (((mode) & 00170000) == 0010000)
#define S_ISSOCK(mode) (((mode) & 00170000) == 0140000)
#define O_NOCTTY 00000400
#define O_NDELAY O_NONBLOCK
#define O_DSYNC 00010000
#define O_NOATIME 01000000
#define O_SYNC (04000000 | O_DSYNC)
#define O_PATH 010000000
#define F_DUPFD 0
#define F_GETFD 1
#define F_SETFD 2
#define F_GETFL 3
#define F_SETFL 4
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_SYNCHRONOUS 16
#define MS_REMOUNT 32
#define MS_MANDLOCK 64
#define MS_DIRSYNC 128
#define MS_NOATIME 1024
#define MS_NODIRATIME 2048
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_REC 16384
#define MS_SILENT 32768
#define MS_POSIXACL (1 << 16)
#define MS_UNBINDABLE (1 << 17)
#define MS_PRIVATE (1 << 18)
#define MS_SLAVE (1 << 19)
#define MS_SHARED (1 << 20)
#define MS_RELATIME (1 << 21)
#define MS_KERNMOUNT (1 << 22)
#define MS_I_VERSION (1 << 23)
#define MS_STRICTATIME (1 << 24)
#define MS_LAZYTIME (1 << 25)
#define UIO_FASTIOV 8
#define UIO_MAXIOV 1024
#define EXT4_SUPER_MAGIC 0xEF53
#define BTRFS_SUPER_MAGIC 0x9123683E
#define XFS_SUPER_MAGIC 0x58465342
#define TMPFS_MAGIC 0x01021994
#define OVERLAYFS_SUPER_MAGIC 0x794c7630
#define PROC_SUPER_MAGIC 0x9fa0
#define SOCKFS_MAGIC 0x534F434B
#define PIPEFS_MAGIC 0x50495045
#define XATTR_NAME_MAX 255
#define ARG_MAX 131072
#define LINK_MAX 127
#define PIPE_BUF 4096
#define NGROUPS_MAX 65536

/* Processes */
#define SIGBUS 7
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTSTP 20
#define SIGTTIN 21
#define SIGTTOU 22
#define CLONE_PIDFD 0x00001000
#define CLONE_PTRACE 0x00002000
#define CLONE_SYSVSEM 0x00040000
#define CLONE_SETTLS 0x00080000
#define CLONE_PARENT_SETTID 0x00100000
#define CLONE_CHILD_CLEARTID 0x00200000
#define CLONE_UNTRACED 0x00800000
#define CLONE_CHILD_SETTID 0x01000000
#define CLONE_IO 0x80000000
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_FD 2
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAKE_OP 5
#define FUTEX_LOCK_PI 6
#define FUTEX_UNLOCK_PI 7
#define FUTEX_TRYLOCK_PI 8
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_CMP_REQUEUE_PI 12
#define FUTEX_PRIVATE_FLAG 128
#define FUTEX_CLOCK_REALTIME 256
#define FUTEX_CMD_MASK ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
#define PTRACE_ATTACH 16
#define CAP_CHOWN 0
#define CAP_DAC_OVERRIDE 1
#define CAP_DAC_READ_SEARCH 2
#define CAP_FOWNER 3
#define CAP_FSETID 4
#define CAP_KILL 5
#define CAP_SETGID 6
#define CAP_SETUID 7
#define CAP_SETPCAP 8
#define CAP_LINUX_IMMUTABLE 9
#define CAP_NET_BIND_SERVICE 10
#define CAP_NET_BROADCAST 11
#define CAP_NET_ADMIN 12
#define CAP_NET_RAW 13
#define CAP_IPC_LOCK 14
#define CAP_IPC_OWNER 15
#define CAP_SYS_MODULE 16
#define CAP_SYS_RAWIO 17
#define CAP_SYS_CHROOT 18
#define CAP_SYS_PTRACE 19
#define CAP_SYS_PACCT 20
#define CAP_SYS_ADMIN 21
#define CAP_SYS_BOOT 22
#define CAP_SYS_NICE 23
#define CAP_SYS_RESOURCE 24
#define CAP_SYS_TIME 25
#define CAP_SYS_TTY_CONFIG 26
#define CAP_MKNOD 27
#define CAP_LEASE 28
#define CAP_AUDIT_WRITE 29
#define CAP_AUDIT_CONTROL 30
#define CAP_SETFCAP 31
#define CAP_MAC_OVERRIDE 32
#define CAP_MAC_ADMIN 33
#define CAP_SYSLOG 34
#define CAP_WAKE_ALARM 35
#define CAP_BLOCK_SUSPEND 36
#define CAP_AUDIT_READ 37
#define CAP_PERFMON 38
#define CAP_BPF 39
#define CAP_CHECKPOINT_RESTORE 40
#define PERF_MAX_STACK_DEPTH 127

/* The network */
#define PF_UNSPEC 0
#define PF_UNIX 1
#define PF_LOCAL 1
#define PF_INET 2
#define PF_INET6 10
#define PF_NETLINK 16
#define PF_PACKET 17
#define AF_LOCAL 1
#define AF_BRIDGE 7
#define AF_KEY 15
#define AF_ALG 38
#define AF_MAX 46
#define IFNAMSIZ 16
#define IFALIASZ 256
#define IFF_UP 1
#define IFF_LOOPBACK 8
#define ETH_ZLEN 60
#define ETH_P_RARP 0x8035
#define ETH_P_PPP_DISC 0x8863
#define ETH_P_PAE 0x888E
#define ETH_P_1588 0x88F7
#define ETH_P_802_3_MIN 0x0600
#define IPPROTO_OSPF 89
#define IPVERSION 4
#define IPTOS_TOS_MASK 0x1E
#define IP_RF 0x8000
#define INET_ECN_MASK 3
#define NEXTHDR_HOP 0
#define NEXTHDR_TCP 6
#define NEXTHDR_UDP 17
#define NEXTHDR_IPV6 41
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_ICMP 58
#define NEXTHDR_NONE 59
#define NEXTHDR_DEST 60
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_REDIRECT 5
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_TIMESTAMP 13
#define ICMP_PORT_UNREACH 3
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PKT_TOOBIG 2
#define ICMPV6_TIME_EXCEED 3
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define SO_DEBUG 1
#define SO_DONTROUTE 5
#define SO_BROADCAST 6
#define SO_OOBINLINE 10
#define SO_LINGER 13
#define SOL_ICMP 1
#define SOL_RAW 255
#define SOL_ICMPV6 58
#define SOL_SCTP 132
#define SOL_PACKET 263
#define SOL_NETLINK 270
#define SOL_TLS 282
#define TC_ACT_VALUE_MAX TC_ACT_TRAP
#define TC_H_MAJ_MASK 0xFFFF0000U
#define TC_H_MIN_MASK 0x0000FFFFU
#define TC_H_MAJ(handle) ((handle) & TC_H_MAJ_MASK)
#define TC_H_MIN(handle) ((handle) & TC_H_MIN_MASK)
#define NFPROTO_IPV4 2
#define NFPROTO_IPV6 10
#define XT_TABLE_MAXNAMELEN 32
