/* crash-test
about = "a call through a null function pointer"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "jump-to-null"
frames = ["?", "caller", "main"]
flags = "-g -O1"
*/
#include "ready.h"

void (*volatile hook)(int);

KEEP int caller(int value) {
    hook(value);
    AFTER_CALL;
    return value + 1;
}

int main(void) {
    int value = caller(7);
    AFTER_CALL;
    return value;
}
