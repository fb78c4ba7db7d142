/* burst CRASHES PARENTS MEGABYTES CORE: that many children of as many parents fault as fast as
 * they can; CORE is their RLIMIT_CORE in bytes, -1 for none.
 *
 * Each parent forks a child, waits for its end, and forks the next. For each crash a line, in
 * nanoseconds of CLOCK_MONOTONIC: fault, return of the parent's wait, pid.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct crash {
    volatile int64_t fault, waited, pid;
};

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void child(struct crash *crash, size_t size) {
    char *volatile memory = malloc(size);
    if (!memory) _exit(7);
    memset((void *)memory, 1, size);
    crash->fault = now();
    *(volatile int *)NULL = 1;
}

static int parent(struct crash *crashes, long first, long step, long count, size_t size) {
    for (long i = first; i < count; i += step) {
        int status;
        pid_t pid = fork();
        if (pid == 0) child(&crashes[i], size);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) return 1;
        crashes[i].waited = now();
        crashes[i].pid = pid;
        if (!WIFSIGNALED(status) || WTERMSIG(status) != 11) return 3;
    }
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0, status;
    if (argc != 5) return 2;
    long count = atol(argv[1]), parents = atol(argv[2]);
    size_t size = (size_t)atol(argv[3]) << 20;
    struct rlimit core;
    core.rlim_cur = core.rlim_max = atol(argv[4]) < 0 ? RLIM_INFINITY : (rlim_t)atol(argv[4]);
    struct crash *crashes = mmap(NULL, (size_t)count * sizeof *crashes, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crashes == MAP_FAILED || setrlimit(RLIMIT_CORE, &core)) return 1;
    for (long i = 0; i < parents; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(parent(crashes, i, parents, count, size));
        }
        if (pid < 0) return 1;
    }
    while (wait(&status) > 0) failed |= status;
    for (long i = 0; i < count; i++)
        printf("%lld %lld %lld\n", (long long)crashes[i].fault, (long long)crashes[i].waited,
               (long long)crashes[i].pid);
    return failed ? 1 : 0;
}
