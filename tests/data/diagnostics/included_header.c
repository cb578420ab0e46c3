#include "broken.h" /* HERE */

SEC("xdp")
int pass(void *ctx) { return half(4); }
