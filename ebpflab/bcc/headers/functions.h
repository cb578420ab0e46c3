/*
 * Functions of the kernel's headers that read through a pointer, one to a paragraph: a program gets those that it
 * calls and does not define. They follow BCC's helpers, and so can call them.
 */

static __always_inline unsigned int refcount_read(const refcount_t *counter)
{
	unsigned int value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), (void *)&counter->refs.counter);
	return value;
}

static __always_inline int atomic_read(const atomic_t *counter)
{
	int value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), (void *)&counter->counter);
	return value;
}

static __always_inline __s64 atomic64_read(const atomic64_t *counter)
{
	__s64 value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), (void *)&counter->counter);
	return value;
}

static __always_inline long atomic_long_read(const atomic_long_t *counter)
{
	long value = 0;
	bpf_probe_read_kernel(&value, sizeof(value), (void *)counter);
	return value;
}

static __always_inline __u64 div_u64(__u64 dividend, __u32 divisor)
{
	return dividend / divisor;
}

static __always_inline __u64 div64_u64(__u64 dividend, __u64 divisor)
{
	return dividend / divisor;
}

static __always_inline __s64 div_s64(__s64 dividend, __s32 divisor)
{
	return (__u64)dividend / divisor;
}

static __always_inline struct inet_sock *inet_sk(const struct sock *sk)
{
	return (struct inet_sock *)sk;
}

static __always_inline struct tcp_sock *tcp_sk(const struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

static __always_inline struct udp_sock *udp_sk(const struct sock *sk)
{
	return (struct udp_sock *)sk;
}

static __always_inline struct unix_sock *unix_sk(const struct sock *sk)
{
	return (struct unix_sock *)sk;
}

static __always_inline struct inet_connection_sock *inet_csk(const struct sock *sk)
{
	return (struct inet_connection_sock *)sk;
}

static __always_inline struct inet_request_sock *inet_rsk(const struct request_sock *request)
{
	return (struct inet_request_sock *)request;
}

static __always_inline struct tcp_request_sock *tcp_rsk(const struct request_sock *request)
{
	return (struct tcp_request_sock *)request;
}

static __always_inline struct inet_timewait_sock *inet_twsk(const struct sock *sk)
{
	return (struct inet_timewait_sock *)sk;
}

static __always_inline void *ebpflab_skb_header(const struct sk_buff *skb, const void *offset, unsigned int size)
{
	unsigned char *head = 0;
	__u16 from = 0;
	bpf_probe_read_kernel(&head, sizeof(head), (void *)&skb->head);
	bpf_probe_read_kernel(&from, sizeof(from), (void *)offset);
	return head + from;
}

static __always_inline unsigned char *skb_network_header(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->network_header, 2);
}

static __always_inline unsigned char *skb_transport_header(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->transport_header, 2);
}

static __always_inline unsigned char *skb_mac_header(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->mac_header, 2);
}

static __always_inline struct iphdr *ip_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->network_header, 2);
}

static __always_inline struct ipv6hdr *ipv6_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->network_header, 2);
}

static __always_inline struct tcphdr *tcp_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->transport_header, 2);
}

static __always_inline struct udphdr *udp_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->transport_header, 2);
}

static __always_inline struct icmphdr *icmp_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->transport_header, 2);
}

static __always_inline struct ethhdr *eth_hdr(const struct sk_buff *skb)
{
	return ebpflab_skb_header(skb, &skb->mac_header, 2);
}

static __always_inline __u16 skb_get_rx_queue(const struct sk_buff *skb)
{
	__u16 queue = 0;
	bpf_probe_read_kernel(&queue, sizeof(queue), (void *)&skb->queue_mapping);
	return queue - 1;
}

static __always_inline bool skb_rx_queue_recorded(const struct sk_buff *skb)
{
	__u16 queue = 0;
	bpf_probe_read_kernel(&queue, sizeof(queue), (void *)&skb->queue_mapping);
	return queue != 0;
}

static __always_inline bool sg_is_last(const struct scatterlist *list)
{
	unsigned long link = 0;
	bpf_probe_read_kernel(&link, sizeof(link), (void *)&list->page_link);
	return link & 2;
}

static __always_inline bool sg_is_chain(const struct scatterlist *list)
{
	unsigned long link = 0;
	bpf_probe_read_kernel(&link, sizeof(link), (void *)&list->page_link);
	return link & 1;
}

static __always_inline struct scatterlist *sg_chain_ptr(const struct scatterlist *list)
{
	unsigned long link = 0;
	bpf_probe_read_kernel(&link, sizeof(link), (void *)&list->page_link);
	return (struct scatterlist *)(link & ~3UL);
}

static __always_inline struct page *folio_page(struct folio *folio, unsigned long number)
{
	return (struct page *)folio + number;
}

static __always_inline struct inode *file_inode(const struct file *file)
{
	struct inode *inode = 0;
	bpf_probe_read_kernel(&inode, sizeof(inode), (void *)&file->f_inode);
	return inode;
}

static __always_inline struct inode *d_inode(const struct dentry *dentry)
{
	struct inode *inode = 0;
	bpf_probe_read_kernel(&inode, sizeof(inode), (void *)&dentry->d_inode);
	return inode;
}

static __always_inline struct inode *d_backing_inode(const struct dentry *dentry)
{
	struct inode *inode = 0;
	bpf_probe_read_kernel(&inode, sizeof(inode), (void *)&dentry->d_inode);
	return inode;
}

static __always_inline bool list_empty(const struct list_head *head)
{
	struct list_head *next = 0;
	bpf_probe_read_kernel(&next, sizeof(next), (void *)&head->next);
	return next == head;
}

static __always_inline __u32 __kuid_val(kuid_t uid)
{
	return uid.val;
}

static __always_inline __u32 __kgid_val(kgid_t gid)
{
	return gid.val;
}

static __always_inline __s64 ktime_to_ns(const ktime_t time)
{
	return time;
}

static __always_inline sector_t blk_rq_pos(const struct request *request)
{
	sector_t sector = 0;
	bpf_probe_read_kernel(&sector, sizeof(sector), (void *)&request->__sector);
	return sector;
}

static __always_inline unsigned int blk_rq_bytes(const struct request *request)
{
	unsigned int length = 0;
	bpf_probe_read_kernel(&length, sizeof(length), (void *)&request->__data_len);
	return length;
}
