// Copies texts of a fixed width and clears what stands behind the first NUL of each: a ring buffer does not clear its
// memory, so there may be anything.

#include <stdint.h>

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS (ONES << 7)

// The bytes of a word before its first zero byte; the rest is zero. `ended` tells whether there is one.
static uint64_t cut(uint64_t word, int *ended)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	// Marks the lowest zero byte exactly, and perhaps some above it.
	uint64_t zero = (word - ONES) & ~word & HIGHS;

	*ended = zero != 0;
	if (zero)
		word &= ((zero & -zero) >> 7) - 1;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

void ebpflab_texts(const uint8_t *cells, int64_t stride, uint64_t rows, uint64_t width, uint8_t *out)
{
	for (uint64_t row = 0; row < rows; row++, cells += stride, out += width) {
		uint64_t at = 0, word;
		int ended = 0;

		for (; !ended && at + 8 <= width; at += 8) {
			__builtin_memcpy(&word, cells + at, 8);
			word = cut(word, &ended);
			__builtin_memcpy(out + at, &word, 8);
		}
		for (; !ended && at < width && cells[at]; at++)
			out[at] = cells[at];
		__builtin_memset(out + at, 0, width - at);
	}
}
