// Merges the records of several lanes by time into packed memory: one call, one bounded batch.
//
// A lane holds records of one buffer, packed, with lengths and times; its times never decrease, so nothing that comes
// from one buffer is ever reordered. At equal times the lane with the lower number goes first.

#include <stdint.h>

struct lane {
	const uint8_t *data; // from the first record that is still held
	const uint32_t *lengths;
	const uint64_t *times;
	uint64_t records; // held
	uint64_t taken;   // result: how many records left
	uint64_t bytes;   // result: their bytes
};

struct merged {
	uint64_t records;
	uint64_t bytes;
	uint64_t next_length; // the record for which out had no room, else 0
	uint64_t mixed;       // whether their lengths differ
	uint64_t full;        // whether out or lengths ended it
};

static uint64_t time_of(const struct lane *lane)
{
	return lane->times[lane->taken];
}

static int before(const struct lane *a, const struct lane *b)
{
	return time_of(a) < time_of(b) || (time_of(a) == time_of(b) && a < b);
}

// Let heap[at] sink to where neither child is before it.
static void sift(struct lane **heap, uint64_t size, uint64_t at)
{
	struct lane *lane = heap[at];
	uint64_t child;

	while ((child = 2 * at + 1) < size) {
		if (child + 1 < size && before(heap[child + 1], heap[child]))
			child++;
		if (!before(heap[child], lane))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = lane;
}

// Moves the records whose time is at most `until`. `heap` has room for a pointer to each lane.
void ebpflab_merge(struct lane *lanes, uint64_t count, struct lane **heap, uint64_t until, uint8_t *out,
		   uint64_t capacity, uint32_t *lengths, uint64_t max_records, struct merged *result)
{
	struct merged merged = {0};
	uint64_t size = 0;

	for (uint64_t i = 0; i < count; i++) {
		lanes[i].taken = lanes[i].bytes = 0;
		if (lanes[i].records)
			heap[size++] = &lanes[i];
	}
	for (uint64_t i = size / 2; i-- > 0;)
		sift(heap, size, i);

	while (size && time_of(heap[0]) <= until) {
		struct lane *lane = heap[0];
		uint64_t length = lane->lengths[lane->taken];

		if (merged.records == max_records) {
			merged.full = 1;
			break;
		}
		if (length > capacity - merged.bytes) {
			merged.full = 1;
			merged.next_length = length;
			break;
		}
		__builtin_memcpy(out + merged.bytes, lane->data + lane->bytes, length);
		lengths[merged.records++] = (uint32_t)length;
		merged.mixed |= length != lengths[0];
		merged.bytes += length;
		lane->bytes += length;
		if (++lane->taken == lane->records)
			heap[0] = heap[--size];
		if (size)
			sift(heap, size, 0);
	}
	*result = merged;
}

struct place {
	uint64_t length; // of a record
	uint64_t offset; // where it holds its time, a u64
};

// Reads the times out of packed records; 0 for a record whose length is in no place.
void ebpflab_times(const uint8_t *data, const uint32_t *lengths, uint64_t records, const struct place *places,
		   uint64_t count, uint64_t *times)
{
	for (uint64_t i = 0; i < records; data += lengths[i++]) {
		uint64_t at = 0;

		while (at < count && places[at].length != lengths[i])
			at++;
		times[i] = 0;
		if (at < count)
			__builtin_memcpy(&times[i], data + places[at].offset, sizeof(times[i]));
	}
}
