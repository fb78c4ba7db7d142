#!/bin/sh
# Install the compilers, debuggers and victims of the tests, or say in one line which are missing.
set -u
missing=
need() { [ -n "$(command -v "$1")" ] || missing="$missing $2"; }
PATH=$PATH:/usr/sbin:/sbin
need gcc gcc
need g++ g++
need gdb gdb
need eu-stack elfutils
need lldb lldb
need strace strace
need redis-server redis-server
need nginx nginx-light
need pigz pigz
need xz xz-utils
need git git
need perl perl
need php php-cli
need ruby ruby
need zsh zsh
need bash bash
need busybox busybox-static
need objcopy binutils
need unshare util-linux
need groff groff-base
need musl-gcc musl-tools
need rustc rustc
need clang++ clang
[ -n "$(find /usr/lib/llvm-*/include/c++ -name map 2>/dev/null)" ] || missing="$missing libc++-dev libc++abi-dev"
need llvm-dwp llvm
need lli llvm-runtime
need dwz dwz
need gnatmake gnat
need gfortran gfortran
need gdc gdc
need ld.lld lld
need patchelf patchelf
need go golang-go
need chromium chromium
need systemd-analyze systemd
need rpmbuild rpm
need qemu-aarch64 qemu-user
need gdb-multiarch gdb-multiarch
# machine of the compiler, architecture of its C library
for pair in aarch64-linux-gnu:arm64 arm-linux-gnueabihf:armhf riscv64-linux-gnu:riscv64 \
    powerpc64le-linux-gnu:ppc64el s390x-linux-gnu:s390x mips-linux-gnu:mips; do
    need "${pair%:*}-gcc" "gcc-${pair%:*}"
    [ -e "/usr/${pair%:*}/include/stdio.h" ] || missing="$missing libc6-dev-${pair#*:}-cross"
done
for machine in aarch64-linux-gnu arm-linux-gnueabihf riscv64-linux-gnu; do
    need "$machine-g++" "g++-$machine"
done
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
[ -e /usr/lib/x86_64-linux-gnu/libjemalloc.so.2 ] || missing="$missing libjemalloc2"
[ -n "$(find /usr/include -name 'rb_mjit_min_header-*' 2>/dev/null)" ] || missing="$missing ruby-dev"
[ -e /usr/lib/llvm-14/include/c++/v1/vector ] || missing="$missing libc++-dev libc++abi-dev"
for version in 5:libqt5core5a 6:libqt6core6; do
    [ -e "/usr/lib/x86_64-linux-gnu/libQt${version%:*}Core.so.${version%:*}" ] ||
        missing="$missing ${version#*:}"
done
[ -d /usr/lib/postgresql ] || missing="$missing postgresql"
[ -d /usr/lib/debug/.build-id ] || missing="$missing libc6-dbg"
[ -e /usr/lib/gcc/x86_64-linux-gnu/12/32/libstdc++.a ] || missing="$missing g++-12-multilib"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing"
    # shellcheck disable=SC2086
    "$(dirname "$0")/apt_install.sh" $missing && exit 0
fi
echo "usercrash: the tests need these packages:$missing" >&2
exit 1
