int a1 = b, a2 = b, a3 = b, a4 = b, a5 = b, a6 = b, a7 = b, a8 = b, a9 = b; /* HERE */
int c1 = b, c2 = b, c3 = b, c4 = b, c5 = b, c6 = b, c7 = b, c8 = b, c9 = b;
int d1 = b, d2 = b, d3 = b, d4 = b, d5 = b, d6 = b, d7 = b, d8 = b, d9 = b;
