// Drains the ring of one perf event (one CPU of a perf event array) into packed memory: one call, one bounded batch.
//
// Layout and rules: include/uapi/linux/perf_event.h and kernel/events/ring_buffer.c. A record is an eight-byte header
// (u32 type, u16 misc, u16 size with the header) and a body, a multiple of eight bytes in all. The data pages are
// mapped once, so a record may break off at their end and go on at their start; a word of eight bytes never does.
// The kernel moves data_head only past whole records, so there is none to wait for.

#include <stdint.h>

#define HEADER 8
#define LOST_RECORD 2
#define SAMPLE_RECORD 9
#define RAW_DATA 20 // from the record's start: header, u64 time, u32 size, then the data

// The numbers of ebpflab._native.Status.
enum status { EMPTY, MORE, BUSY_RECORD, LIMIT, TORN };

struct ring {
	uint64_t *tail;       // data_tail, the only word that is ours to write
	const uint64_t *head; // data_head
	const uint8_t *data;  // mask + 1 bytes
	uint64_t mask;
	const uint32_t *kept; // how much of a payload of n bytes is the record, at (n + 4) / 8; 0 is all of it
};

struct walk {
	uint64_t records;     // copied to out
	uint64_t bytes;       // their payload
	uint64_t lost;        // what the kernel says it refused meanwhile
	uint64_t next_length; // with LIMIT: the payload for which out had no room, else 0
	uint64_t mixed;       // whether their lengths differ
	uint64_t status;
};

static uint64_t word(const struct ring *ring, uint64_t position)
{
	return *(const uint64_t *)(ring->data + (position & ring->mask));
}

static uint16_t size_of(uint64_t position, const struct ring *ring)
{
	return *(const uint16_t *)(ring->data + (position & ring->mask) + 6);
}

static uint32_t type_of(uint64_t position, const struct ring *ring)
{
	return *(const uint32_t *)(ring->data + (position & ring->mask));
}

static uint32_t raw_size(uint64_t position, const struct ring *ring)
{
	return *(const uint32_t *)(ring->data + ((position + 16) & ring->mask));
}

static void copy(uint8_t *out, const struct ring *ring, uint64_t position, uint64_t length)
{
	uint64_t offset = position & ring->mask, first = ring->mask + 1 - offset;

	if (first > length)
		first = length;
	__builtin_memcpy(out, ring->data + offset, first);
	__builtin_memcpy(out + first, ring->data, length - first);
}

// See ringwalk.c: the fence keeps "empty" from being claimed while the kernel still sees the old position.
static enum status settle(const struct ring *ring, uint64_t position)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(ring->head, __ATOMIC_ACQUIRE) == position ? EMPTY : MORE;
}

void ebpflab_perfwalk(const struct ring *ring, uint8_t *out, uint64_t capacity, uint32_t *lengths, uint64_t *times,
		      uint64_t max_records, struct walk *result)
{
	uint64_t position = __atomic_load_n(ring->tail, __ATOMIC_ACQUIRE);
	// Acquire: everything before the head may only be read once the head says that it is there.
	uint64_t end = __atomic_load_n(ring->head, __ATOMIC_ACQUIRE);
	struct walk walk = {.status = EMPTY};

	if (end - position > ring->mask + 1 || (position & 7))
		walk.status = TORN;

	while (walk.status == EMPTY && position != end) {
		uint64_t size = size_of(position, ring), length;

		if (size < HEADER || (size & 7) || size > end - position) {
			walk.status = TORN;
		} else if (type_of(position, ring) == LOST_RECORD && size >= 24) {
			walk.lost += word(ring, position + 16);
			position += size;
		} else if (type_of(position, ring) != SAMPLE_RECORD) {
			position += size;
		} else if (size < RAW_DATA + 4 || raw_size(position, ring) > size - RAW_DATA) {
			walk.status = TORN;
		} else if (walk.records == max_records) {
			walk.status = LIMIT;
		} else {
			length = raw_size(position, ring);
			if (ring->kept[(length + 4) >> 3])
				length = ring->kept[(length + 4) >> 3];
			if (length > capacity - walk.bytes) {
				walk.status = LIMIT;
				walk.next_length = length;
				break;
			}
			copy(out + walk.bytes, ring, position + RAW_DATA, length);
			times[walk.records] = word(ring, position + 8);
			lengths[walk.records++] = (uint32_t)length;
			walk.mixed |= length != lengths[0];
			walk.bytes += length;
			position += size;
		}
	}

	if (walk.status == TORN) {
		// Nothing is consumed: whoever looks at the ring next finds what we found.
		*result = (struct walk){.status = TORN};
		return;
	}
	// Release: the kernel may overwrite these records from here on, so every copy comes first.
	__atomic_store_n(ring->tail, position, __ATOMIC_RELEASE);
	if (walk.status == EMPTY)
		walk.status = settle(ring, position);
	*result = walk;
}

// How many samples are in the ring.
uint64_t ebpflab_perfcount(const struct ring *ring)
{
	uint64_t position = __atomic_load_n(ring->tail, __ATOMIC_ACQUIRE);
	uint64_t end = __atomic_load_n(ring->head, __ATOMIC_ACQUIRE);
	uint64_t records = 0;

	if (end - position > ring->mask + 1 || (position & 7))
		return 0;
	while (position != end) {
		uint64_t size = size_of(position, ring);

		if (size < HEADER || (size & 7) || size > end - position)
			break;
		records += type_of(position, ring) == SAMPLE_RECORD;
		position += size;
	}
	return records;
}
