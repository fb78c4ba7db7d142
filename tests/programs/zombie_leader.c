/* crash-test
about = "the main thread has ended with pthread_exit, a worker faults"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "work", "..."]
flags = "-g -O1 -pthread"
*/
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

/* The leader's state letter in /proc/self/stat: Z once it is gone but for its number. */
static int leader_is_zombie(void) {
    char text[512] = "";
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
    int fd = open(path, O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    char *end = got > 0 ? strrchr(text, ')') : NULL;
    return end && end[2] == 'Z';
}

static void *work(void *arg) {
    pthread_join(*(pthread_t *)arg, NULL); /* returns when the kernel clears the leader's tid */
    while (!leader_is_zombie()) sched_yield();
    fault_here(NULL);
    AFTER_CALL;
    return arg;
}

int main(void) {
    static pthread_t leader;
    pthread_t thread;
    leader = pthread_self();
    pthread_create(&thread, NULL, work, &leader);
    pthread_exit(NULL);
}
