/* crash MEGABYTES THREADS CORE: a child with that much touched memory and that many threads
 * faults; prints, in nanoseconds, when it did (CLOCK_MONOTONIC and CLOCK_REALTIME), when this
 * process's wait returned (CLOCK_MONOTONIC), and the child's pid.
 *
 * CORE is the child's RLIMIT_CORE in bytes, -1 for none. With CORE "live" the child does not fault:
 * its pid is printed when it stands still, and it lives until standard input ends.
 */
#include <pthread.h>
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

struct shared {
    volatile int64_t monotonic, realtime;
};

static pthread_barrier_t all_here;
static int never[2];

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Touch it all; half of every page cannot be compressed, half is zero: about what a heap is. */
static void *fill(size_t size) {
    uint64_t *volatile memory = malloc(size), random = 88172645463325252u;
    if (!memory) return NULL;
    memset((void *)memory, 0, size);
    for (size_t i = 0; i < size / 8; i++) {
        if (i & 256) continue;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        memory[i] = random;
    }
    return (void *)memory;
}

static void *work(void *arg) {
    char byte;
    pthread_barrier_wait(&all_here);
    if (read(never[0], &byte, 1) > 0) _exit(9);
    return arg;
}

__attribute__((noinline)) static void fault(struct shared *times, volatile int *where) {
    times->realtime = now(CLOCK_REALTIME);
    times->monotonic = now(CLOCK_MONOTONIC);
    *where = 1;
}

static void child(size_t size, long threads, const char *core, struct shared *times) {
    pthread_attr_t small;
    struct rlimit limit;
    limit.rlim_cur = limit.rlim_max = atol(core) < 0 ? RLIM_INFINITY : (rlim_t)atol(core);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (setrlimit(RLIMIT_CORE, &limit) || pipe(never)) _exit(8);
    if (!fill(size)) _exit(7);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);
    pthread_barrier_init(&all_here, NULL, (unsigned)threads);
    for (long i = 1; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, work, NULL)) _exit(6);
    }
    pthread_barrier_wait(&all_here);
    if (!strcmp(core, "live")) {
        times->monotonic = now(CLOCK_MONOTONIC);
        for (;;) pause();
    }
    fault(times, NULL);
}

int main(int argc, char **argv) {
    int status;
    char byte;
    if (argc != 4) return 2;
    struct shared *times = mmap(NULL, sizeof *times, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) child((size_t)atol(argv[1]) << 20, atol(argv[2]), argv[3], times);
    if (!strcmp(argv[3], "live")) {
        while (!times->monotonic) sched_yield();
        printf("%d\n", pid);
        fflush(stdout);
        if (read(0, &byte, 1)) return 1;
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        return 0;
    }
    if (waitpid(pid, &status, 0) != pid) return 1;
    int64_t end = now(CLOCK_MONOTONIC);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV) return 3;
    printf("%lld %lld %lld %d\n", (long long)times->monotonic, (long long)times->realtime,
           (long long)end, pid);
    return 0;
}
