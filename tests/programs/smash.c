/* crash-test
about = "a buffer on the stack overrun, seen by the stack protector"
signal = "SIGABRT"
cause = "abort"
reason = "stack-smashing"
message = "stack smashing detected"
frames = ["...", "__stack_chk_fail*", "overrun"]
flags = "-g -O1 -fstack-protector-all"
*/
#include <string.h>
#include "ready.h"

KEEP int overrun(volatile int length) {
    char buffer[16];
    char *volatile where = buffer;
    memset(where, 'A', (size_t)length);
    AFTER_CALL;
    return buffer[length / 2];
}

int main(void) {
    int value = overrun(28);
    AFTER_CALL;
    return value;
}
