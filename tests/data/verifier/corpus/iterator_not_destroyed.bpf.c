// category: Resource Lifetime Safety
// message: Unreleased reference
// fix: bpf_iter_num_destroy | bpf_for
// about: iterator
// kernels: 6.4+
int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
u64 sum;

SEC("tp/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	struct bpf_iter_num it;
	int *i;

	bpf_iter_num_new(&it, 0, 100); // <- cause
	while ((i = bpf_iter_num_next(&it)))
		sum += *i;
	return 0; // <- refused
}
