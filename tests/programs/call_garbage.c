/* crash-test
about = "a call through a pointer that holds garbage"
signal = "SIGSEGV"
cause = "jump-to-bad-address"
frames = ["?", "caller", "main"]
flags = "-g -O1"
[builds.unmapped]
args = ["unmapped"]
code = "SEGV_MAPERR"
reason = "not-mapped"
[builds.heap]
args = ["heap"]
code = "SEGV_ACCERR"
reason = "not-executable"
[builds.non-canonical]
args = ["non-canonical"]
code = "SI_KERNEL"
reason = "non-canonical"
frames = ["caller", "main"]
*/
#include <string.h>
#include "ready.h"

void (*volatile hook)(int);

KEEP int caller(int value) {
    hook(value);
    AFTER_CALL;
    return value + 1;
}

int main(int argc, char **argv) {
    if (argc < 2) return 1;
    if (!strcmp(argv[1], "unmapped")) hook = (void (*)(int))0x1234567000;
    if (!strcmp(argv[1], "heap")) hook = (void (*)(int))calloc(1, 64);
    if (!strcmp(argv[1], "non-canonical")) hook = (void (*)(int))0x4141414141414141;
    int value = caller(7);
    AFTER_CALL;
    return value;
}
