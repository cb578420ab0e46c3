// xdpcount: how many packets and bytes of which protocols arrive at an interface?
//
//     %bpf run xdpcount --attach on_packet=eth0 --for 5s
//     network  protocol  packets   bytes
//     IPv6     TCP            83  107146
//     IPv4     UDP            20    1062
//     IPv4     ICMP            6     462
//     ARP      ARP             1      42
//
// Rows:     s.maps["counts"].df().sort_values("bytes", ascending=False)
// Plot:     s.maps["counts"].plot.top("protocol", weight="bytes")
// Attach:   on_packet=INTERFACE
// Overhead: 126 ns a run; one run for each packet that arrives.
// Needs:    XDP (Linux 4.8). Bytes begin with the Ethernet header. What loopback and veth pass on as one large packet
//           counts as one.

enum protocol {                           // as IP has it; above 255, as Ethernet has it
	ICMP = 1, IGMP = 2, IPIP = 4, TCP = 6, UDP = 17, SIT = 41, GRE = 47, ESP = 50, AH = 51,
	ICMPv6 = 58, OSPF = 89, PIM = 103, VRRP = 112, L2TP = 115, SCTP = 132,
	LLC = 0x100, IPv4 = 0x800, ARP = 0x806, IPv6 = 0x86dd, MPLS = 0x8847, PPPoE = 0x8864, LLDP = 0x88cc
};

struct key {
	enum protocol network;
	enum protocol protocol;           // the same again if there is no IP header
};

struct count {
	u64 packets;
	u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct key);
	__type(value, struct count);
} counts SEC(".maps");

struct tag {                              // IEEE 802.1Q
	__be16 vlan;
	__be16 next;
};

/* What the Ethernet header says that comes next, VLAN tags left out; *at is moved there. */
static __be16 behind_ethernet(void **at, void *end)
{
	struct ethhdr *eth = *at;
	__be16 next;

	if ((void *)(eth + 1) > end)
		return 0;
	next = eth->h_proto;
	*at = eth + 1;
	for (int i = 0; i < 2; i++) {
		struct tag *tag = *at;

		if ((next != bpf_htons(ETH_P_8021Q) && next != bpf_htons(ETH_P_8021AD)) || (void *)(tag + 1) > end)
			break;
		next = tag->next;
		*at = tag + 1;
	}
	return next;
}

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, TO_DESTINATION = 60 };

/* What comes behind the IPv6 header and its extensions. */
static u8 behind_ipv6(struct ipv6hdr *ip, void *end)
{
	struct ipv6_opt_hdr *extension = (void *)(ip + 1);
	u8 next = ip->nexthdr;

	for (int i = 0; i < 6; i++) {
		bool fragment = next == FRAGMENT;

		if (next != HOP_BY_HOP && next != ROUTING && next != TO_DESTINATION && !fragment)
			break;
		if ((void *)(extension + 1) > end)
			break;
		next = extension->nexthdr;
		extension = (void *)extension + (fragment ? 8 : 8 + 8 * extension->hdrlen);
		if (fragment)             // of a later fragment, payload follows
			break;
	}
	return next;
}

static struct key classify(void *at, void *end)
{
	u16 network = bpf_ntohs(behind_ethernet(&at, end));
	struct key key;

	if (network < 0x600)              // a length
		network = LLC;
	key.network = key.protocol = network;
	if (network == IPv4 && at + sizeof(struct iphdr) <= end)
		key.protocol = ((struct iphdr *)at)->protocol;
	if (network == IPv6 && at + sizeof(struct ipv6hdr) <= end)
		key.protocol = behind_ipv6(at, end);
	return key;
}

SEC("xdp")
int on_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct key key = classify(data, end);
	struct count *count, none = {};

	count = bpf_map_lookup_elem(&counts, &key);
	if (!count) {
		bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&counts, &key);
	}
	if (count) {
		count->packets++;
		count->bytes += end - data;
	}
	return XDP_PASS;
}
