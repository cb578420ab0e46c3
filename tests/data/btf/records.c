/* One struct with every decoding rule; clang itself writes down where its members are and two filled records. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef s64 ktime_t;
typedef u64 duration_t;
typedef char comm_t[16];

enum state { IDLE, BUSY = 5, ALSO_BUSY = 5, DONE = 200 };
enum level { LOW = -2, MID = 0, HIGH = 7 };
enum __attribute__((packed)) tiny { OFF, ON };
struct empty {};
struct point { s16 x, y; };
struct shape { struct point at[2]; char name[6]; };
union address { u32 v4; u8 v6[16]; };
struct __attribute__((packed)) packed_bits { u8 lead : 5; u64 wide : 60; s64 tail : 7; };

struct event {
	ktime_t when;
	const ktime_t never;
	duration_t took;
	s64 slipped;
	s8 a; u8 b; s16 c; u16 d; s32 e; u32 f; u64 g;
	_Bool yes, flags[3];
	float half;
	double third;
	char letter;
	comm_t comm;
	char path[21];
	char argv[2][5];
	enum state state, states[2];
	enum level level;
	enum tiny tiny;
	u8 mac[6];
	u8 macs[2][3];
	u16 ports[3];
	s32 grid[2][2];
	s16 many[20];
	u32 matrix[3][7];
	_Bool bits[17];
	struct point crowd[17];
	struct shape shape;
	volatile struct point *const pointer;
	union address addr;
	union { u32 whole; struct { u16 low, high; }; };
	struct empty nothing;
	u32 three : 3, : 2, twenty : 20;
	s32 minus : 5;
	enum state state_bits : 9;
	_Bool yes_bit : 1;
	u64 across : 40;
	u64 full : 64;
	struct packed_bits packed;
	__int128 huge;
	unsigned __int128 vast;
	u32 tail[];
};

__attribute__((section(".samples"))) const struct event samples[2] = {
	{
		.when = 1000000007, .never = 0, .took = 5000000011ULL, .slipped = -6000000029LL,
		.a = -1, .b = 255, .c = -300, .d = 65000, .e = -70000, .f = 4000000000U, .g = 0xfedcba9876543210ULL,
		.yes = 1, .flags = { 0, 1, 0 }, .half = 1.5f, .third = -0.1, .letter = 'x',
		.comm = "sixteen letters!", .path = "/etc/\xc3\xa9t\xc3\xa9\0garbage", .argv = { "ls", "-l\0zz" },
		.state = BUSY, .states = { DONE, (enum state)77 }, .level = LOW, .tiny = ON,
		.mac = { 2, 0, 0, 0xab, 0xcd, 0xef }, .macs = { { 1, 2, 3 }, { 4, 5, 6 } },
		.ports = { 80, 443, 65535 }, .grid = { { -1, 2 }, { 3, -4 } }, .many = { 10, -11, [19] = 19 },
		.matrix = { { 1 }, { 0, 2 }, { [6] = 3000000000U } }, .bits = { 1, [16] = 1 },
		.crowd = { [16] = { 3, -3 } },
		.shape = { { { 1, -2 }, { 3, -4 } }, "square" }, .pointer = (void *)0xffff888012345678ULL,
		.addr = { .v6 = { 127, 0, 0, 1, 5 } }, .whole = 0x00020001,
		.three = 5, .twenty = 0xabcde, .minus = -9, .state_bits = DONE, .yes_bit = 1,
		.across = 0xfedcba9876ULL, .full = 0x8000000000000001ULL,
		.packed = { 21, 0xabcdef012345678ULL, -33 }, .huge = -5,
		.vast = ((unsigned __int128)7 << 64) | 9,
	},
	{
		.when = 1, .comm = "bash\0X", .path = "bad \xff utf8", .level = HIGH, .tiny = OFF, .minus = 15,
		.packed = { 0, 1, 31 }, .huge = (__int128)1 << 64,
	},
};

/* The paths are spelled as ebpflab names its columns. Bitfields and halves of 128 bits have no offsetof. */
struct place { char path[24]; u32 offset, size; };
#define P(member) { #member, __builtin_offsetof(struct event, member), sizeof(((struct event *)0)->member) }
__attribute__((section(".places"))) const struct place places[] = {
	P(when), P(never), P(took), P(slipped), P(a), P(b), P(c), P(d), P(e), P(f), P(g), P(yes),
	P(flags[0]), P(flags[1]), P(flags[2]), P(half), P(third), P(letter), P(comm), P(path), P(argv[0]), P(argv[1]),
	P(state), P(states[0]), P(states[1]), P(level), P(tiny), P(mac), P(macs[0]), P(macs[1]),
	P(ports[0]), P(ports[1]), P(ports[2]), P(grid[0][0]), P(grid[0][1]), P(grid[1][0]), P(grid[1][1]),
	P(many), P(matrix), P(bits), P(crowd), P(shape.at[0].x), P(shape.at[0].y), P(shape.at[1].x), P(shape.at[1].y),
	P(shape.name), P(pointer), P(addr.v4), P(addr.v6), P(whole), P(low), P(high),
	{ "", 0, sizeof(struct event) },
};
