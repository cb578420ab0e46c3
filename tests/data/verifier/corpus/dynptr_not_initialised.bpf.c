// category: Resource Lifetime Safety
// message: Expected an initialized dynptr as arg #
// message 7.3+: Expected an initialized dynptr as R3
// fix: initial | bpf_ringbuf_reserve_dynptr
// about: dynptr
// kernels: 5.19+
u32 first;

SEC("tp/syscalls/sys_enter_openat")
int peek(void *ctx)
{
	struct bpf_dynptr record = {};
	u32 value = 0;

	bpf_dynptr_read(&value, sizeof(value), &record, 0, 0); // <- refused, cause
	first = value;
	return 0;
}
