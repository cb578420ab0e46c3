#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

static inline struct tcp_sock *tcp_sk(const struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

SEC("struct_ops/lab_init")
void BPF_PROG(lab_init, struct sock *sk)
{
	tcp_sk(sk)->snd_ssthresh = 10;
}

SEC("struct_ops/lab_ssthresh")
__u32 BPF_PROG(lab_ssthresh, struct sock *sk)
{
	return tcp_sk(sk)->snd_cwnd >> 1;
}

SEC("struct_ops/lab_undo")
__u32 BPF_PROG(lab_undo, struct sock *sk)
{
	return tcp_sk(sk)->snd_cwnd;
}

SEC("struct_ops/lab_avoid")
void BPF_PROG(lab_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops lab = {
	.init = (void *)lab_init,
	.ssthresh = (void *)lab_ssthresh,
	.undo_cwnd = (void *)lab_undo,
	.cong_avoid = (void *)lab_avoid,
	.name = "bpf_lab",
};
