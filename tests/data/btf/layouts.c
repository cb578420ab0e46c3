/* Structs that a compiler and ctypes do not lay out alike by themselves; clang writes down places and a filled one. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;

typedef struct { s32 counter; } atomic_t;
enum colour { RED, GREEN = 3, BLUE = 200 };
enum level { LOW = -2, HIGH = 7 };
struct __node { struct __node *next, **pprev; };
struct class { u8 from; u64 import; }; /* words of Python, and a hole */
struct __attribute__((packed)) tight { u8 tag; u32 number; u16 low : 5, middle : 6, high : 5; u64 last; };
struct shared { u32 wide : 20; u8 behind; u16 after; }; /* "behind" lies in the integer of "wide" */
struct three { u8 a : 3, b : 5; u16 c : 9, d : 4; s32 minus : 7, : 3, plus : 14; u8 end; };
struct far { u8 first; u32 line __attribute__((aligned(64))); };
struct __attribute__((packed)) nine { u8 lead : 5; u64 wide : 60; s32 tail : 7; };

struct layouts {
	struct __node node;
	atomic_t count;
	union {
		u32 word;
		struct { u16 low, high; };
		struct { u32 flag : 1, mode : 4, : 3, number : 24; };
	};
	struct class class;
	struct tight tight;
	struct shared shared;
	struct three three;
	_Bool yes : 1;
	enum colour colour : 9;
	enum level level : 4;
	u64 long_one : 40;
	_Bool set;
	char text[6];
	u16 grid[2][3];
	struct { u8 x, y; } point, points[2];
	union { u32 v4; u8 v6[16]; } address;
	int (*call)(struct layouts *, int);
	float half;
	double third;
	u8 __start[0];
	u8 one : 1, two : 2;
	struct far far;
	u64 tail[];
};

__attribute__((section(".samples"))) const struct layouts samples[1] = { {
	.node = { (void *)0xffff888012345678ULL, (void *)0x10 }, .count = { -5 },
	.flag = 1, .mode = 9, .number = 0xabcdef,
	.class = { 7, 0xfedcba9876543210ULL }, .tight = { 1, 0xdeadbeef, 17, 33, 9, 11 },
	.shared = { 0xabcde, 0x12, 0x3456 }, .three = { 5, 19, 300, 11, -33, 0x1234, 0x77 },
	.yes = 1, .colour = BLUE, .level = HIGH, .long_one = 0xfedcba9876ULL, .set = 1, .text = "hello",
	.grid = { { 1, 2, 3 }, { 4, 5, 60000 } }, .point = { 1, 2 }, .points = { { 3, 4 }, { 5, 6 } },
	.address = { .v6 = { 10, 0, 0, 1, 5 } }, .call = (void *)0x1234, .half = 1.5f, .third = -0.25,
	.one = 1, .two = 2, .far = { 9, 0x01020304 },
} };

const struct nine *needed; /* keeps the type in BTF */

/* Bitfields have no offsetof. */
struct place { char path[24]; u32 offset, size; };
#define P(member) { #member, __builtin_offsetof(struct layouts, member), sizeof(((struct layouts *)0)->member) }
__attribute__((section(".places"))) const struct place places[] = {
	P(node), P(node.next), P(node.pprev), P(count), P(count.counter), P(word), P(low), P(high), P(class), P(class.from),
	P(class.import), P(tight), P(tight.tag), P(tight.number), P(tight.last), P(shared), P(shared.behind),
	P(shared.after), P(three), P(three.end), P(set), P(text), P(grid), P(point), P(point.x), P(point.y), P(points),
	P(address), P(address.v4), P(address.v6), P(call), P(half), P(third), P(__start), P(far), P(far.first),
	P(far.line), { "tail", __builtin_offsetof(struct layouts, tail), 0 },
	{ "", 0, sizeof(struct layouts) },
};
