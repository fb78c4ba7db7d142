/* crash-test
about = "a forked child faults, its parent has another thread and goes on"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "child", "main"]
threads = 1
flags = "-g -O1 -pthread"
*/
#include <pthread.h>
#include <sys/wait.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

KEEP int child(void) {
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}

static void *work(void *arg) {
    pause();
    return arg;
}

int main(void) {
    int status = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int value = child();
        AFTER_CALL;
        _exit(value);
    }
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? 0 : 1;
}
