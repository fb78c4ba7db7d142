/* crash-test
about = "killed by another process, which lives on"
signal = "SIGSEGV"
code = "SI_USER"
cause = "sent-by-process"
frames = ["...", "wait_for_it", "main"]
flags = "-g -O1"
*/
#include <signal.h>
#include <sys/wait.h>
#include "ready.h"

KEEP int wait_for_it(int fd) {
    char byte = 0;
    ssize_t got = read(fd, &byte, 1);
    AFTER_CALL;
    return (int)got;
}

int main(void) {
    int never[2], status = 0;
    if (pipe(never)) return 1;
    pid_t child = fork();
    if (child == 0) {
        int value = wait_for_it(never[0]);
        AFTER_CALL;
        _exit(value);
    }
    /* It has reached read(2) when /proc says that it sleeps there. */
    char path[64], text[256] = "";
    __builtin_snprintf(path, sizeof path, "/proc/%d/syscall", child);
    for (;;) {
        extern int open(const char *, int, ...);
        int fd = open(path, 0);
        ssize_t got = read(fd, text, sizeof text - 1);
        close(fd);
        if (got > 1 && text[0] == (sizeof(long) == 8 ? '0' : '3') && text[1] == ' ') break;
    }
    kill(child, SIGSEGV);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 0 : 1;
}
