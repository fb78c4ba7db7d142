/* crash-test
about = "a read from an address that no x86-64 mapping can have"
signal = "SIGSEGV"
code = "SI_KERNEL"
cause = "bad-address"
reason = "non-canonical"
frames = ["read_at", "main"]
flags = "-g -O1"
*/
#include "ready.h"

KEEP int read_at(const volatile int *where) {
    int value = *where;
    AFTER_CALL;
    return value;
}

int main(void) {
    int value = read_at((int *)0x4141414141414141);
    AFTER_CALL;
    return value;
}
