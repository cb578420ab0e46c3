// category: Resource Lifetime Safety
// message: expected uninitialized iter_num as arg #
// message 7.3+: expected uninitialized iter_num as R1
// fix: _new | destroy | bpf_for
// about: iterator
// kernels: 6.4+
int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

SEC("tp/syscalls/sys_enter_getpid")
int count(void *ctx)
{
	struct bpf_iter_num it;

	bpf_iter_num_new(&it, 0, 10); // <- cause
	bpf_iter_num_new(&it, 0, 20); // <- refused
	bpf_iter_num_destroy(&it);
	return 0;
}
