// category: Program Structure
// message: infinite loop detected
// fix: bpf_loop | for (
// about: loop
u32 turn;

SEC("tp/syscalls/sys_enter_sched_yield")
int wait_for_turn(void *ctx)
{
	u64 i = 0;
	while (i < 10) // <- refused, cause
		asm volatile("%0 = 3" : "+r"(i)); // <- refused
	return i;
}
