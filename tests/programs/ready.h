/* Announce readiness and wait to be told to go on: a byte each way, never a sleep. */
#ifndef READY_H
#define READY_H
#include <stdlib.h>
#include <unistd.h>

static inline int fd_of(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : -1;
}

static inline void announce(void) {
    char byte = 'r';
    int fd = fd_of("READY_FD");
    if (fd >= 0 && write(fd, &byte, 1) != 1) _exit(99);
}

static inline void await_go(void) {
    char byte;
    int fd = fd_of("GO_FD");
    if (fd >= 0 && read(fd, &byte, 1) != 1) _exit(98);
}

/* Keeps a call from becoming a jump, and a function from being merged into its caller. */
#define KEEP __attribute__((noinline, noclone))
#define AFTER_CALL __asm__ volatile("" ::: "memory")
#endif
