// The peer in C: libbpf's own consumer with a callback that copies each record, as a careful C program would.
//
//   consumer MAP_FD drain        take what lies ready, once
//   consumer MAP_FD live IDLE    wait in epoll for the next record, and take all there is
//   consumer MAP_FD nap IDLE     take all there is, a millisecond later again: for a program that asks for no wakeup
//   consumer MAP_FD perf IDLE PAGES EVERY
//                                a perf event array: buffers of PAGES for each CPU, woken for every EVERY records
//
// The last three end when standard input is closed and nothing came for IDLE milliseconds.
//
// Records are packed into blocks of 4 MiB. "drain" keeps them all; "live" keeps the newest 48 MB in
// blocks that it uses again, which is what our store does with a cap of a million records of 48 bytes.
// Prints one line of JSON; times are those of CLOCK_MONOTONIC.

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (4ul << 20)
#define LIVE_BLOCKS 12
#define DRAIN_BLOCKS 64

static char *blocks;
static size_t block_count, block, fill;
static unsigned long records, bytes;
static double first;

// The parent closes our standard input once nobody produces any more.
static int told_to_end(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&input, 1, 0) > 0;
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int on_record(void *context, void *data, size_t size)
{
	if (!records)
		first = now(CLOCK_MONOTONIC);
	if (fill + size > BLOCK) {
		block = (block + 1) % block_count;
		fill = 0;
	}
	memcpy(blocks + block * BLOCK + fill, data, size);
	fill += size;
	bytes += size;
	records++;
	return 0;
}

// struct perf_event_header, then for PERF_SAMPLE_RAW a u32 size and the data. What was refused counts the program.
static enum bpf_perf_event_ret on_event(void *context, int cpu, struct perf_event_header *event)
{
	const char *sample = (const char *)(event + 1);

	if (event->type == PERF_RECORD_SAMPLE)
		on_record(context, (void *)(sample + sizeof(__u32)), *(const __u32 *)sample);
	return LIBBPF_PERF_EVENT_CONT;
}

static struct perf_buffer *perf(int map_fd, int pages, int every)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.wakeup_events = every,
	};

	return perf_buffer__new_raw(map_fd, pages, &attr, on_event, NULL, NULL);
}

int main(int argc, char **argv)
{
	int live = argc > 3, idle = live ? atoi(argv[3]) : 0, nap = live && !strcmp(argv[2], "nap"), got;
	struct perf_buffer *buffer = NULL;
	struct ring_buffer *ring = NULL;
	double last;

	if (argc < 3)
		return 2;
	block_count = live ? LIVE_BLOCKS : DRAIN_BLOCKS;
	blocks = mmap(NULL, block_count * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (blocks == MAP_FAILED)
		return 1;
	madvise(blocks, block_count * BLOCK, MADV_HUGEPAGE); // as numpy does
	memset(blocks, 1, block_count * BLOCK);              // and touched, so that it pays for no page fault
	if (argc > 5)
		buffer = perf(atoi(argv[1]), atoi(argv[4]), atoi(argv[5]));
	else
		ring = ring_buffer__new(atoi(argv[1]), on_record, NULL, NULL);
	if (!ring && !buffer)
		return 1;
	puts("ready");
	fflush(stdout);

	if (!live) {
		first = now(CLOCK_MONOTONIC);
		got = ring_buffer__consume(ring);
		last = now(CLOCK_MONOTONIC);
	} else {
		// Zero from a poll is no sign of quiet: it also stands for a record that is still being written.
		unsigned long seen = 0;

		last = now(CLOCK_MONOTONIC);
		do {
			if (nap)
				usleep(1000);
			if (buffer)
				got = perf_buffer__poll(buffer, 20); // the last ones do not wake anybody
			else
				got = nap ? ring_buffer__consume(ring) : ring_buffer__poll(ring, idle);
			if (buffer && !got)
				got = perf_buffer__consume(buffer);
			if (records != seen)
				last = now(CLOCK_MONOTONIC);
			seen = records;
		} while ((got >= 0 || got == -EINTR) && (now(CLOCK_MONOTONIC) - last < idle / 1e3 || !told_to_end()));
	}
	ring_buffer__free(ring);
	perf_buffer__free(buffer);
	printf("{\"records\": %lu, \"bytes\": %lu, \"first\": %.9f, \"last\": %.9f, \"cpu\": %.6f}\n", records, bytes,
	       first, last, now(CLOCK_PROCESS_CPUTIME_ID));
	return got < 0;
}
