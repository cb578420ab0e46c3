#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct connection {
	__be32 local;
	__be32 remote;
	__u32 local_port;
	__u32 remote_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct connection);
	__type(value, __u32);
} rtt SEC(".maps");

SEC("sockops")
int on_socket(struct bpf_sock_ops *ops)
{
	struct connection c = {};
	__u32 srtt = ops->srtt_us >> 3;

	if (ops->op != BPF_SOCK_OPS_STATE_CB || ops->args[1] != BPF_TCP_CLOSE)
		return 1;
	c.local = ops->local_ip4;
	c.remote = ops->remote_ip4;
	c.local_port = ops->local_port;
	c.remote_port = bpf_ntohl(ops->remote_port);
	bpf_map_update_elem(&rtt, &c, &srtt, BPF_ANY);
	return 1;
}

char _license[] SEC("license") = "GPL";
