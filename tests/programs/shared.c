/* crash-test
about = "a fault inside a shared library, called back from it"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "bad-address"
reason = "not-mapped"
frames = ["callback", "library_walk", "library_entry", "main"]
library = "shared_library.c"
[builds.debug]
flags = "-g -O1"
[builds.bindnow]
flags = "-O1 -Wl,-z,now"
*/
#include "ready.h"

int library_entry(int (*visit)(long), long where);

KEEP int callback(long where) {
    int value = *(volatile int *)where;
    AFTER_CALL;
    return value + 1;
}

int main(void) {
    int value = library_entry(callback, 0x10000000);
    AFTER_CALL;
    return value;
}
