// category: Program Structure
// message: CO-RE relocation
// fix: bpf_core_enum_value_exists
// about: relocation
enum bpf_map_type___mine { BPF_MAP_TYPE_TELEPATHY = 77 };

SEC("tp/syscalls/sys_enter_getpid")
int read_it(void *ctx) // <- refused, cause
{
	return bpf_core_enum_value(enum bpf_map_type___mine, BPF_MAP_TYPE_TELEPATHY) > 3; // <- refused, cause
}
