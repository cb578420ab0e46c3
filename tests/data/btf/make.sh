#!/bin/sh
# Makes the fixtures of this directory anew: sh make.sh (needs clang, llvm-objcopy, bpftool, libbpf.so.1; no root).
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for target in bpfel bpfeb; do
	clang -target $target -g -O2 -Wall -c records.c -o "$work/records.o"
	for section in BTF samples places; do
		llvm-objcopy --dump-section ".$section=records.$target.$section" "$work/records.o" "$work/ignored.o"
	done
	bpftool -j btf dump file "$work/records.o" > records.json # the same types in both byte orders
	clang -target $target -g -O2 -Wall -c layouts.c -o "$work/layouts.o"
	for section in BTF samples places; do
		llvm-objcopy --dump-section ".$section=layouts.$target.$section" "$work/layouts.o" "$work/ignored.o"
	done
done
clang -target bpfel -g -O2 -Wall -c maps.c -o "$work/maps.o"
bpftool gen object "$work/linked.o" "$work/maps.o" # the linker fills in the offsets of variables
llvm-objcopy --dump-section .BTF=maps.BTF "$work/linked.o" "$work/ignored.o"
bpftool -j btf dump file "$work/linked.o" > maps.json
clang -target bpfel -g -O2 -Wall -c globals.c -o "$work/globals.o"
bpftool gen object "$work/linked.o" "$work/globals.o"
for section in .data .rodata .data.ebpflab; do
	llvm-objcopy --dump-section "$section=globals$section" "$work/linked.o" "$work/ignored.o"
done
llvm-objcopy --dump-section .BTF=globals.BTF "$work/linked.o" "$work/ignored.o"
bpftool -j btf dump file "$work/linked.o" > globals.json
python3 kinds.py kinds.BTF
bpftool -j btf dump file kinds.BTF > kinds.json
clang -target bpfel -g -O2 -Wall -c paths.c -o "$work/paths.o"
llvm-objcopy --dump-section .BTF=paths.BTF "$work/paths.o" "$work/ignored.o"
