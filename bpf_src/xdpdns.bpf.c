// xdpdns: which names are asked for through an interface, by whom, and what is answered how fast?
//
//     %bpf run xdpdns --attach on_arrival=eth0 --attach on_departure=eth0 --for 5s
//     time          client     server     message   answers  type     took  name
//     05:31:02.267  192.0.2.1  192.0.2.2  QUESTION        0  AAAA     0 ns  www.example.org
//     05:31:02.268  192.0.2.1  192.0.2.2  NOERROR         2  AAAA  1.48 ms  www.example.org
//     05:31:02.268  192.0.2.1  192.0.2.2  QUESTION        0  MX       0 ns  nowhere.example.org
//     05:31:02.299  192.0.2.1  192.0.2.2  NXDOMAIN        0  MX    31.2 ms  nowhere.example.org
//
// Plot:     s.events.plot.top("name")
// Attach:   on_arrival=INTERFACE on_departure=INTERFACE
// Overhead: 352 ns a run; one run for each packet that arrives or leaves.
// Needs:    XDP for what arrives, tc for what leaves, ring buffers (Linux 5.8); an interface with Ethernet headers.
//           DNS over UDP is seen, not over TCP, nor behind VLAN tags; of each message, the first question.

const volatile u16 port = 53;  // the port of the servers
const volatile bool only_failed = false;  // only answers that say an error

enum type {
	A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33, NAPTR = 35,
	DS = 43, RRSIG = 46, DNSKEY = 48, SVCB = 64, HTTPS = 65, ANY = 255
};

enum message { QUESTION = -1, NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED };

struct transaction {
	struct in6_addr client;
	__be16 port;
	__be16 id;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);  // not every question is answered
	__uint(max_entries, 65536);
	__type(key, struct transaction);
	__type(value, u64);               // when it was asked
} asked SEC(".maps");

struct event {
	ktime_t time;
	ip_t client;
	ip_t server;
	enum message message;
	u16 answers;
	enum type type;
	duration_t took;                  // since the question; 0 of a question, and where it was not seen
	char name[256];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct event);
} events SEC(".maps");

struct dns {                              // RFC 1035, 4.1.1
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 others[2];
};

struct packet {
	struct in6_addr source;
	struct in6_addr dest;
	__be16 source_port;
	__be16 dest_port;
};

static bool is_answer(struct dns *dns)
{
	return dns->flags & bpf_htons(0x8000);
}

static struct in6_addr mapped(__be32 address)
{
	struct in6_addr result = { .in6_u.u6_addr32 = { 0, 0, bpf_htonl(0xffff), address } };

	return result;
}

static struct udphdr *udp_of_ipv4(struct packet *packet, struct iphdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(0x1fff))
		return NULL;
	packet->source = mapped(ip->saddr);
	packet->dest = mapped(ip->daddr);
	return (void *)ip + ip->ihl * 4;
}

static struct udphdr *udp_of_ipv6(struct packet *packet, struct ipv6hdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP)
		return NULL;
	packet->source = ip->saddr;
	packet->dest = ip->daddr;
	return (void *)(ip + 1);
}

/* Find the DNS message in a frame: it goes to the port of the servers, or comes from there if it answers. */
static struct dns *message_of(struct packet *packet, void *data, void *end)
{
	struct ethhdr *eth = data;
	struct udphdr *udp = NULL;
	struct dns *dns;

	if ((void *)(eth + 1) > end)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		udp = udp_of_ipv4(packet, (void *)(eth + 1), end);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		udp = udp_of_ipv6(packet, (void *)(eth + 1), end);
	dns = (void *)(udp + 1);
	if (!udp || (void *)(dns + 1) > end)
		return NULL;
	packet->source_port = udp->source;
	packet->dest_port = udp->dest;
	return (is_answer(dns) ? udp->source : udp->dest) == bpf_htons(port) ? dns : NULL;
}

/* Write the name at the beginning of a question as text; returns what is behind it, NULL if it is not whole. */
static u8 *read_name(char *text, u8 *byte, void *end)
{
	u8 left;                          // of the label

	if ((void *)(byte + 1) > end)
		return NULL;
	left = *byte++;
	if (!left) {                      // the root
		text[0] = '.';
		text[1] = 0;
		return byte;
	}
	for (int i = 0; i < 254 && (void *)(byte + 1) <= end && left < 64; i++, byte++) {
		if (left) {
			text[i] = *byte;
			left--;
			continue;
		}
		left = *byte;
		text[i] = left ? '.' : 0;
		if (!left)
			return byte + 1;
	}
	return NULL;
}

/* The time since the question of an answer; of a question, keep when it was. */
static u64 since_question(struct transaction *transaction, bool answer, u64 now)
{
	u64 *since, took = 0;

	if (!answer) {
		bpf_map_update_elem(&asked, transaction, &now, BPF_ANY);
		return 0;
	}
	since = bpf_map_lookup_elem(&asked, transaction);
	if (since) {
		took = now - *since;
		bpf_map_delete_elem(&asked, transaction);
	}
	return took;
}

static void report(struct packet *packet, struct dns *dns, void *end)
{
	bool answer = is_answer(dns);
	struct transaction transaction = {
		.client = answer ? packet->dest : packet->source,
		.port = answer ? packet->dest_port : packet->source_port,
		.id = dns->id,
	};
	enum message message = answer ? bpf_ntohs(dns->flags) & 15 : QUESTION;
	u64 now = bpf_ktime_get_ns(), took = since_question(&transaction, answer, now);
	struct event *e;
	__be16 *type;

	if (only_failed && message <= NOERROR)
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return;
	e->time = now;
	e->took = took;
	e->client = transaction.client;
	e->server = answer ? packet->source : packet->dest;
	e->message = message;
	e->answers = bpf_ntohs(dns->answers);
	type = (void *)read_name(e->name, (void *)(dns + 1), end);
	if (!type || (void *)(type + 1) > end) {
		bpf_ringbuf_discard(e, 0); // no question, or cut off
		return;
	}
	e->type = bpf_ntohs(*type);
	bpf_ringbuf_submit(e, 0);
}

SEC("xdp")
int on_arrival(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet packet;
	struct dns *dns = message_of(&packet, data, end);

	if (dns)
		report(&packet, dns, end);
	return XDP_PASS;
}

SEC("tc/egress")
int on_departure(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct packet packet;
	struct dns *dns;

	if (skb->ifindex == 1)            // loopback: it arrives there, too
		return TC_ACT_UNSPEC;
	dns = message_of(&packet, data, end);
	if (dns && end - data < skb->len) {  // it is in several pieces
		bpf_skb_pull_data(skb, skb->len);
		data = (void *)(long)skb->data;
		end = (void *)(long)skb->data_end;
		dns = message_of(&packet, data, end);
	}
	if (dns)
		report(&packet, dns, end);
	return TC_ACT_UNSPEC;
}
