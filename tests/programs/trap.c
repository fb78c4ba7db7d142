/* crash-test
about = "__builtin_trap: an illegal instruction on purpose"
signal = "SIGILL"
code = "ILL_ILLOPN"
cause = "illegal-instruction"
frames = ["unreachable_end", "main"]
flags = "-g -O1"
*/
#include "ready.h"

KEEP int unreachable_end(int value) {
    if (value) __builtin_trap();
    AFTER_CALL;
    return value;
}

int main(void) {
    int value = unreachable_end(1);
    AFTER_CALL;
    return value;
}
