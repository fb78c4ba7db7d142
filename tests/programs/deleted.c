/* crash-test
about = "its file is deleted while it runs"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
delete = true
flags = "-g -O1"
*/
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

int main(void) {
    announce();
    await_go();
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}
