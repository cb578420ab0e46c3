#include <stdio.h> /* HERE */

SEC("xdp")
int pass(void *ctx) { return 2; }
