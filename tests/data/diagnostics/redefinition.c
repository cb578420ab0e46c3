SEC("xdp")
int pass(void *ctx) { return 2; }

SEC("tc")
int pass(void *ctx) { return 0; } /* HERE */
