struct event { u32 pid; };

SEC("xdp")
int pass(struct event *e)
{
	/* é and 日本 before the place */ e->length = 2; /* HERE */
	return 2;
}
