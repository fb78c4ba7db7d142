/* crash-test
about = "999 threads wait, the main thread faults"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
threads = 1000
flags = "-g -O1 -pthread"
*/
#include <pthread.h>
#include "ready.h"

static pthread_barrier_t all_here;
static int never[2];

KEEP void fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
}

static void *work(void *arg) {
    char byte;
    pthread_barrier_wait(&all_here);
    if (read(never[0], &byte, 1)) _exit(97);
    return arg;
}

int main(void) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    if (pipe(never)) return 1;
    pthread_barrier_init(&all_here, NULL, 1000);
    for (long i = 0; i < 999; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, work, NULL)) return 2;
    }
    pthread_barrier_wait(&all_here);
    fault_here(NULL);
    AFTER_CALL;
    return 0;
}
