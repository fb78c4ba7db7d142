/* crash-test
about = "one of eight workers faults, the others and the main thread wait"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "work", "..."]
threads = 9
flags = "-g -O1 -pthread"
[builds.debug]
[builds.static]
flags = "-g -O1 -static -pthread"
*/
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include "ready.h"

static pthread_barrier_t all_here;
static int never[2];

KEEP void fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
}

KEEP void wait_here(void) {
    char byte;
    if (read(never[0], &byte, 1)) _exit(97);
    AFTER_CALL;
}

static void *work(void *number) {
    char name[16];
    snprintf(name, sizeof name, "worker %ld", (long)number);
    pthread_setname_np(pthread_self(), name);
    pthread_barrier_wait(&all_here);
    if ((long)number == 5)
        fault_here(NULL);
    else
        wait_here();
    AFTER_CALL;
    return NULL;
}

int main(void) {
    pthread_t threads[8];
    if (pipe(never)) return 1;
    pthread_barrier_init(&all_here, NULL, 8);
    for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    return 0;
}
