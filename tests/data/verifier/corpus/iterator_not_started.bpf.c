// category: Resource Lifetime Safety
// message: expected an initialized iter_num as arg #
// message 7.3+: expected an initialized iter_num as R1
// fix: _new | destroy | bpf_for
// about: iterator
// kernels: 6.4+
int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
u64 sum;

SEC("tp/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	struct bpf_iter_num it = {};
	int *i = bpf_iter_num_next(&it); // <- refused, cause
	if (i)
		sum += *i;
	bpf_iter_num_destroy(&it);
	return 0;
}
