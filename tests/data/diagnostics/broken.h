static int half(int a)
{
	return a / 2
}
