"""A program whose threads (compile it with -DTHREADS=N) all wait in one function.

Its first thread writes a byte when they are there, and one for each that it is given.
"""

from __future__ import annotations

WAITING_THREADS = r"""
#include <pthread.h>
#include <unistd.h>
static pthread_barrier_t here;
static int never[2];
__attribute__((noinline)) void wait_here(void) {
    char byte;
    if (read(never[0], &byte, 1)) _exit(9);
    __asm__ volatile("");
}
static void *work(void *arg) {
    pthread_barrier_wait(&here);
    wait_here();
    return arg;
}
int main(void) {
    pthread_t thread;
    char byte;
    if (pipe(never)) return 1;
    pthread_barrier_init(&here, 0, THREADS + 1);
    for (int i = 0; i < THREADS; i++) if (pthread_create(&thread, 0, work, 0)) return 2;
    pthread_barrier_wait(&here);
    while (write(1, "r", 1) == 1 && read(0, &byte, 1) == 1) ;
    return 0;
}
"""
