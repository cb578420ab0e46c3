// Producers that number and sign every record: five lengths, two rings, some records thrown away.
//
// A producer is one process that runs `produce` again and again. For each ring it counts what it tried, what was refused
// and what it discarded itself; the payload depends on who, where and which, and on a salt, and `check` on all of it.

#define PRODUCERS 16

struct head { u32 producer; u32 ring; u64 sequence; u64 check; };
struct small { struct head head; u64 payload[2]; };
struct medium { struct head head; u64 payload[5]; };
struct large { struct head head; u64 payload[13]; };
struct odd { struct head head; u64 payload[2]; u8 tail[5]; } __attribute__((packed));

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, EVENTS_BYTES); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, TINY_BYTES); } tiny SEC(".maps");

struct order { u32 producer; u32 count; };
struct run { u32 producer; u64 salt; };

u64 tried[2 * PRODUCERS], refused[2 * PRODUCERS], discarded[2 * PRODUCERS];
u32 hold; // while set, producers rest: the reader is behind

static __always_inline u64 mix(u64 sum, u64 word)
{
	return (sum ^ word) * 0x9e3779b97f4a7c15;
}

// All in one: fixed sizes are what the verifier wants, and unrolled loops are what is quick.
#define SIGN(record, words, number, seed)                                                          \
	({                                                                                         \
		u64 sum = mix(sizeof(*(record)), (number));                                        \
		_Pragma("unroll") for (int w = 0; w < (words); w++)                                \
		{                                                                                  \
			u64 word = ((seed) + w) * 0xd6e8feb86659fd93;                              \
			(record)->payload[w] = word;                                               \
			sum = mix(sum, word);                                                      \
		}                                                                                  \
		(record)->head.sequence = (number);                                                \
		(record)->head.check = mix(sum, (u64)(record)->head.producer << 32 | (record)->head.ring); \
	})

#define SEND(to, kind, words, which)                                                               \
	({                                                                                         \
		struct kind *r = bpf_ringbuf_reserve(&to, sizeof(*r), 0);                          \
		if (!r) {                                                                          \
			refused[slot]++;                                                           \
		} else if (number % 101 == 7) {                                                    \
			discarded[slot]++;                                                         \
			bpf_ringbuf_discard(r, 0);                                                 \
		} else {                                                                           \
			r->head.producer = run->producer;                                          \
			r->head.ring = which;                                                      \
			SIGN(r, words, number, run->salt ^ number);                                \
			bpf_ringbuf_submit(r, 0);                                                  \
		}                                                                                  \
	})

// A length that is no multiple of eight, through the other way to send.
#define SEND_ODD(to, which)                                                                        \
	({                                                                                         \
		struct odd o = {};                                                                 \
		o.head.producer = run->producer;                                                   \
		o.head.ring = which;                                                               \
		SIGN(&o, 2, number, run->salt ^ number);                                           \
		__builtin_memset(o.tail, (u8)number, sizeof(o.tail));                              \
		if (bpf_ringbuf_output(&to, &o, sizeof(o), 0))                                     \
			refused[slot]++;                                                           \
	})

#define TO(name, to, which)                                                                        \
	static __noinline int name(struct run *run)                                                \
	{                                                                                          \
		u32 slot = (run->producer * 2 + which) % (2 * PRODUCERS);                          \
		u64 number = tried[slot]++;                                                        \
		switch ((number ^ run->salt) % 8) {                                                \
		case 0:                                                                            \
			SEND(to, large, 13, which);                                                \
			break;                                                                     \
		case 1: case 2:                                                                    \
			SEND_ODD(to, which);                                                       \
			break;                                                                     \
		case 3:                                                                            \
			SEND(to, medium, 5, which);                                                \
			break;                                                                     \
		default:                                                                           \
			SEND(to, small, 2, which);                                                 \
		}                                                                                  \
		return 0;                                                                          \
	}

TO(to_events, events, 0)
TO(to_tiny, tiny, 1)

static int each(u32 i, struct run *run)
{
	if (i % 16 == 5)
		to_tiny(run);
	else
		to_events(run);
	return 0;
}

SEC("syscall")
int produce(struct order *order)
{
	struct run run = { .producer = order->producer % PRODUCERS, .salt = bpf_get_prandom_u32() };

	if (hold)
		return 1;
	bpf_loop(order->count, each, &run, 0);
	return 0;
}
