/* crash-test
about = "a process in its own user and pid namespaces: its pid there is 2"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
namespace_pid = 2
flags = "-g -O1"
*/
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

static int wait_for(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

int main(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID)) return 77;
    pid_t first = fork();
    if (first > 0) return wait_for(first) != 0;
    pid_t second = fork(); /* here we are process 1, whom signals spare */
    if (second > 0) _exit(!WIFSIGNALED(wait_for(second)));
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}
