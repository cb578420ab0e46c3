// category: Register Type Safety
// message: R3 !read_ok
// fix: argument | value | R3
// about: register
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 1016);
} stacks SEC(".maps");
static long (*get_stackid)(void *ctx, void *map) = (void *)BPF_FUNC_get_stackid;

SEC("tp/sched/sched_switch")
int where(void *ctx)
{
	return get_stackid(ctx, &stacks) > 0; // <- refused, cause
}
