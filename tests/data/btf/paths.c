/* Types for test_paths.py: every sort of step that a path can take. */
#define __tag(name) __attribute__((btf_type_tag(name)))

typedef unsigned char u8;
typedef struct { unsigned long bits[4]; } mask_t;
struct elsewhere;
enum color { RED, BLUE };

struct node {
	int number;
	struct node *next;
	union {
		int left;
		struct {
			short low;
			short high;
		};
	};
	unsigned int one : 1, three : 3;
	const char *label;
	char name[16];
	char names[2][8];
	char rest[];
};

typedef struct node node_t; /* clang 14 drops a tag that stands behind "struct node" itself */

struct start {
	struct node *first;
	struct node **table;
	const mask_t *mask;
	mask_t own;
	struct small {
		unsigned int one : 1, three : 3;
	} inner;
	void *anything;
	struct elsewhere *opaque;
	long (*call)(struct node *node);
	node_t __tag("user") *user;
	const char __tag("user") *user_text;
	node_t __tag("percpu") *percpu;
	node_t __tag("rcu") *rcu;
	enum color color;
	u8 *bytes;
	int *numbers;
	struct {
		int count;
		struct node *held;
	} unnamed;
	struct {
		int inside;
	} *pointed;
	unsigned long large[33];
	struct { } nothing;
};

struct start keep;
struct node keep_too;
