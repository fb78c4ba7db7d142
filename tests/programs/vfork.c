/* crash-test
about = "a child of vfork faults in its parent's memory"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "child_of", "main"]
flags = "-g -O1"
*/
#include <sys/wait.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

KEEP int child_of(void) {
    int status = 0;
    pid_t child = vfork();
    if (child == 0) _exit(fault_here(NULL));
    waitpid(child, &status, 0);
    AFTER_CALL;
    return status;
}

int main(void) {
    int status = child_of();
    AFTER_CALL;
    return WIFSIGNALED(status) ? 0 : 1;
}
