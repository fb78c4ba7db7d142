/* crash-test
about = "a null pointer written through three functions"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["third", "second", "first", "main"]
[builds.debug]
flags = "-g -O0"
[builds.o2]
flags = "-g -O2 -fomit-frame-pointer"
[builds.nopie]
flags = "-g -O1 -no-pie -fno-pie"
[builds.no-debug]
flags = "-O1"
[builds.stripped]
flags = "-O1 -s"
frames = ["?", "?", "?", "?"]
[builds.static]
flags = "-g -O1 -static"
[builds.static-stripped]
flags = "-O1 -static -s"
frames = ["?", "?", "?", "?"]
[builds.static-pie]
flags = "-g -O1 -static-pie"
[builds.frame-pointer-only]
flags = "-O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-asynchronous-unwind-tables -fno-unwind-tables"
[builds.debug-frame-only]
flags = "-g -O1 -fomit-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables"
[builds.no-eh-frame-hdr]
flags = "-g -O1 -fomit-frame-pointer -Wl,--no-eh-frame-hdr"
[builds.compressed-debug]
flags = "-g -gz -O1"
*/
#include "ready.h"

volatile int counter;

KEEP void third(int *where, int depth) {
    *(volatile int *)where = depth;
    AFTER_CALL;
    counter++;
}

KEEP void second(int *where, int depth) {
    third(where, depth + 1);
    AFTER_CALL;
    counter++;
}

KEEP void first(int *where, int depth) {
    volatile char room[200] = {0};
    second(where, depth + 1 + room[depth]);
    AFTER_CALL;
    counter++;
}

int main(void) {
    first(NULL, 1);
    AFTER_CALL;
    return counter;
}
