/* crash-test
about = "a write to read-only memory"
signal = "SIGSEGV"
code = "SEGV_ACCERR"
cause = "bad-address"
reason = "read-only"
frames = ["write_to", "main"]
flags = "-g -O1"
*/
#include "ready.h"

static const char text[] = "constant";

KEEP int write_to(volatile char *where) {
    *where = 'x';
    AFTER_CALL;
    return 1;
}

int main(void) {
    int value = write_to((volatile char *)(long)text);
    AFTER_CALL;
    return value;
}
