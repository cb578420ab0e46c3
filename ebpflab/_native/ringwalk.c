// Drains one BPF ring buffer into packed memory: one call, one bounded batch.
//
// Layout and rules: kernel/bpf/ringbuf.c and Documentation/bpf/ringbuf.rst. A record is an eight-byte header
// (u32 length with two flag bits, u32 that is the kernel's own) and its payload, padded to eight bytes. The data
// pages are mapped twice in a row, so a record that crosses the end of the ring is still contiguous here.
//
// Built without libc headers (-ffreestanding), so a compiler and a linker are all it needs.

#include <stdint.h>

#define BUSY (1u << 31)
#define DISCARDED (1u << 30)
#define LENGTH_MASK (DISCARDED - 1)
#define HEADER 8

// The numbers of ebpflab._native.Status.
enum status { EMPTY, MORE, BUSY_RECORD, LIMIT, TORN };

struct ring {
	uint64_t *consumer;       // consumer_pos, the only word that is ours to write
	const uint64_t *producer; // producer_pos
	const uint8_t *data;      // 2 * (mask + 1) bytes
	uint64_t mask;
};

struct walk {
	uint64_t records;     // copied to out
	uint64_t bytes;       // their payload
	uint64_t discarded;   // consumed, but thrown away by the program itself
	uint64_t next_length; // with LIMIT: the payload for which out had no room, else 0
	uint64_t mixed;       // whether their lengths differ
	uint64_t status;
};

// After the position is published and before "empty" is claimed there has to be a full fence: else the producer
// may still see the old position (and not wake us) while we still see its old one (and go to sleep).
static enum status settle(const struct ring *ring, uint64_t position)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE) == position ? EMPTY : MORE;
}

void ebpflab_ringwalk(const struct ring *ring, uint8_t *out, uint64_t capacity, uint32_t *lengths,
		      uint64_t max_records, struct walk *result)
{
	uint64_t position = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	struct walk walk = {.status = EMPTY};

	if (end - position > ring->mask + 1 || (position & 7))
		walk.status = TORN;

	while (walk.status == EMPTY && position != end) {
		const uint8_t *record = ring->data + (position & ring->mask);
		// Acquire: the payload may only be read once the header says that it is complete.
		uint32_t header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		uint64_t length = header & LENGTH_MASK;
		uint64_t step = (HEADER + length + 7) & ~UINT64_C(7);

		if (step > end - position) {
			walk.status = TORN;
		} else if (header & BUSY) {
			walk.status = BUSY_RECORD;
		} else if (header & DISCARDED) {
			walk.discarded++;
			position += step;
		} else if (walk.records == max_records) {
			walk.status = LIMIT;
		} else if (length > capacity - walk.bytes) {
			walk.status = LIMIT;
			walk.next_length = length;
		} else {
			__builtin_memcpy(out + walk.bytes, record + HEADER, length);
			lengths[walk.records++] = (uint32_t)length;
			walk.mixed |= length != lengths[0];
			walk.bytes += length;
			position += step;
		}
	}

	if (walk.status == TORN) {
		// Nothing is consumed: whoever looks at the ring next finds what we found.
		*result = (struct walk){.status = TORN};
		return;
	}
	// Release: the kernel may overwrite these records from here on, so every copy comes first.
	__atomic_store_n(ring->consumer, position, __ATOMIC_RELEASE);
	if (walk.status == EMPTY)
		walk.status = settle(ring, position);
	*result = walk;
}

// How many records are in the ring: committed, thrown away by the program, or still being written.
uint64_t ebpflab_ringcount(const struct ring *ring)
{
	uint64_t position = __atomic_load_n(ring->consumer, __ATOMIC_ACQUIRE);
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	uint64_t records = 0;

	if (end - position > ring->mask + 1 || (position & 7))
		return 0;
	while (position != end) {
		uint32_t header = __atomic_load_n((const uint32_t *)(ring->data + (position & ring->mask)), __ATOMIC_ACQUIRE);
		uint64_t step = (HEADER + (uint64_t)(header & LENGTH_MASK) + 7) & ~UINT64_C(7);

		if (step > end - position)
			break;
		records++;
		position += step;
	}
	return records;
}
